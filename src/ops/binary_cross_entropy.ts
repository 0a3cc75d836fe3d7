import { type TensorType, bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { preferredTeams, teamVariants } from './teams.ts';
import { type OpNames, checkTypes } from './types.ts';

/** The types of scores and labels, the same for the loss and its gradient. @throws Error of the op's shape rule */
function checkScores(op: OpNames, inputs: readonly (TensorType | undefined)[]): void {
  const [score, label] = inputs;
  if (score!.dtype !== 'f32' || label!.dtype !== 'f32' || score!.shape.join() !== label!.shape.join()) throw shapeError(op, inputs, 'score and label must be f32 of one shape');
}

export const binaryCrossEntropyOp = defineOp<Record<string, never>>({
  name: 'binary_cross_entropy',
  inputNames: ['score', 'label'],
  outputs(inputs) {
    checkScores(binaryCrossEntropyOp, inputs);
    return [{ shape: [1], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [score, label], outputs: [output] }, teams) => [
    {
      kernel: 'loss/binary_cross_entropy',
      // One score at a time: there are as many as images in a batch.
      conditions: { vectors: false, ...teams.conditions },
      constants: teams.constants,
      bindings: { score: score!, label: label!, output },
      params: { count: score!.size },
      workgroups: [1],
    },
  ]),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 60 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [score, label], outputGradients: [gradient] }) => [apply(binaryCrossEntropyBackwardOp, [score, label, gradient], {})[0], undefined],
  sizes: {
    names: ['images'],
    small: [[13], [1], [300]],
    case: (images) => ({ inputs: [f32(images), f32(images)], attributes: {} }),
  },
  benchCases: [{ name: 'batch of 8', inputs: [{ shape: [8], dtype: 'f32' }, { shape: [8], dtype: 'f32' }], attributes: {} }],
});

/** Gradient of `binary_cross_entropy` with respect to the scores. */
export const binaryCrossEntropyBackwardOp = defineOp<Record<string, never>>({
  name: 'binary_cross_entropy_backward',
  inputNames: ['score', 'label', 'loss gradient'],
  outputs(inputs) {
    checkScores(binaryCrossEntropyBackwardOp, inputs);
    checkTypes(binaryCrossEntropyBackwardOp, inputs, [undefined, undefined, f32(1)]);
    return [{ shape: inputs[0]!.shape, dtype: 'f32' }];
  },
  variants: [
    {
      name: 'elementwise',
      kernels: ({ inputs: [score, label, gradient], outputs: [output] }) => [
        {
          kernel: 'loss/binary_cross_entropy_backward',
          bindings: { score: score!, label: label!, loss_gradient: gradient!, score_gradient: output },
          params: { count: score!.size },
          workgroups: [Math.ceil(score!.size / 64)],
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 6 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['images'],
    small: [[13]],
    case: (images) => ({ inputs: [f32(images), f32(images), f32(1)], attributes: {} }),
  },
  benchCases: [{ name: 'batch of 8', inputs: [{ shape: [8], dtype: 'f32' }, { shape: [8], dtype: 'f32' }, { shape: [1], dtype: 'f32' }], attributes: {} }],
});

/**
 * Binary cross-entropy, mean (torch.nn.BCELoss: logarithms do not fall below -100, the gradient's denominator not below
 * 1e-12). The gradient is that of the scores; labels have none.
 *
 * @param score f32[batch], probabilities
 * @param label f32[batch], 0 or 1
 * @returns f32[1]
 */
export function binaryCrossEntropy(score: Tensor, label: Tensor): Tensor {
  return apply(binaryCrossEntropyOp, [score, label], {})[0];
}
