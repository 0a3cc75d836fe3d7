import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Op } from '../tensor/op.ts';

/** Folder of the ops, the same seen from `src/bench` and from the built `dist/bench`. */
const opsFolder = new URL('../ops/', import.meta.url);

/** Every op of `src/ops` with the name of its file, without ending: an op file needs no other place to be listed in. */
export async function opsWithFiles(): Promise<{ op: Op<unknown>; file: string }[]> {
  const found: { op: Op<unknown>; file: string }[] = [];
  const files = readdirSync(fileURLToPath(opsFolder)).filter((file) => /\.(ts|js)$/.test(file) && !file.endsWith('.d.ts'));
  for (const file of files.sort()) {
    const module = (await import(new URL(file, opsFolder).href)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) if (name.endsWith('Op')) found.push({ op: value as Op<unknown>, file: file.replace(/\.\w+$/, '') });
  }
  return found;
}

/** Every op of `src/ops`, by name. */
export async function allOps(): Promise<Map<string, Op<unknown>>> {
  return new Map((await opsWithFiles()).map(({ op }) => [op.name, op]));
}
