import { Command } from 'commander';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { type Dataset, checkSamples, openDataset } from '../data/dataset.ts';
import { UserError } from '../errors.ts';
import { metricNames } from '../eval/results.ts';
import { percent } from '../eval/tables.ts';
import { validateModel } from '../eval/validate.ts';
import { Gpu } from '../gpu/device.ts';
import { formatBytes } from '../gpu/memory.ts';
import { readClipSizes } from '../models/clip/clip.ts';
import type { ClipConfig } from '../models/clip/config.ts';
import { fittingConfig } from '../models/mfp/load.ts';
import { configureVariants } from '../tensor/variants.ts';
import { type RunConfig, defaultRunConfig, parseRunConfig } from '../train/config.ts';
import { trainMfp } from '../train/run.ts';
import { awaitInterruption } from './interruption.ts';
import { type DeviceFlags, gpuOptions, listOfNames, variantPolicy, wholeNumber, withDevice } from './options.ts';
import { startProgress } from './progress.ts';

/** Options that make up a run configuration. */
export interface ConfigFlags {
  readonly config?: string;
  readonly set?: readonly string[];
  readonly epochs?: number;
  readonly batch?: number;
  readonly size?: number;
  readonly precision?: 'f32' | 'f16';
  readonly recompute?: boolean;
  readonly seed?: number;
}

interface TrainFlags extends DeviceFlags, ConfigFlags {
  readonly data: string;
  readonly classes?: readonly string[];
  readonly clip: string;
  readonly cnn?: string;
  readonly out: string;
  readonly resume?: boolean;
  readonly saveEvery: number;
  readonly val?: string;
  readonly validateEvery: number;
  readonly check: boolean;
}

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    throw new UserError(`cannot read the configuration ${file}: ${(error as Error).message}`);
  }
}

/** A configuration with one field changed. @param source the file or flag that changes it, for errors */
function withField(config: RunConfig, section: string, field: string, value: unknown, source: string): RunConfig {
  // Refuses sections and fields that there are not, so that what is read below is never anything inherited.
  const parsed = parseRunConfig({ [section]: { [field]: value } }, source);
  const fieldsOf = (of: RunConfig): Record<string, unknown> => of[section as keyof RunConfig] as unknown as Record<string, unknown>;
  return { ...config, [section]: { ...fieldsOf(config), [field]: fieldsOf(parsed)[field] } };
}

/** "sp.count=4" as a change of a configuration. */
function applySetting(config: RunConfig, text: string): RunConfig {
  const match = /^(\w+)\.(\w+)=(.*)$/.exec(text);
  if (!match) throw new UserError(`--set ${text}: it must look like sp.count=4`);
  const [, section, field, value] = match;
  let parsed: unknown = value;
  try {
    parsed = JSON.parse(value);
  } catch {
    // Not JSON: a word, as in i2tp.concat=token.
  }
  return withField(config, section, field, parsed, `--set ${text}`);
}

/** Adds the options of `ConfigFlags`. */
export function withConfig(command: Command): Command {
  return command
    .option('--config <file>', 'JSON with the fields of the run configuration that differ from the defaults')
    .option('--set <section.field=value>', 'one field of the run configuration, for example sp.count=4; can be given again', (text: string, earlier: string[] = []) => [...earlier, text])
    .option('--epochs <n>', 'passes over the data (training.epochs)', wholeNumber(1))
    .option('--batch <n>', 'images per forward pass (training.batch)', wholeNumber(1))
    .option('--size <pixels>', 'side of the square that CLIP sees (image.size); default: 518 where CLIP can take it, else the side that it was trained with', wholeNumber(1))
    .option('--precision <f32|f16>', 'storage of weights and activations (training.precision)')
    .option('--recompute', 'less memory for more time (training.recompute)')
    .option('--seed <n>', 'seed of start values and order (training.seed)', wholeNumber(0));
}

/** The configuration that file and flags describe. @param defaults what they leave open */
export function runConfigOf(flags: ConfigFlags, defaults = defaultRunConfig): RunConfig {
  // The file alone first, so that an error names what is to blame.
  let config = flags.config === undefined ? defaults : parseRunConfig(readJson(flags.config), flags.config, defaults);
  for (const text of flags.set ?? []) config = applySetting(config, text);
  for (const field of ['epochs', 'batch', 'precision', 'recompute', 'seed'] as const) {
    if (flags[field] !== undefined) config = withField(config, 'training', field, flags[field], `--${field}`);
  }
  return flags.size === undefined ? config : withField(config, 'image', 'size', flags.size, '--size');
}

/** The same, where file and flags say no image size with one that the CLIP can take. */
export function runConfigFor(flags: ConfigFlags, { vision }: ClipConfig): RunConfig {
  return runConfigOf(flags, fittingConfig(defaultRunConfig, vision));
}

