import type { Gpu } from '../gpu/device.ts';
import { accumulate } from '../ops/accumulate.ts';
import { adam, adamConstants } from '../ops/adam.ts';
import { gradientScale } from '../ops/gradient_scale.ts';
import { sumSquares } from '../ops/sum_squares.ts';
import { Program } from '../tensor/program.ts';
import { type Tensor, clearTensors, emptyTensor, freeTensor, readTensor, writeTensor } from '../tensor/tensor.ts';
import type { OptimizerConfig } from './config.ts';

/** What one update reports. */
export interface UpdateReport {
  /** Norm of the whole gradient before clipping, without the loss scale. */
  readonly gradientNorm: number;
  /** False when the gradient was not finite: nothing was changed then. */
  readonly applied: boolean;
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
  readonly #gradients = new Map<string, Tensor>();
  readonly #firstMoments = new Map<string, Tensor>();
  readonly #secondMoments = new Map<string, Tensor>();
  readonly #hyper: Tensor;
  readonly #norms: Tensor;
  readonly #limits: Tensor;
  #update: Program<Tensor> | undefined;

  /** @param parameters trained f32 tensors by name; their order is that of all state */
  constructor(gpu: Gpu, parameters: ReadonlyMap<string, Tensor>, config: OptimizerConfig) {
    this.#gpu = gpu;
    this.#config = config;
    this.#parameters = parameters;
    for (const [name, { shape }] of parameters) {
      for (const [kind, tensors] of [['gradient', this.#gradients], ['first moment', this.#firstMoments], ['second moment', this.#secondMoments]] as const) {
        tensors.set(name, emptyTensor(gpu, shape, 'f32', `${kind} of ${name}`));
      }
    }
    for (const tensors of [this.#gradients, this.#firstMoments, this.#secondMoments]) clearTensors(gpu, tensors.values());
    this.#hyper = emptyTensor(gpu, [8], 'f32', 'Adam constants');
    this.#norms = emptyTensor(gpu, [parameters.size], 'f32', 'squared gradient norms');
    this.#limits = emptyTensor(gpu, [2], 'f32', 'loss scale and largest norm');
  }

  /** Records that gradients are added to those of the update to come. Parameters without a gradient stay as they are. */
  accumulate(gradientOf: (parameter: Tensor) => Tensor | undefined): void {
    for (const [name, parameter] of this.#parameters) {
      const gradient = gradientOf(parameter);
      if (gradient) accumulate(this.#gradients.get(name)!, gradient);
    }
  }

  /** The accumulated gradients by parameter name. */
  get gradients(): ReadonlyMap<string, Tensor> {
    return this.#gradients;
  }

  /**
   * Updates the parameters from the accumulated gradients and sets those to zero.
   *
   * @param step number of this update, from 1
   * @param learningRate with the schedule's factor
   * @param lossScale factor that the loss was multiplied with
   */
  async update(step: number, learningRate: number, lossScale: number): Promise<UpdateReport> {
    const { kind, beta1, beta2, epsilon, weightDecay, clipNorm } = this.#config;
    this.#update ??= await Program.record(this.#gpu, () => this.#recordUpdate(), { label: 'optimizer' });
    writeTensor(this.#gpu, this.#hyper, adamConstants({ step, learningRate, beta1, beta2, epsilon, weightDecay, decoupled: kind === 'adamw' }));
    // 0 stands for "not clipped".
    writeTensor(this.#gpu, this.#limits, [lossScale, clipNorm ?? 0]);
    await this.#update.run();
    const [, gradientNorm, finite] = await readTensor(this.#gpu, this.#update.outputs);
    clearTensors(this.#gpu, this.#gradients.values());
    return { gradientNorm, applied: finite !== 0 };
  }

  #recordUpdate(): Tensor {
    const names = [...this.#parameters.keys()];
    names.forEach((name, i) => sumSquares(this.#gradients.get(name)!, this.#norms, i));
    const scale = gradientScale(this.#norms, this.#limits);
    for (const name of names) {
      adam(this.#parameters.get(name)!, this.#gradients.get(name)!, this.#firstMoments.get(name)!, this.#secondMoments.get(name)!, this.#hyper, scale, {
        decoupled: this.#config.kind === 'adamw',
      });
    }
    return scale;
  }

  /** The moments by name: "first moment of i2tp.fuse.weight". With them and the parameters a run can go on. */
  get moments(): ReadonlyMap<string, Tensor> {
    return new Map([...this.#firstMoments.values(), ...this.#secondMoments.values()].map((moment) => [moment.label, moment]));
  }

  /** Frees the device memory; the parameters stay. */
  destroy(): void {
    this.#update?.destroy();
    for (const tensors of [this.#gradients, this.#firstMoments, this.#secondMoments]) for (const unused of tensors.values()) freeTensor(this.#gpu, unused);
    for (const unused of [this.#hyper, this.#norms, this.#limits]) freeTensor(this.#gpu, unused);
  }
}
