import { UserError } from '../errors.ts';
import type { Gpu } from '../gpu/device.ts';
import { ClassTexts } from '../models/mfp/class_texts.ts';
import { needsCnn } from '../models/mfp/config.ts';
import type { LoadedMfp } from '../models/mfp/load.ts';
import { type Mfp, mfpForward, mfpText } from '../models/mfp/mfp.ts';
import { binaryCrossEntropy } from '../ops/binary_cross_entropy.ts';
import { cast } from '../ops/cast.ts';
import { diceLoss } from '../ops/dice_loss.ts';
import { focalLoss } from '../ops/focal_loss.ts';
import { gradients } from '../ops/gradients.ts';
import { type KernelTime, Program, joinTimes } from '../tensor/program.ts';
import { scope } from '../tensor/recording.ts';
import { type MakeTensor, Tensor, asParameter, clearTensors, emptyTensor, freeTensor, readTensor, sizeOf, writeTensor } from '../tensor/tensor.ts';
import { type RunConfig, rateFactorOf } from './config.ts';
import { Optimizer, type UpdateReport } from './optimizer.ts';

/** One image as the training step takes it. */
export interface TrainingExample {
  /** What it is called in messages: its file. */
  readonly name: string;
  /** Words for the class. */
  readonly className: string;
  /** [3, size, size], CLIP-normalised. */
  readonly image: Float32Array;
  /** [Dc], the CNN's pooled features; undefined where the configuration needs none. */
  readonly features: Float32Array | undefined;
  /** [size, size], 0 or 1. */
  readonly mask: Float32Array;
  /** 1 for an abnormal image. */
  readonly label: 0 | 1;
}

/** Losses of one forward pass, unweighted; those of the first map are missing without mask prompting. */
export interface StepLosses {
  readonly coarseFocal?: number;
  readonly coarseDice?: number;
  readonly focal: number;
  readonly dice: number;
  readonly bce: number;
  /** Weighted sum: what is minimised. */
  readonly total: number;
}

/** Names of the losses that a gradient starts from. */
type LossName = Exclude<keyof StepLosses, 'total'>;

/** Where f16 training starts and how it moves; a power of two changes no bits of the gradient. */
const lossScaling = { start: 2 ** 10, growAfter: 200, most: 2 ** 16 } as const;

/** State of the loss scale, part of a checkpoint. */
export interface LossScaleState {
  readonly scale: number;
  /** Updates since it last changed. */
  readonly steady: number;
  /** Updates that were left out because a gradient overflowed: they don't count for Adam's bias correction. */
  readonly skipped: number;
}

/** What the step needs of a loaded model. */
export type StepModel = Pick<LoadedMfp, 'model' | 'sizes' | 'imageSize' | 'precision'>;
/** What a trainer needs of a loaded model. */
export type TrainedModel = StepModel & Pick<LoadedMfp, 'prompts'>;

/** Tensors that are written before each forward and backward pass. */
export interface StepInputs {
  readonly image: Tensor;
  readonly features: Tensor | undefined;
  readonly mask: Tensor;
  readonly label: Tensor;
  /** Token embeddings where the image takes part in the text, finished text features where it does not. */
  readonly text: Tensor;
  readonly endOfText: Tensor;
  /** Per loss the gradient of the total with respect to it: weight × loss scale / passes per update. In the order in which the step returns them. */
  readonly seeds: ReadonlyMap<LossName, Tensor>;
}

