import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.ts';
import { UserError } from '../errors.ts';
import { type TrainingIdentity, trainingIdentity } from '../eval/identity.ts';
import type { Gpu } from '../gpu/device.ts';
import { writeFileAtomic } from '../io/files.ts';
import { type LoadedMfp, type MfpSource, loadMfp } from '../models/mfp/load.ts';
import { writeMfp } from '../models/mfp/parameters.ts';
import { RandomSource } from '../tensor/random.ts';
import { type Tensor, readTensor } from '../tensor/tensor.ts';
import { configureVariants, variantsOf } from '../tensor/variants.ts';
import { restoreCheckpoint, saveCheckpoint } from './checkpoint.ts';
import { type RunConfig, mfpConfigOf, parseRunConfig } from './config.ts';
import { ExampleLoader } from './examples.ts';
import { RunLog, lossChart } from './log.ts';
import { type LossScaleState, MfpTrainer, type StepLosses } from './mfp_trainer.ts';
import { scheduleFactor } from './schedule.ts';

/** What a training run works on. */
export interface RunOptions {
  readonly gpu: Gpu;
  readonly source: Pick<MfpSource, 'clip' | 'cnn'>;
  readonly dataset: Pick<Dataset, 'root' | 'layout' | 'samples'>;
  /** Folder of the run: `config.json`, `log.jsonl`, `checkpoint.safetensors`, `mfp.safetensors`, `loss.svg`. */
  readonly out: string;
  readonly config: RunConfig;
  /** Go on from the folder's checkpoint. */
  readonly resume?: boolean;
  /** Updates between checkpoints, beside that at each end of an epoch. */
  readonly saveEvery?: number;
  /** Finishes the update under way, saves and returns when it is aborted. */
  readonly signal?: AbortSignal;
  /** Called after every update. */
  onUpdate?(update: UpdateInfo): void;
  /** Called at the start, after a checkpoint was read. */
  onStart?(start: { readonly updates: number; readonly done: number; readonly plannedBytes: number }): void;
  /**
   * Measures the model as it is; what it returns goes into the log. Called after every `validateEvery` epochs, once what they trained is
   * saved. It returns undefined when `signal` was aborted: the epoch is then measured when the run goes on.
   */
  validate?(loaded: LoadedMfp, signal: AbortSignal | undefined): Promise<Readonly<Record<string, number>> | undefined>;
  readonly validateEvery?: number;
}

/** One update, for progress. */
export interface UpdateInfo {
  readonly step: number;
  readonly epoch: number;
  readonly losses: StepLosses;
}

/** How a run ended. */
export interface RunResult {
  readonly finished: boolean;
  readonly step: number;
  /** The trained model. */
  readonly file: string;
  /** Share of an update's time in which the GPU did not work; undefined where it cannot be measured. */
  readonly hostShare: number | undefined;
}

/** All that decides how a run goes on, beside its tensors. */
interface RunState {
  readonly step: number;
  readonly epoch: number;
  /** Images of the epoch that are done. */
  readonly position: number;
  /** State of the random source before the epoch's order was drawn. */
  readonly random: readonly number[];
  readonly lossScale: LossScaleState;
  readonly config: RunConfig;
  /** Hashes of data set and models, by what a person calls them. */
  readonly identity: TrainingIdentity;
  readonly adapter: string;
  /** Kernel variants by op, inputs and attributes: the same ones give the same bits. */
  readonly variants: Readonly<Record<string, string>>;
}

/** The images of each update of an epoch: all in random order; the last update is filled from the front. */
function updatesOf(random: RandomSource, count: number, perUpdate: number): number[][] {
  const order = random.shuffled(Array.from({ length: count }, (_, i) => i));
  return Array.from({ length: Math.ceil(count / perUpdate) }, (_, update) => Array.from({ length: perUpdate }, (_, i) => order[(update * perUpdate + i) % count]));
}

