import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Op } from '../tensor/op.ts';

/** Folder of the ops, the same seen from `src/bench` and from the built `dist/bench`. */
const opsFolder = new URL('../ops/', import.meta.url);

/** Every op of `src/ops`, by name: an op file needs no other place to be listed in. */
export async function allOps(): Promise<Map<string, Op<unknown>>> {
  const ops = new Map<string, Op<unknown>>();
  const files = readdirSync(fileURLToPath(opsFolder)).filter((file) => /\.(ts|js)$/.test(file) && !file.endsWith('.d.ts'));
  for (const file of files.sort()) {
    const module = (await import(new URL(file, opsFolder).href)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) if (name.endsWith('Op')) ops.set((value as Op<unknown>).name, value as Op<unknown>);
  }
  return ops;
}
