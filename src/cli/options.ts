import { Command, InvalidArgumentError, Option } from 'commander';
import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { allOps } from '../bench/registry.ts';
import { UserError } from '../errors.ts';
import type { ModelOptions } from '../eval/detector.ts';
import type { GpuOptions } from '../gpu/device.ts';
import type { VariantPolicy } from '../tensor/variants.ts';

/** Parses a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < least) throw new InvalidArgumentError(`It must be a whole number of at least ${least}.`);
    return value;
  };
}

/** Parses a number from `low` to `high`. */
export function numberBetween(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= low && value <= high)) throw new InvalidArgumentError(`It must be a number from ${low} to ${high}.`);
    return value;
  };
}

/** Parses "bottle, metal_nut". */
export function listOfNames(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('It must be names, separated by commas.');
  return names;
}

/** Makes the folder of --out, so that a place where nothing can be written is known before the work. @param named what errors call it @throws UserError */
export async function prepareOut(folder: string, named = `--out ${folder}`): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new UserError(`${named}: cannot write there: ${(error as Error).message}`);
  }
}

/** The same for a file that a flag may name. @throws UserError */
export async function prepareFile(flag: string, file: string | undefined): Promise<void> {
  if (file === undefined) return;
  await prepareOut(dirname(file), `${flag} ${file}`);
  if (file.endsWith('/') || (await stat(resolve(file)).catch(() => undefined))?.isDirectory()) throw new UserError(`${flag} ${file}: it is a folder; name a file`);
}

/** Parses "8GB", "500 MB" or a plain count of bytes (decimal units, as memory is printed). */
export function byteCount(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kMG]?)B?\s*$/i.exec(text);
  if (!match) throw new InvalidArgumentError('It must be a size such as 8GB or 500MB.');
  return Math.round(Number(match[1]) * { '': 1, k: 1e3, m: 1e6, g: 1e9 }[match[2].toLowerCase() as '' | 'k' | 'm' | 'g']);
}

function forcedVariant(text: string, earlier: Record<string, string> = {}): Record<string, string> {
  const match = /^([a-z0-9_]+)=([a-z0-9_-]+)$/i.exec(text);
  if (!match) throw new InvalidArgumentError('It must look like gemm=tiled.');
  return { ...earlier, [match[1]]: match[2] };
}

/** Whether the ops and variants of --variant exist: which of them a command will meet is known late, and may be none. @throws UserError */
export async function checkForcedVariants(forced: Readonly<Record<string, string>>): Promise<void> {
  const ops = await allOps();
  for (const [name, variant] of Object.entries(forced)) {
    const op = ops.get(name);
    if (!op) {
      const near = [...ops.keys()].filter((other) => other.includes(name) || name.includes(other));
      const several = [...ops.values()].filter(({ variants }) => variants.length > 1).map((other) => other.name);
      throw new UserError(`--variant ${name}=${variant}: there is no op "${name}". ${near.length ? `Near it: ${near.join(', ')}` : `With several variants there are: ${several.join(', ')}`}`);
    }
    if (!op.variants.some((other) => other.name === variant)) throw new UserError(`--variant ${name}=${variant}: ${name} has the variants ${op.variants.map((other) => other.name).join(', ')}`);
  }
}

/** Options of every command that opens a device. */
export interface DeviceFlags {
  readonly adapter?: string;
  readonly memoryBudget?: number;
  readonly variant?: Record<string, string>;
  readonly variants: 'measure' | 'default';
  readonly dumpShaders?: string;
}

/** Adds the options of `DeviceFlags`. @param variants what `--variants` is when nothing is said */
export function withDevice(command: Command, variants: DeviceFlags['variants'] = 'measure'): Command {
  return command
    .option('--adapter <name>', 'part of the name of the adapter to use (also MFP_CLIP_ADAPTER); default: the best one')
    .option('--memory-budget <size>', 'largest amount of device memory to use, for example 8GB', byteCount)
    .option('--variant <op=name>', 'force a kernel variant, for example gemm=tiled; can be given again', forcedVariant)
    .addOption(new Option('--variants <how>', 'measure: time the kernel variants on first use and remember the fastest; default: a fixed table').choices(['measure', 'default']).default(variants))
    .option('--dump-shaders <folder>', 'write the final WGSL of every pipeline there, with its bindings and constants');
}

/** What `Gpu.open` takes, from the flags. */
export function gpuOptions({ adapter, memoryBudget, dumpShaders }: DeviceFlags): GpuOptions {
  return { adapter, memoryBudget, dumpShaders };
}

/** What `configureVariants` takes, from the flags. */
export function variantPolicy({ variants, variant }: DeviceFlags): VariantPolicy {
  return { mode: variants, forced: variant };
}

/** Options of every command that loads a model. */
export interface ModelFlags extends DeviceFlags {
  readonly clip: string;
  readonly cnn?: string;
  readonly mfp?: string;
  readonly size?: number;
  readonly precision: 'f32' | 'f16';
}

/** Adds the options of `ModelFlags`, but for --mfp. */
export function withModel(command: Command): Command {
  return withDevice(
    command
      .requiredOption('--clip <path>', 'CLIP: a Hugging Face folder, or safetensors with OpenAI\'s names')
      .option('--cnn <path>', 'ResNet: safetensors with torchvision\'s or timm\'s names')
      .option('--size <pixels>', 'side of the square that CLIP sees, a multiple of the patch size; default: that of the trained model', wholeNumber(1))
      .addOption(new Option('--precision <type>', 'storage of weights and activations').choices(['f32', 'f16']).default('f32')),
  );
}

/** What `loadModel` takes, from the flags. */
export function modelOptions(flags: ModelFlags): ModelOptions {
  const { clip, cnn, mfp, size, precision } = flags;
  return { clip, cnn, mfp, size, precision, ...gpuOptions(flags), variants: variantPolicy(flags) };
}
