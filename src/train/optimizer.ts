import type { Gpu } from '../gpu/device.ts';
import { accumulate } from '../ops/accumulate.ts';
import { adam, adamConstants } from '../ops/adam.ts';
import { gradientScale } from '../ops/gradient_scale.ts';
import { sumSquares } from '../ops/sum_squares.ts';
import { type KernelTime, Program } from '../tensor/program.ts';
import { scope } from '../tensor/recording.ts';
import { type MakeTensor, type Tensor, clearTensors, emptyTensor, freeTensor, readTensor, writeTensor } from '../tensor/tensor.ts';
import type { OptimizerConfig } from './config.ts';

/** What one update reports. */
export interface UpdateReport {
  /** Norm of the whole gradient before clipping, without the loss scale. */
  readonly gradientNorm: number;
  /** False when the gradient was not finite: nothing was changed then. */
  readonly applied: boolean;
}

/** What the optimizer keeps on the device beside the parameters. */
export interface OptimizerTensors {
  /** By parameter name, and so are the moments. */
  readonly gradients: ReadonlyMap<string, Tensor>;
  readonly firstMoments: ReadonlyMap<string, Tensor>;
  readonly secondMoments: ReadonlyMap<string, Tensor>;
  /** Adam's constants of the update to come, by the factor on the learning rate. */
  readonly hyper: ReadonlyMap<number, Tensor>;
  readonly rateFactor: RateFactor;
  /** Squared norm of each gradient. */
  readonly norms: Tensor;
  /** Loss scale and largest norm. */
  readonly limits: Tensor;
}

/** Factor of the learning rate for a parameter, by its name (torch's parameter groups). */
export type RateFactor = (name: string) => number;

const sameRate: RateFactor = () => 1;

/** Makes an optimizer's tensors. @param parameters trained f32 tensors by name; their order is that of all state */
export function optimizerTensors(parameters: ReadonlyMap<string, Tensor>, make: MakeTensor, rateFactor = sameRate): OptimizerTensors {
  const likeParameters = (kind: string): Map<string, Tensor> => new Map([...parameters].map(([name, { shape }]) => [name, make(shape, 'f32', `${kind} of ${name}`)]));
  return {
    gradients: likeParameters('gradient'),
    firstMoments: likeParameters('first moment'),
    secondMoments: likeParameters('second moment'),
    hyper: new Map([...new Set([...parameters.keys()].map(rateFactor))].map((factor) => [factor, make([8], 'f32', `Adam constants, rate times ${factor}`)])),
    rateFactor,
    norms: make([parameters.size], 'f32', 'squared gradient norms'),
    limits: make([2], 'f32', 'loss scale and largest norm'),
  };
}

/** Records that gradients are added to those of the update to come. One that a parameter lacks is zero: only weight decay changes it then. */
export function accumulateGradients(parameters: ReadonlyMap<string, Tensor>, { gradients }: OptimizerTensors, gradientOf: (parameter: Tensor) => Tensor | undefined): void {
  for (const [name, parameter] of parameters) {
    const gradient = gradientOf(parameter);
    if (gradient) accumulate(gradients.get(name)!, gradient);
  }
}

/** Records one update. @returns what `gradientScale` does: the factor on the gradients, their norm, and whether it is finite */
export function recordUpdate(parameters: ReadonlyMap<string, Tensor>, tensors: OptimizerTensors, { kind }: OptimizerConfig): Tensor {
  const { gradients, firstMoments, secondMoments, hyper, rateFactor, norms, limits } = tensors;
  [...gradients.values()].forEach((gradient, i) => sumSquares(gradient, norms, i));
  const scale = gradientScale(norms, limits);
  for (const [name, parameter] of parameters) {
    adam(parameter, gradients.get(name)!, firstMoments.get(name)!, secondMoments.get(name)!, hyper.get(rateFactor(name))!, scale, { decoupled: kind === 'adamw' });
  }
  return scale;
}

