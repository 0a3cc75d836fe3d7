import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Checkpoint, openSafetensors } from '../../src/io/safetensors.ts';

/** Folder of what the PyTorch oracle wrote (tools/oracle). */
export const goldenFolder = fileURLToPath(new URL('../golden/', import.meta.url));

/** Names of the small whole-model configurations. */
export const goldenNames = readdirSync(goldenFolder).filter((name) => existsSync(join(goldenFolder, name, 'golden.safetensors')));

/** Inputs and expected outputs of one configuration. */
export interface Golden {
  readonly clip: string;
  readonly cnn: string;
  readonly mfp: string;
  readonly file: Checkpoint;
  /** Values of a key. */
  values(key: string): Promise<Float32Array>;
  shape(key: string): readonly number[];
  has(key: string): boolean;
  /** Keys that start with a prefix. */
  keys(prefix: string): string[];
}

/** @param folder of one configuration: a name below test/golden, or a path */
export async function openGolden(folder: string): Promise<Golden> {
  const base = existsSync(join(goldenFolder, folder)) ? join(goldenFolder, folder) : folder;
  const file = await openSafetensors(join(base, 'golden.safetensors'));
  return {
    clip: join(base, 'clip'),
    cnn: join(base, 'cnn', 'model.safetensors'),
    mfp: join(base, 'mfp.safetensors'),
    file,
    values: (key) => file.readFloat32(key),
    shape: (key) => file.entry(key).shape,
    has: (key) => file.tensors.has(key),
    keys: (prefix) => [...file.tensors.keys()].filter((key) => key.startsWith(prefix)),
  };
}