/** Makes the inputs of a training step. @param batch images of one pass */
export function stepInputs({ model, sizes, imageSize }: StepModel, batch: number, make: MakeTensor): StepInputs {
  const { i2tp, mp } = model.config;
  const lossNames: LossName[] = [...(mp.enabled ? (['coarseFocal', 'coarseDice'] as const) : []), 'focal', 'dice', 'bce'];
  return {
    image: make([batch, 3, imageSize, imageSize], 'f32', 'images'),
    features: needsCnn(model.config) ? make([batch, sizes.cnnWidth], 'f32', 'CNN features') : undefined,
    mask: make([batch, imageSize, imageSize], 'f32', 'masks'),
    label: make([batch], 'f32', 'labels'),
    text: i2tp.enabled ? make([batch * 2, sizes.context, sizes.textWidth], 'f32', 'token embeddings') : make([batch, 2, sizes.jointWidth], 'f32', 'text features'),
    endOfText: make([batch * 2], 'u32', 'end of text'),
    seeds: new Map(lossNames.map((name) => [name, make([1], 'f32', `gradient of ${name}`)])),
  };
}

function inputTensors({ seeds, ...inputs }: StepInputs): Tensor[] {
  return [...Object.values(inputs), ...seeds.values()].filter((input) => input !== undefined);
}

/**
 * Records one forward and backward pass.
 *
 * @param accumulate takes the gradients of the trained tensors
 * @returns the losses, in the order of `inputs.seeds`
 */
export function trainingStep({ model, precision }: StepModel, recompute: boolean, inputs: StepInputs, accumulate: (gradientOf: (parameter: Tensor) => Tensor | undefined) => void): readonly Tensor[] {
  const { image, features, mask, label, text, endOfText, seeds } = inputs;
  const { i2tp, mp, loss } = model.config;
  const step: Mfp = {
    ...model,
    // The trained tensors stay in f32; the passes see them in the type of everything else.
    parameters: new Map([...model.parameters].map(([name, parameter]) => [name, cast(parameter, precision)])),
    image: { ...model.image, recompute },
    text: { ...model.text, recompute },
  };
  const castFeatures = features && cast(features, precision);
  const castText = cast(text, precision);
  const outputs = mfpForward(step, cast(image, precision), castFeatures, i2tp.enabled ? mfpText(step, castText, endOfText, castFeatures) : castText);
  const losses = scope('losses', () => ({
    coarseFocal: mp.enabled ? focalLoss(outputs.coarseMap, mask, { gamma: loss.gamma }) : undefined,
    coarseDice: mp.enabled ? diceLoss(outputs.coarseMap, mask) : undefined,
    focal: focalLoss(outputs.map, mask, { gamma: loss.gamma }),
    dice: diceLoss(outputs.map, mask),
    bce: binaryCrossEntropy(outputs.score, label),
  }));
  const gradientOf = gradients([...seeds].map(([name, gradient]) => ({ tensor: losses[name]!, gradient })));
  scope('accumulation', () => accumulate(gradientOf));
  return [...seeds.keys()].map((name) => losses[name]!);
}

/**
 * Trains MFP-CLIP's own tensors through the frozen towers. Forward pass, losses and backward pass are recorded once and
 * replayed for every batch, and so is the update.
 */
export class MfpTrainer {
  readonly optimizer: Optimizer;
  readonly #gpu: Gpu;
  readonly #loaded: TrainedModel;
  readonly #config: RunConfig;
  readonly #inputs: StepInputs;
  /** Gives the losses, in the order of the inputs' seeds, and leaves the gradients with the optimizer. */
  readonly #program: Program<readonly Tensor[]>;
  readonly #texts: ClassTexts;
  #lossScale: LossScaleState;

  private constructor(gpu: Gpu, loaded: TrainedModel, config: RunConfig, optimizer: Optimizer, inputs: StepInputs, program: Program<readonly Tensor[]>) {
    this.#gpu = gpu;
    this.#loaded = loaded;
    this.#config = config;
    this.optimizer = optimizer;
    this.#inputs = inputs;
    this.#program = program;
    this.#texts = new ClassTexts(gpu, loaded);
    this.#lossScale = { scale: loaded.precision === 'f16' ? lossScaling.start : 1, steady: 0, skipped: 0 };
  }

