import { type BenchCase, type CaseSizes, type KernelCall, type TensorType, bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { itemsOf, preferredTeams, teamVariants } from './teams.ts';
import { type OpNames, checkTypes, single } from './types.ts';

interface CosineSoftmaxAttributes {
  /** Factor of the cosines before the softmax: CLIP's logit_scale, exponentiated. */
  readonly temperature: number;
}

/** Patches that one invocation of the patches' gradient goes through. */
const patchChunk = 8;
/** Patches that one invocation of the texts' gradient adds up: 1369 patches × 768 elements make 129 workgroups of 64. */
const textChunk = 32;

/**
 * Types of the probability and of the factors of its derivative, which the backward pass reads.
 *
 * @param op the one whose shape rule asks, with its `inputs`
 * @throws Error of that op's shape rule where patches and text do not fit
 */
function resultTypes(op: OpNames, inputs: readonly (TensorType | undefined)[], patches: TensorType, text: TensorType): [TensorType, TensorType] {
  const fits =
    patches.shape.length === 3 &&
    text.shape.length === 3 &&
    (text.shape[0] === patches.shape[0] || text.shape[0] === 1) &&
    text.shape[1] === 2 &&
    text.shape[2] === patches.shape[2] &&
    text.dtype === patches.dtype;
  if (!fits) throw shapeError(op, inputs, 'patches must be [batch, patches, width] and text [batch or 1, 2, width] of the same type');
  const shape = patches.shape.slice(0, 2);
  return [f32(...shape), f32(...shape, 2)];
}

export const cosineSoftmaxOp = defineOp<CosineSoftmaxAttributes>({
  name: 'cosine_softmax',
  inputNames: ['patches', 'text'],
  outputs(inputs): TensorType[] {
    return resultTypes(cosineSoftmaxOp, inputs, inputs[0]!, inputs[1]!);
  },
  variants: teamVariants(({ inputs: [patches, text], outputs: [probability, derivative], attributes: { temperature } }, teams) => {
    const [, count, width] = patches!.shape;
    const { vectors, items } = itemsOf(width);
    return [
      {
        kernel: 'map/cosine_softmax',
        conditions: { f16: patches!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { patches: patches!, text: text!, probability, derivative },
        params: { size: probability.size, patches: count, items, text_batch: text!.shape[0], temperature },
        workgroups: teams.workgroups(probability.size),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 6 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([patches]) => `${sizeClass(patches!.shape[0] * patches!.shape[1])}x${sizeClass(patches!.shape[2])}`,
  backward({ inputs: [patches, text], outputs: [, derivative], outputGradients: [gradient], needs }) {
    return [
      needs[0] ? apply(cosineSoftmaxBackwardPatchesOp, [gradient, patches, text, derivative], {})[0] : undefined,
      needs[1] ? apply(cosineSoftmaxBackwardTextOp, [gradient, patches, text, derivative], {})[0] : undefined,
    ];
  },
  sizes: {
    names: ['batch', 'patches', 'width'],
    small: [[2, 5, 37], [1, 19, 64]],
    case: (batch, patches, width) => ({ inputs: [f32(batch, patches, width), f32(batch, 2, width)], attributes: { temperature: 100 } }),
  },
  benchCases: [{ name: 'ViT-L/14-518', inputs: [f32(1, 1369, 768), f32(1, 2, 768)], attributes: { temperature: 100 } }],
});

/** Of both gradients. */
const backwardSizes: CaseSizes<Record<string, never>> = {
  names: ['batch', 'patches', 'width'],
  small: [[2, 5, 37]],
  case: (batch, patches, width) => ({ inputs: [single(batch, patches), f32(batch, patches, width), f32(batch, 2, width), single(batch, patches, 2)], attributes: {} }),
};

const backwardBenchCases: readonly BenchCase<Record<string, never>>[] = [
  { name: 'ViT-L/14-518', inputs: [single(1, 1369), f32(1, 1369, 768), f32(1, 2, 768), single(1, 1369, 2)], attributes: {} },
];

/** Checks the operands of both gradients. @throws Error of the op's shape rule */
function checkBackward(op: OpNames, inputs: readonly (TensorType | undefined)[]): void {
  const [, patches, text] = inputs;
  const [probability, derivative] = resultTypes(op, inputs, patches!, text!);
  checkTypes(op, inputs, [probability, patches, text, derivative]);
}

/** Gradient of `cosine_softmax` by the patches. */
export const cosineSoftmaxBackwardPatchesOp = defineOp<Record<string, never>>({
  name: 'cosine_softmax_backward_patches',
  inputNames: ['output gradient', 'patches', 'text', 'derivative'],
  outputs(inputs) {
    checkBackward(cosineSoftmaxBackwardPatchesOp, inputs);
    const { shape, dtype } = inputs[1]!;
    return [{ shape, dtype }];
  },
  variants: [
    {
      name: 'elementwise',
      kernels({ inputs: [gradient, patches, text, derivative], outputs: [output], scratch }): KernelCall[] {
        const [batch, count, width] = patches!.shape;
        const textBatch = text!.shape[0];
        const { vectors, items } = itemsOf(width);
        const conditions = { f16: patches!.dtype === 'f16', vectors };
        const direction = scratch([textBatch, width], 'f32');
        const chunk = Math.max(patchChunk, Math.ceil(count / 65535));
        return [
          {
            kernel: 'map/cosine_direction',
            conditions,
            bindings: { text: text!, direction },
            params: { text_batch: textBatch, items },
            workgroups: [textBatch],
          },
          {
            kernel: 'map/cosine_softmax_backward_patches',
            conditions,
            bindings: { patches: patches!, output_gradient: gradient!, derivative: derivative!, direction, patch_gradient: output },
            params: { patches: count, items, text_batch: textBatch, chunk },
            workgroups: [Math.ceil(items / 64), Math.ceil(count / chunk), batch],
          },
        ];
      },
    },
  ],
  cost: (inputs, outputs) => ({ flops: 3 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: backwardSizes,
  benchCases: backwardBenchCases,
});

/** Gradient of `cosine_softmax` by the texts: chunks of patches are added up side by side, then the chunks in order. */
export const cosineSoftmaxBackwardTextOp = defineOp<Record<string, never>>({
  name: 'cosine_softmax_backward_text',
  inputNames: ['output gradient', 'patches', 'text', 'derivative'],
  outputs(inputs) {
    checkBackward(cosineSoftmaxBackwardTextOp, inputs);
    const { shape, dtype } = inputs[2]!;
    return [{ shape, dtype }];
  },
  variants: [
    {
      name: 'two stages',
      kernels({ inputs: [gradient, patches, text, derivative], outputs: [output], scratch }): KernelCall[] {
        const [batch, count, width] = patches!.shape;
        const textBatch = text!.shape[0];
        const rows = (batch * count) / textBatch;
        const { vectors, items } = itemsOf(width);
        const conditions = { f16: patches!.dtype === 'f16', vectors };
        const chunk = Math.max(textChunk, Math.ceil(rows / 65535));
        const chunks = Math.ceil(rows / chunk);
        const partial = scratch([textBatch, chunks, width], 'f32');
        return [
          {
            kernel: 'map/cosine_softmax_backward_text_partial',
            conditions,
            bindings: { patches: patches!, output_gradient: gradient!, derivative: derivative!, partial },
            params: { rows, items, chunk },
            workgroups: [Math.ceil(items / 64), chunks, textBatch],
          },
          {
            kernel: 'map/cosine_softmax_backward_text',
            conditions,
            bindings: { text: text!, partial, text_gradient: output },
            params: { text_batch: textBatch, items, chunks },
            workgroups: [textBatch],
          },
        ];
      },
    },
  ],
  cost: (inputs, outputs) => ({ flops: 2 * sizeOf(inputs[1]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: backwardSizes,
  benchCases: backwardBenchCases,
});

/**
 * Probability that each patch is abnormal: softmax over {normal, abnormal} of the cosine similarity with the two text
 * features times the temperature (MFP-CLIP, equation 11). The normal channel is 1 minus it.
 *
 * Lengths are taken as torch.nn.functional.normalize does, at least 1e-12.
 *
 * @param patches [batch, patches, width]
 * @param text [batch, 2, width], or [1, 2, width] where all images share it; row 0 normal, row 1 abnormal
 * @returns f32 [batch, patches]
 */
export function cosineSoftmax(patches: Tensor, text: Tensor, { temperature }: CosineSoftmaxAttributes): Tensor {
  return apply(cosineSoftmaxOp, [patches, text], { temperature })[0];
}
