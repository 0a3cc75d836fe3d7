import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** What a run of the command line left behind. */
export interface CommandResult {
  /** Exit code; null when it was killed. */
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
  readonly milliseconds: number;
}

/**
 * Runs `mfp-clip` from source, in the project's folder.
 *
 * @param killWhen asked every few milliseconds, with what came on standard error so far; when it says so, the program gets SIGKILL
 * @param leave when whoever reads standard output closes it; default: never
 */
export function command(args: readonly string[], killWhen?: (errors: string) => boolean, leave?: 'at once' | 'after the first output'): Promise<CommandResult> {
  const start = performance.now();
  const child = spawn(process.execPath, ['--import', 'tsx', program, ...args], { stdio: ['ignore', 'pipe', 'pipe'], cwd: fileURLToPath(new URL('../../', import.meta.url)) });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
    if (leave) child.stdout.destroy();
  });
  if (leave === 'at once') child.stdout.destroy();
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const timer = killWhen && setInterval(() => killWhen(errors) && child.kill('SIGKILL'), 3);
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearInterval(timer);
      resolve({ code, output, errors, milliseconds: performance.now() - start });
    });
  });
}

/** A new folder that goes when the process ends. */
export function scratchFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-test-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