/**
 * Adam or AdamW over f32 parameters (torch.optim.Adam, AdamW), with gradient accumulation, clipping by the global norm
 * (torch.nn.utils.clip_grad_norm_) and loss scaling. The update is recorded once; step number, learning rate and scale
 * are written into small tensors before each replay.
 */
export class Optimizer {
  readonly #gpu: Gpu;
  readonly #config: OptimizerConfig;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #tensors: OptimizerTensors;
  #update: Program<Tensor> | undefined;

  /** @param parameters trained f32 tensors by name; their order is that of all state */
  constructor(gpu: Gpu, parameters: ReadonlyMap<string, Tensor>, config: OptimizerConfig, rateFactor = sameRate) {
    this.#gpu = gpu;
    this.#config = config;
    this.#parameters = parameters;
    this.#tensors = optimizerTensors(parameters, (shape, dtype, label) => emptyTensor(gpu, shape, dtype, label), rateFactor);
    const { gradients, firstMoments, secondMoments } = this.#tensors;
    for (const tensors of [gradients, firstMoments, secondMoments]) clearTensors(gpu, tensors.values());
  }

  /** Records that gradients are added to those of the update to come. One that a parameter lacks is zero: only weight decay changes it then. */
  accumulate(gradientOf: (parameter: Tensor) => Tensor | undefined): void {
    accumulateGradients(this.#parameters, this.#tensors, gradientOf);
  }

  /** The accumulated gradients by parameter name. */
  get gradients(): ReadonlyMap<string, Tensor> {
    return this.#tensors.gradients;
  }

  /**
   * Updates the parameters from the accumulated gradients and sets those to zero.
   *
   * @param step number of this update, from 1
   * @param learningRate with the schedule's factor
   * @param lossScale factor that the loss was multiplied with
   */
  async update(step: number, learningRate: number, lossScale: number): Promise<UpdateReport> {
    const program = await this.#prepare(step, learningRate, lossScale);
    await program.run();
    const [, gradientNorm, finite] = await readTensor(this.#gpu, program.outputs);
    clearTensors(this.#gpu, this.#tensors.gradients.values());
    return { gradientNorm, applied: finite !== 0 };
  }

  /** Updates as `update` does, with every kernel timed on the GPU's clock. */
  async time(step: number, learningRate: number, lossScale: number): Promise<KernelTime[]> {
    const program = await this.#prepare(step, learningRate, lossScale);
    const times = await program.time();
    clearTensors(this.#gpu, this.#tensors.gradients.values());
    return times;
  }

  /** The recorded update with its numbers written. */
  async #prepare(step: number, learningRate: number, lossScale: number): Promise<Program<Tensor>> {
    const { kind, beta1, beta2, epsilon, weightDecay, clipNorm } = this.#config;
    const { hyper, limits } = this.#tensors;
    this.#update ??= await Program.record(this.#gpu, () => scope('optimizer', () => recordUpdate(this.#parameters, this.#tensors, this.#config)), { label: 'optimizer' });
    for (const [factor, constants] of hyper) writeTensor(this.#gpu, constants, adamConstants({ step, learningRate: factor * learningRate, beta1, beta2, epsilon, weightDecay, decoupled: kind === 'adamw' }));
    // 0 stands for "not clipped".
    writeTensor(this.#gpu, limits, [lossScale, clipNorm ?? 0]);
    return this.#update;
  }

  /** The moments by name: "first moment of i2tp.fuse.weight". With them and the parameters a run can go on. */
  get moments(): ReadonlyMap<string, Tensor> {
    const { firstMoments, secondMoments } = this.#tensors;
    return new Map([...firstMoments.values(), ...secondMoments.values()].map((moment) => [moment.label, moment]));
  }

  /** Frees the device memory; the parameters stay. */
  destroy(): void {
    this.#update?.destroy();
    const { gradients, firstMoments, secondMoments, hyper, norms, limits } = this.#tensors;
    for (const tensors of [gradients, firstMoments, secondMoments]) for (const unused of tensors.values()) freeTensor(this.#gpu, unused);
    for (const unused of [...hyper.values(), norms, limits]) freeTensor(this.#gpu, unused);
  }
}
