import { type TensorType, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { checkTypes } from './types.ts';

/** Patches per side of the two grids. */
export interface ResizePositionAttributes {
  readonly from: number;
  readonly to: number;
}

export const resizePositionOp = defineOp<ResizePositionAttributes>({
  name: 'resize_position',
  inputNames: ['position'],
  outputs(inputs, { from, to }) {
    const { shape, dtype } = inputs[0]!;
    if (shape.length !== 2 || shape[0] !== 1 + from * from || from < 1 || to < 1) throw shapeError(resizePositionOp, inputs, `position must be [1 + ${from} x ${from}, width], to be fitted to ${to} x ${to}`);
    return [{ shape: [1 + to * to, shape[1]], dtype }];
  },
  variants: [
    {
      name: 'direct',
      kernels: ({ inputs: [input], outputs: [output], attributes: { from, to } }) => [
        {
          kernel: 'embedding/resize_position',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { size: output.size, source: from, to, width: input!.shape[1] },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 40 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ outputGradients: [gradient], attributes }) => apply(resizePositionBackwardOp, [gradient], attributes),
  sizes: {
    names: ['grid side from', 'grid side to', 'width'],
    small: [[3, 5, 37]],
    case: (from, to, width) => ({ inputs: [f32(1 + from ** 2, width)], attributes: { from, to } }),
  },
  benchCases: [{ name: 'ViT-L/14 24 to 37', inputs: [{ shape: [577, 1024], dtype: 'f32' }], attributes: { from: 24, to: 37 } }],
});

/** Gradient of `resize_position`. */
export const resizePositionBackwardOp = defineOp<ResizePositionAttributes>({
  name: 'resize_position_backward',
  inputNames: ['output gradient'],
  outputs(inputs, attributes) {
    const { shape, dtype } = inputs[0]!;
    const position: TensorType = { shape: [1 + attributes.from ** 2, shape.at(-1)!], dtype };
    checkTypes(resizePositionBackwardOp, inputs, resizePositionOp.outputs([position], attributes));
    return [position];
  },
  variants: [
    {
      name: 'direct',
      kernels: ({ inputs: [gradient], outputs: [output], attributes: { from, to } }) => [
        {
          kernel: 'embedding/resize_position_backward',
          conditions: { f16: gradient!.dtype === 'f16' },
          bindings: { output_gradient: gradient!, input_gradient: output },
          params: { size: output.size, source: from, to, width: output.shape[1] },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 40 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['grid side from', 'grid side to', 'width'],
    small: [[3, 5, 37]],
    case: (from, to, width) => ({ inputs: [f32(1 + to ** 2, width)], attributes: { from, to } }),
  },
  benchCases: [{ name: 'ViT-L/14 24 to 37', inputs: [{ shape: [1370, 1024], dtype: 'f32' }], attributes: { from: 24, to: 37 } }],
});

/**
 * Fits a position embedding to another grid (DESIGN: CLIP towers; torch.nn.functional.interpolate, bicubic,
 * align_corners = false, no antialiasing). The class token's row stays.
 *
 * @param position [1 + from², width]
 * @returns [1 + to², width]
 */
export function resizePosition(position: Tensor, attributes: ResizePositionAttributes): Tensor {
  return apply(resizePositionOp, [position], attributes)[0];
}
