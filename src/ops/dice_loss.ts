import { type KernelCall, type TensorType, bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { chunksOf, preferredTeams, teamVariants } from './teams.ts';
import { checkTypes } from './types.ts';

function imagesAndPixels(shape: Shape): { images: number; pixels: number } {
  return { images: shape[0], pixels: sizeOf(shape.slice(1)) };
}

const map: TensorType = { shape: [1, 518, 518], dtype: 'f32' };

export const diceLossOp = defineOp<Record<string, never>>({
  name: 'dice_loss',
  inputNames: ['probability', 'mask'],
  outputs(inputs) {
    const [probability, mask] = inputs;
    if (probability!.dtype !== 'f32' || mask!.dtype !== 'f32' || probability!.shape.length < 2 || probability!.shape.join() !== mask!.shape.join()) {
      throw shapeError(diceLossOp, inputs, 'probability and mask must be f32[images, ...] of one shape');
    }
    return [{ shape: [1], dtype: 'f32' }, { shape: [probability!.shape[0], 2], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [probability, mask], outputs: [output, sums], scratch }, teams): KernelCall[] => {
    const { images, pixels } = imagesAndPixels(probability!.shape);
    const { vectors, items, chunk, chunks } = chunksOf(pixels);
    const partial = scratch([images, chunks, 2], 'f32');
    return [
      {
        kernel: 'loss/dice_loss',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { probability: probability!, mask: mask!, partial },
        params: { images, items, chunk, chunks },
        workgroups: teams.workgroups(images * chunks),
      },
      {
        kernel: 'loss/dice_loss_total',
        conditions: teams.conditions,
        constants: teams.constants,
        bindings: { partial, output, sums },
        params: { images, chunks, pixels },
        workgroups: [1],
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 7 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([probability]) => `${probability!.shape[0]}x${sizeClass(sizeOf(probability!.shape.slice(1)))}`,
  backward: ({ inputs: [, mask], outputs: [, sums], outputGradients: [gradient] }) => [apply(diceLossBackwardOp, [mask, sums, gradient], {})[0], undefined],
  sizes: {
    names: ['images', 'height', 'width'],
    small: [[2, 5, 7], [1, 36, 40]],
    case: (images, height, width) => ({ inputs: [f32(images, height, width), f32(images, height, width)], attributes: {} }),
  },
  benchCases: [{ name: '518 map', inputs: [map, map], attributes: {} }],
});

/** Gradient of `dice_loss` with respect to the probabilities, which enter it only through the forward pass's sums. */
export const diceLossBackwardOp = defineOp<Record<string, never>>({
  name: 'dice_loss_backward',
  inputNames: ['mask', 'sums', 'loss gradient'],
  outputs(inputs) {
    const [mask] = inputs;
    if (mask!.dtype !== 'f32' || mask!.shape.length < 2) throw shapeError(diceLossBackwardOp, inputs, 'mask must be f32[images, ...]');
    checkTypes(diceLossBackwardOp, inputs, [undefined, f32(mask!.shape[0], 2), f32(1)]);
    return [{ shape: mask!.shape, dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [mask, sums, gradient], outputs: [output] }, teams) => {
    const { images, pixels } = imagesAndPixels(mask!.shape);
    const { vectors, items, chunk, chunks } = chunksOf(pixels);
    return [
      {
        kernel: 'loss/dice_loss_backward',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { mask: mask!, sums: sums!, loss_gradient: gradient!, probability_gradient: output },
        params: { images, items, chunk, chunks, pixels },
        workgroups: teams.workgroups(images * chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 4 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['images', 'height', 'width'],
    small: [[2, 5, 7], [1, 36, 40]],
    case: (images, height, width) => ({ inputs: [f32(images, height, width), f32(images, 2), f32(1)], attributes: {} }),
  },
  benchCases: [{ name: '518 map', inputs: [map, { shape: [1, 2], dtype: 'f32' }, { shape: [1], dtype: 'f32' }], attributes: {} }],
});

/**
 * Dice loss of a two-class map: for each image 1 - (2 Σ p m + 1) / (Σ p + Σ m + 1) of the abnormal channel against the
 * mask, plus the same of the normal channel against its complement; mean over the images. The gradient is that of the
 * probabilities; masks have none.
 *
 * @param probability f32[batch, height, width], of the abnormal class; the normal one has the rest
 * @param mask f32[batch, height, width], 1 where abnormal
 * @returns f32[1]
 */
export function diceLoss(probability: Tensor, mask: Tensor): Tensor {
  return apply(diceLossOp, [probability, mask], {})[0];
}
