/** Placeholder until the driver set-up lands. */
export function prepareDriver(): void {
  process.env.XDG_RUNTIME_DIR ??= '/tmp';
}
export function adviceWithoutAdapter(): string {
  return 'Run npm run setup.';
}