/** The data set with its problems on standard error. */
export async function openChecked(root: string, split: 'train' | 'test', classes: readonly string[] | undefined, readImages: boolean): Promise<Dataset> {
  const dataset = openDataset(root, { split, classes });
  const problems = [...dataset.problems];
  if (readImages) {
    const progress = startProgress('image', dataset.samples.length);
    problems.push(...(await checkSamples(dataset.samples, () => progress.step('checking'))));
    progress.stop();
  }
  if (problems.length) {
    const shown = problems.slice(0, 20).map(({ where, what }) => `  ${where}: ${what}`);
    throw new UserError(`${root} has ${problems.length} problem${problems.length > 1 ? 's' : ''}:\n${shown.join('\n')}${problems.length > 20 ? `\n  and ${problems.length - 20} more` : ''}`);
  }
  return dataset;
}

async function train(flags: TrainFlags): Promise<void> {
  const saved = join(flags.out, 'config.json');
  const asked = flags.config !== undefined || flags.set !== undefined || ['epochs', 'batch', 'size', 'precision', 'recompute', 'seed'].some((name) => flags[name as keyof TrainFlags] !== undefined);
  const config = flags.resume && !asked && existsSync(saved) ? parseRunConfig(readJson(saved), saved) : runConfigFor(flags, await readClipSizes(flags.clip));
  const dataset = await openChecked(flags.data, 'test', flags.classes, flags.check);
  const validation = flags.val === undefined ? undefined : await openChecked(flags.val, 'test', undefined, flags.check);
  if (flags.val !== undefined && existsSync(flags.val) && realpathSync(flags.val) === realpathSync(flags.data)) {
    process.stderr.write('mfp-clip: --val is the folder that is trained on: its figures will not be zero-shot\n');
  }
  const interruption = awaitInterruption('this update');
  const gpu = await Gpu.open(gpuOptions(flags));
  let progress: ReturnType<typeof startProgress> | undefined;
  try {
    configureVariants(gpu, variantPolicy(flags));
    const result = await trainMfp({
      gpu,
      source: { clip: flags.clip, cnn: flags.cnn },
      dataset,
      out: flags.out,
      config,
      resume: flags.resume,
      saveEvery: flags.saveEvery,
      signal: interruption.signal,
      onStart({ updates, done, plannedBytes }) {
        process.stderr.write(`mfp-clip: ${dataset.samples.length} images of ${dataset.classes.length} classes, ${updates} updates${done ? `, ${done} of them done` : ''}; ${formatBytes(plannedBytes)} of intermediates on ${gpu.adapter.description || gpu.key}\n`);
        progress = startProgress('update', updates, done);
      },
      validateEvery: flags.validateEvery,
      validate:
        validation &&
        (async (loaded, signal) => {
          const metrics = await validateModel(gpu, loaded, validation, signal);
          if (!metrics) return undefined;
          const shown = metricNames.flatMap(([key, name]) => (metrics[key] === undefined ? [] : [`${name} ${percent(metrics[key])}`]));
          process.stderr.write(`mfp-clip: on ${flags.val}: ${shown.join(', ')}\n`);
          return metrics;
        }),
      onUpdate: ({ epoch, losses }) => progress?.step(`epoch ${epoch + 1}, loss ${losses.total.toFixed(4)}`),
    });
    progress?.stop();
    const share = result.hostShare === undefined ? '' : `; ${(100 * result.hostShare).toFixed(1)}% of an update is not GPU work`;
    process.stderr.write(
      result.finished
        ? `mfp-clip: ${result.step} updates done, peak device memory ${formatBytes(gpu.memory.peak)}${share}. The model is ${result.file}\n`
        : `mfp-clip: stopped after update ${result.step}. Go on with --resume.\n`,
    );
    if (!result.finished) process.exitCode = interruption.exitCode;
  } finally {
    progress?.stop();
    interruption.ignore();
    gpu.close();
  }
}

/** `mfp-clip train`. */
export function trainCommand(): Command {
  const command = new Command('train')
    .description("train MFP-CLIP's own tensors on the test split of a data set (MVTec-AD, VisA, or a folder in MVTec's layout)")
    .requiredOption('--data <folder>', 'data set to train on')
    .option('--classes <list>', 'classes to train on, separated by commas; default: all', listOfNames)
    .requiredOption('--clip <path>', 'CLIP: a Hugging Face folder, or safetensors with OpenAI\'s names')
    .option('--cnn <path>', 'ResNet: safetensors with torchvision\'s or timm\'s names')
    .requiredOption('--out <folder>', 'folder of the run: configuration, log, checkpoint and model');
  withConfig(command)
    .option('--resume', 'go on from the checkpoint in --out')
    .option('--save-every <updates>', 'updates between checkpoints', wholeNumber(1), 200)
    .option('--val <folder>', 'data set to measure all metrics on while training; they go into log.jsonl')
    .option('--validate-every <epochs>', 'epochs between measurements', wholeNumber(1), 1)
    .option('--no-check', 'do not read all images before the first update');
  return withDevice(command).action(train);
}