  /**
   * Records the training step of a model.
   *
   * @param loaded the model, with its own parameters in f32 (`parameterPrecision`)
   * @throws UserError when device memory does not suffice, naming what to change
   */
  static async create(gpu: Gpu, loaded: TrainedModel, config: RunConfig): Promise<MfpTrainer> {
    for (const parameter of loaded.model.parameters.values()) asParameter(parameter);
    const optimizer = new Optimizer(gpu, loaded.model.parameters, config.optimizer, (name) => rateFactorOf(config.optimizer, name));
    const inputs = stepInputs(loaded, config.training.batch, (shape, dtype, label) => emptyTensor(gpu, shape, dtype, label));
    try {
      const program = await Program.record(gpu, () => trainingStep(loaded, config.training.recompute, inputs, (gradientOf) => optimizer.accumulate(gradientOf)), { label: 'training step' });
      return new MfpTrainer(gpu, loaded, config, optimizer, inputs, program);
    } catch (error) {
      optimizer.destroy();
      for (const unused of inputTensors(inputs)) freeTensor(gpu, unused);
      throw error;
    }
  }

  /** Bytes of intermediates that the memory plan gives one forward and backward pass. */
  get plannedBytes(): number {
    return this.#program.memory.bytes;
  }

  /** Dispatches of one forward and backward pass. */
  get dispatches(): number {
    return this.#program.dispatches;
  }

  get lossScale(): LossScaleState {
    return this.#lossScale;
  }

  set lossScale(state: LossScaleState) {
    this.#lossScale = state;
  }