/** @throws UserError when a run that begins in a folder would write over something else than the start of another one */
function checkNew(out: string): void {
  if (existsSync(join(out, 'checkpoint.safetensors'))) throw new UserError(`${out} holds a run already (${join(out, 'checkpoint.safetensors')}). Go on with --resume, or choose another --out.`);
  const instead = 'Choose another --out, or move it away.';
  for (const model of ['mfp.safetensors', 'model.safetensors'].map((name) => join(out, name))) if (existsSync(model)) throw new UserError(`${out} holds a model already (${model}), and no run that could be gone on with. ${instead}`);
  const configFile = join(out, 'config.json');
  if (!existsSync(configFile)) return;
  try {
    parseRunConfig(JSON.parse(readFileSync(configFile, 'utf8')), configFile);
  } catch {
    throw new UserError(`${configFile} is not the configuration of a training run, whose would take its place. ${instead}`);
  }
}

/**
 * Trains MFP-CLIP (DESIGN: Training) and leaves `mfp.safetensors` in the run's folder. A run that was killed at any
 * moment and resumed ends with the same bits as one that never stopped.
 *
 * @throws UserError naming what is wrong with files, configuration or data; a loss that is not a number names the step,
 *   the image and the last good checkpoint
 */
export async function trainMfp(options: RunOptions): Promise<RunResult> {
  const { gpu, out, dataset, config, signal, saveEvery = 200, validateEvery = 1 } = options;
  const { samples } = dataset;
  const checkpointFile = join(out, 'checkpoint.safetensors');
  const modelFile = join(out, 'mfp.safetensors');
  if (!samples.length) throw new UserError('the data set has no images to train on');
  if (options.resume && !existsSync(checkpointFile)) throw new UserError(`--resume: there is no ${checkpointFile}; start the run without --resume`);
  if (!options.resume) checkNew(out);
  await mkdir(out, { recursive: true }).catch((error: Error) => {
    throw new UserError(`--out ${out}: cannot make the folder: ${error.message}`);
  });
  const log = new RunLog(join(out, 'log.jsonl'));
  const identity = await trainingIdentity(dataset, options.source);
  let state: RunState | undefined;
  if (options.resume) {
    state = await restoreCheckpoint<RunState>(gpu, checkpointFile, () => new Map());
    if (JSON.stringify(state.config) !== JSON.stringify(config)) throw new UserError(`--resume: the configuration differs from that of ${checkpointFile}; leave configuration flags out, or start a new run`);
    for (const [what, hash] of Object.entries(identity)) if (state.identity?.[what] !== hash) throw new UserError(`--resume: the ${what} is not the one that ${checkpointFile} was trained with`);
    // Another adapter would compute other bits; the person should know rather than wonder.
    if (state.adapter !== gpu.key) throw new UserError(`--resume: the run was on ${state.adapter}, this is ${gpu.key}. Choose the same with --adapter.`);
    configureVariants(gpu, { ...variantsOf(gpu).policy, pinned: state.variants });
  }

  const { training, optimizer, schedule } = config;
  const loaded = await loadMfp(gpu, {
    ...options.source,
    config: mfpConfigOf(config),
    size: config.image.size,
    precision: training.precision,
    parameterPrecision: 'f32',
    seed: training.seed,
  });
  const trainer = await MfpTrainer.create(gpu, loaded, config);
  const loader = await ExampleLoader.create(gpu, samples, loaded);
  const tensors = new Map<string, Tensor>([...loaded.model.parameters, ...trainer.optimizer.moments]);
  const perUpdate = training.batch * training.accumulation;
  const updatesPerEpoch = Math.ceil(samples.length / perUpdate);
  const totalUpdates = updatesPerEpoch * training.epochs;
  let step = 0;
  let firstEpoch = 0;
  let firstUpdate = 0;
  let random = new RandomSource(training.seed);
  if (state) {
    await restoreCheckpoint(gpu, checkpointFile, () => tensors);
    ({ step, epoch: firstEpoch } = state);
    firstUpdate = state.position / perUpdate;
    random = new RandomSource(state.random);
    trainer.lossScale = state.lossScale;
    await log.truncate(step);
  } else {
    // Killed before its first checkpoint, a run has left lines that are not of this one.
    await log.truncate(0);
    await writeFileAtomic(join(out, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  }
  options.onStart?.({ updates: totalUpdates, done: step, plannedBytes: trainer.plannedBytes });

  const save = async (epoch: number, position: number, epochRandom: readonly number[]): Promise<void> => {
    const next: RunState = { step, epoch, position, random: epochRandom, lossScale: trainer.lossScale, config, identity, adapter: gpu.key, variants: variantsOf(gpu).chosenNames };
    await saveCheckpoint(gpu, checkpointFile, tensors, next);
  };
  const writeModel = async (): Promise<void> => {
    const values = new Map<string, Float32Array>();
    for (const [name, parameter] of loaded.model.parameters) values.set(name, await readTensor(gpu, parameter));
    await writeMfp(modelFile, loaded.model.config, loaded.sizes, (name) => values.get(name)!, { step: String(step), training: JSON.stringify({ optimizer, schedule, training }) });
  };

  /** Measures what an epoch has trained, where that is asked for. @returns false when it was stopped */
  const validate = async (epoch: number): Promise<boolean> => {
    if (!options.validate || ((epoch + 1) % validateEvery !== 0 && epoch + 1 !== training.epochs)) return true;
    const validation = await options.validate(loaded, signal);
    if (validation) log.append({ step, epoch, validation });
    return validation !== undefined;
  };
  const stopped = (): RunResult => ({ finished: false, step, file: modelFile, hostShare: undefined });

  const wallSeconds: number[] = [];
  let gpuSeconds: number | undefined;
  try {
    if (firstEpoch > 0 && firstUpdate === 0) {
      // Killed after its checkpoint was saved, an epoch has left the model of the one before, or none; or it was not measured yet.
      await writeModel();
      const measured = log.lines().some(({ epoch, validation }) => epoch === firstEpoch - 1 && validation !== undefined);
      if (!measured && !(await validate(firstEpoch - 1))) return stopped();
    }
    for (let epoch = firstEpoch; epoch < training.epochs; epoch++) {
      const epochRandom = random.state;
      const updates = updatesOf(random, samples.length, perUpdate);
      for (let update = epoch === firstEpoch ? firstUpdate : 0; update < updatesPerEpoch; update++) {
        const examples = [];
        for (const index of updates[update]) examples.push(await loader.load(index));
        if (gpuSeconds === undefined && gpu.timestamps) {
          gpuSeconds = (await trainer.time(examples.slice(0, training.batch))).reduce((sum, { nanoseconds }) => sum + nanoseconds, 0) / 1e9;
        }
        const learningRate = optimizer.learningRate * scheduleFactor(schedule, step, epoch, totalUpdates);
        const start = performance.now();
        const { losses, report } = await trainer.update(examples, step + 1, learningRate).catch((error: unknown) => {
          if (!(error instanceof UserError)) throw error;
          throw new UserError(`${error.message} The last good checkpoint is ${existsSync(checkpointFile) ? checkpointFile : 'none yet: the start values'}.`);
        });
        const seconds = (performance.now() - start) / 1000;
        wallSeconds.push(seconds / training.accumulation);
        step++;
        const { total, ...parts } = losses;
        log.append({
          step,
          epoch,
          loss: total,
          ...parts,
          learningRate,
          gradientNorm: report.gradientNorm,
          ...(training.precision === 'f16' ? { applied: report.applied, lossScale: trainer.lossScale.scale } : {}),
          seconds: Number(seconds.toFixed(4)),
          memoryBytes: gpu.memory.peak,
          images: examples.map(({ name }) => name),
        });
        options.onUpdate?.({ step, epoch, losses });
        const stop = signal?.aborted ?? false;
        const last = update + 1 === updatesPerEpoch;
        if (!last && (stop || step % saveEvery === 0)) await save(epoch, (update + 1) * perUpdate, epochRandom);
        if (!last && stop) return stopped();
      }
      // The checkpoint first: a model without one would be taken for something else when the run begins again.
      await save(epoch + 1, 0, random.state);
      await writeModel();
      if (!(await validate(epoch)) || (signal?.aborted && epoch + 1 < training.epochs)) return stopped();
    }
    await writeFileAtomic(join(out, 'loss.svg'), lossChart(log.lines(), `Training loss of ${out}`));
    const median = wallSeconds.sort((a, b) => a - b)[wallSeconds.length >> 1];
    const hostShare = gpuSeconds !== undefined && median !== undefined ? Math.max(0, 1 - gpuSeconds / median) : undefined;
    return { finished: true, step, file: modelFile, hostShare };
  } finally {
    loader.destroy();
    trainer.destroy();
    loaded.destroy();
  }
}
