import { type KernelCall, type TensorType, bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { chunksOf, preferredTeams, teamVariants } from './teams.ts';
import { type OpNames, checkTypes } from './types.ts';

interface FocalLossAttributes {
  readonly gamma: number;
}

/** Operations per pixel of a term or its derivative: mostly the logarithm. */
const flopsPerPixel = 40;

const maps: readonly TensorType[] = [{ shape: [1, 518, 518], dtype: 'f32' }, { shape: [1, 518, 518], dtype: 'f32' }];

/** What the loss and its gradient ask of maps and exponent. @throws Error of the op's shape rule */
function checkMaps(op: OpNames, inputs: readonly (TensorType | undefined)[], { gamma }: FocalLossAttributes): void {
  const [probability, mask] = inputs;
  if (probability!.dtype !== 'f32' || mask!.dtype !== 'f32' || probability!.shape.join() !== mask!.shape.join() || !(gamma >= 0)) {
    throw shapeError(op, inputs, `probability and mask must be f32 of one shape and gamma at least 0, not ${gamma}`);
  }
}

export const focalLossOp = defineOp<FocalLossAttributes>({
  name: 'focal_loss',
  inputNames: ['probability', 'mask'],
  outputs(inputs, attributes) {
    checkMaps(focalLossOp, inputs, attributes);
    return [{ shape: [1], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [probability, mask], outputs: [output], attributes: { gamma }, scratch }, teams): KernelCall[] => {
    const { vectors, items, chunk, chunks } = chunksOf(probability!.size);
    const partial = scratch([chunks], 'f32');
    return [
      {
        kernel: 'loss/focal_loss',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { probability: probability!, mask: mask!, partial },
        params: { items, chunk, chunks, gamma },
        workgroups: teams.workgroups(chunks),
      },
      {
        kernel: 'loss/total',
        conditions: teams.conditions,
        constants: teams.constants,
        bindings: { partial, output },
        params: { count: chunks, factor: 1 / probability!.size },
        workgroups: [1],
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: flopsPerPixel * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([probability]) => `${sizeClass(sizeOf(probability!.shape))}`,
  backward: ({ inputs: [probability, mask], outputGradients: [gradient], attributes }) => [
    apply(focalLossBackwardOp, [probability, mask, gradient], attributes)[0],
    undefined,
  ],
  sizes: {
    names: ['images', 'height', 'width'],
    small: [[2, 5, 7], [1, 36, 40]],
    case: (images, height, width) => ({ inputs: [f32(images, height, width), f32(images, height, width)], attributes: { gamma: 2 } }),
  },
  benchCases: [{ name: '518 map', inputs: maps, attributes: { gamma: 2 } }],
});

/** Gradient of `focal_loss` with respect to the probabilities. */
export const focalLossBackwardOp = defineOp<FocalLossAttributes>({
  name: 'focal_loss_backward',
  inputNames: ['probability', 'mask', 'loss gradient'],
  outputs(inputs, attributes) {
    checkMaps(focalLossBackwardOp, inputs, attributes);
    checkTypes(focalLossBackwardOp, inputs, [undefined, undefined, f32(1)]);
    return [{ shape: inputs[0]!.shape, dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [probability, mask, gradient], outputs: [output], attributes: { gamma } }, teams) => {
    const { vectors, items, chunk, chunks } = chunksOf(probability!.size);
    return [
      {
        kernel: 'loss/focal_loss_backward',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { probability: probability!, mask: mask!, loss_gradient: gradient!, probability_gradient: output },
        params: { items, chunk, factor: 1 / probability!.size, gamma },
        workgroups: teams.workgroups(chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: flopsPerPixel * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['images', 'height', 'width'],
    small: [[2, 5, 7], [1, 36, 40]],
    case: (images, height, width) => ({ inputs: [f32(images, height, width), f32(images, height, width), f32(1)], attributes: { gamma: 2 } }),
  },
  benchCases: [{ name: '518 map', inputs: [...maps, { shape: [1], dtype: 'f32' }], attributes: { gamma: 2 } }],
});

/**
 * Focal loss of a two-class map, mean over all pixels (the loss of AnomalyCLIP and APRIL-GAN): with the one-hot target o
 * clamped to [1e-5, 1 - 1e-5], pt = o p + (1 - o)(1 - p) + 1e-5 and the term -(1 - pt)^gamma log(pt).
 * The gradient is that of the probabilities; masks have none.
 *
 * @param probability f32[batch, height, width], of the abnormal class; the normal one has the rest
 * @param mask f32[batch, height, width], 1 where abnormal
 * @returns f32[1]
 */
export function focalLoss(probability: Tensor, mask: Tensor, { gamma = 2 }: Partial<FocalLossAttributes> = {}): Tensor {
  return apply(focalLossOp, [probability, mask], { gamma })[0];
}