  /**
   * One update.
   *
   * @param examples batch × accumulation images
   * @param step number of the update, from 1
   * @param learningRate with the schedule's factor
   * @throws UserError naming the image when a loss is not a number; the parameters are then those of the step before
   */
  async update(examples: readonly TrainingExample[], step: number, learningRate: number): Promise<{ readonly losses: StepLosses; readonly report: UpdateReport }> {
    const losses = await this.computeGradients(examples, step);
    const report = await this.optimizer.update(step - this.#lossScale.skipped, learningRate, this.#lossScale.scale);
    this.#adjustLossScale(report, step, examples);
    return { losses, report };
  }

  /**
   * Forward and backward passes over the images of one update; the gradients, times the loss scale, are added to those in
   * the optimizer.
   *
   * @returns the mean losses of the passes
   * @throws UserError as `update` does
   */
  async computeGradients(examples: readonly TrainingExample[], step: number): Promise<StepLosses> {
    const { batch, accumulation } = this.#config.training;
    if (examples.length !== batch * accumulation) throw new Error(`an update takes ${batch} × ${accumulation} images, got ${examples.length}`);
    const passes: StepLosses[] = [];
    for (let pass = 0; pass < accumulation; pass++) {
      const part = examples.slice(pass * batch, (pass + 1) * batch);
      await this.#write(part);
      await this.#program.run();
      passes.push(await this.#readLosses(part, step));
    }
    const mean = (name: keyof StepLosses): number => passes.reduce((sum, losses) => sum + (losses[name] ?? 0) / passes.length, 0);
    return Object.fromEntries([...this.#inputs.seeds.keys(), 'total' as const].map((name) => [name, mean(name)])) as unknown as StepLosses;
  }

  /** Runs one forward and backward pass with every kernel timed; the gradients are thrown away. */
  async time(examples: readonly TrainingExample[]): Promise<KernelTime[]> {
    await this.#write(examples);
    const times = await this.#program.time();
    clearTensors(this.#gpu, this.optimizer.gradients.values());
    return times;
  }

  /** Makes an update as `update` does, all passes and the optimizer, with every kernel timed; the loss scale stays. */
  async timeUpdate(examples: readonly TrainingExample[], step: number, learningRate: number): Promise<KernelTime[]> {
    const { batch } = this.#config.training;
    const parts: KernelTime[][] = [];
    for (let first = 0; first < examples.length; first += batch) {
      const part = examples.slice(first, first + batch);
      await this.#write(part);
      parts.push(await this.#program.time());
      await this.#readLosses(part, step);
    }
    parts.push(await this.optimizer.time(step - this.#lossScale.skipped, learningRate, this.#lossScale.scale));
    return joinTimes(parts);
  }

  async #write(examples: readonly TrainingExample[]): Promise<void> {
    const { image, features, mask, label, text, endOfText, seeds } = this.#inputs;
    const gpu = this.#gpu;
    examples.forEach((example, i) => {
      writeTensor(gpu, elementOf(image, i), example.image);
      writeTensor(gpu, elementOf(mask, i), example.mask);
      if (features) writeTensor(gpu, elementOf(features, i), example.features!);
    });
    writeTensor(gpu, label, examples.map((example) => example.label));
    const texts = [];
    for (const { className } of examples) texts.push(await this.#texts.of(className));
    const perImage = text.size / examples.length;
    const joined = new Float32Array(text.size);
    texts.forEach(({ embeddings, features: known }, i) => joined.set(known ?? embeddings, i * perImage));
    writeTensor(gpu, text, joined);
    writeTensor(gpu, endOfText, texts.flatMap(({ endOfText: ends }) => ends));
    for (const [name, seed] of seeds) writeTensor(gpu, seed, [(this.#weight(name) * this.#lossScale.scale) / this.#config.training.accumulation]);
  }

  #weight(name: LossName): number {
    const { focal, dice, bce } = this.#loaded.model.config.loss;
    return { coarseFocal: focal, coarseDice: dice, focal, dice, bce }[name];
  }

  async #readLosses(examples: readonly TrainingExample[], step: number): Promise<StepLosses> {
    const lossNames = [...this.#inputs.seeds.keys()];
    const losses: Partial<Record<keyof StepLosses, number>> = {};
    let total = 0;
    for (const [i, name] of lossNames.entries()) {
      const [value] = await readTensor(this.#gpu, this.#program.outputs[i]);
      losses[name] = value;
      total += this.#weight(name) * value;
    }
    if (!Number.isFinite(total)) {
      clearTensors(this.#gpu, this.optimizer.gradients.values());
      const values = lossNames.map((name) => `${name} ${losses[name]}`).join(', ');
      throw new UserError(`the loss is not a number at step ${step} (${values}), with ${examples.map(({ name }) => name).join(', ')}. A smaller learning rate (optimizer.learningRate) or clipping (optimizer.clipNorm) may help.`);
    }
    return { ...losses, total } as StepLosses;
  }

  #adjustLossScale({ applied }: UpdateReport, step: number, examples: readonly TrainingExample[]): void {
    const { scale, steady, skipped } = this.#lossScale;
    if (!applied) {
      // With 16-bit storage an overflow says that the scale is too high; in f32, or at scale 1, it is a real failure.
      if (this.#loaded.precision === 'f32' || scale <= 1) {
        throw new UserError(`the gradient is not a number at step ${step}, with ${examples.map(({ name }) => name).join(', ')}. A smaller learning rate (optimizer.learningRate) or clipping (optimizer.clipNorm) may help.`);
      }
      this.#lossScale = { scale: scale / 2, steady: 0, skipped: skipped + 1 };
    } else if (this.#loaded.precision === 'f16') {
      this.#lossScale = steady + 1 >= lossScaling.growAfter && scale < lossScaling.most ? { scale: scale * 2, steady: 0, skipped } : { scale, steady: steady + 1, skipped };
    }
  }

  /** Frees the device memory of the step; the model stays. */
  destroy(): void {
    this.#program.destroy();
    this.optimizer.destroy();
    for (const unused of inputTensors(this.#inputs)) freeTensor(this.#gpu, unused);
  }
}

/** The part of a batch that belongs to one image. */
function elementOf(batch: Tensor, index: number): Tensor {
  const shape = batch.shape.slice(1);
  return new Tensor(shape, batch.dtype, batch.storage, index * sizeOf(shape));
}
