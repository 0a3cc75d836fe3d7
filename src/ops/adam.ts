import { bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { chunksOf, preferredTeams, teamVariants } from './teams.ts';

interface AdamAttributes {
  /** Weight decay apart from the gradient: AdamW. */
  readonly decoupled: boolean;
}

/** What `adamConstants` is made from; names and defaults are torch.optim.Adam's. */
export interface AdamStep extends AdamAttributes {
  /** Number of the step, from 1: the bias corrections depend on it. */
  readonly step: number;
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
}

/**
 * The numbers of one step as the kernel reads them: computed here in float64, because 1 - beta and the bias corrections
 * lose their digits in f32, and kept in a tensor, because a recorded update is replayed with other ones at each step.
 *
 * @returns learning rate / (1 - beta1^step), 1 - beta1, beta2, 1 - beta2, sqrt(1 - beta2^step), epsilon, weight decay
 *   (AdamW: 1 - learning rate * weight decay), and 0
 */
export function adamConstants({ step, learningRate, beta1, beta2, epsilon, weightDecay, decoupled }: AdamStep): number[] {
  const decay = decoupled ? 1 - learningRate * weightDecay : weightDecay;
  return [learningRate / (1 - beta1 ** step), 1 - beta1, beta2, 1 - beta2, Math.sqrt(1 - beta2 ** step), epsilon, decay, 0];
}

export const adamOp = defineOp<AdamAttributes>({
  name: 'adam',
  inputNames: ['parameter', 'gradient', 'first moment', 'second moment', 'constants', 'gradient scale'],
  outputs(inputs) {
    const [parameter, gradient, first, second, constants] = inputs;
    const size = sizeOf(parameter!.shape);
    if (inputs.some((input) => input!.dtype !== 'f32') || [gradient, first, second].some((input) => sizeOf(input!.shape) !== size) || sizeOf(constants!.shape) !== 8) {
      throw shapeError(adamOp, inputs, 'parameter, gradient and moments must be f32 of one size, constants f32[8]');
    }
    return [];
  },
  variants: teamVariants(({ inputs: [parameter, gradient, first, second, constants, scale], attributes: { decoupled } }, teams) => {
    const { vectors, items, chunk, chunks } = chunksOf(parameter!.size);
    return [
      {
        kernel: 'optimizer/adam',
        conditions: { vectors, decoupled, ...teams.conditions },
        constants: teams.constants,
        bindings: { parameter: parameter!, gradient: gradient!, first: first!, second: second!, constants: constants!, gradient_scale: scale! },
        params: { items, chunk },
        workgroups: teams.workgroups(chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: ([parameter, ...others]) => ({ flops: 15 * sizeOf(parameter!.shape), bytes: bytesOfTypes(parameter, ...others, parameter, parameter, parameter) }),
  shapeClass: ([parameter]) => `${sizeClass(sizeOf(parameter!.shape))}`,
  sizes: {
    names: ['elements'],
    small: [[517], [1], [1028]],
    case: (size) => ({ inputs: [f32(size), f32(size), f32(size), f32(size), f32(8), f32(3)], attributes: { decoupled: false } }),
  },
  benchCases: [
    {
      name: 'ViT-L/14 mask prompt fusion',
      inputs: [...Array.from({ length: 4 }, () => ({ shape: [1024, 2048], dtype: 'f32' }) as const), { shape: [8], dtype: 'f32' }, { shape: [3], dtype: 'f32' }],
      attributes: { decoupled: false },
    },
  ],
});

/**
 * One step of Adam or AdamW, in place (torch.optim.Adam, torch.optim.AdamW). Where the gradient scale is 0 or not finite
 * nothing changes, moments included: such a step does not count, so the next one should have the same number.
 *
 * @param parameter persistent f32[...], read and written
 * @param gradient f32 of the same size
 * @param firstMoment persistent f32 of the same size, read and written; zeros before the first step
 * @param secondMoment persistent f32 of the same size, read and written; zeros before the first step
 * @param constants f32[8], written from `adamConstants` before each step
 * @param gradientScale f32[1 or more], whose first number multiplies the gradient: what `gradientScale` returns
 */
export function adam(parameter: Tensor, gradient: Tensor, firstMoment: Tensor, secondMoment: Tensor, constants: Tensor, gradientScale: Tensor, attributes: AdamAttributes): void {
  apply(adamOp, [parameter, gradient, firstMoment, secondMoment, constants, gradientScale], attributes);
}
