import { type TensorType, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Shape, type Tensor } from '../tensor/tensor.ts';
import { checkTypes } from './types.ts';

export const gatherRowsOp = defineOp<Record<string, never>>({
  name: 'gather_rows',
  inputNames: ['input', 'index'],
  outputs(inputs) {
    const [input, index] = inputs;
    if (input!.shape.length !== 3 || index!.dtype !== 'u32' || index!.shape.length !== 1 || index!.shape[0] !== input!.shape[0]) {
      throw shapeError(gatherRowsOp, inputs, 'input must be [outer, rows, width] and index u32[outer]');
    }
    return [{ shape: [input!.shape[0], input!.shape[2]], dtype: input!.dtype }];
  },
  variants: [
    {
      name: 'copy',
      kernels: ({ inputs: [input, index], outputs: [output] }) => [
        {
          kernel: 'movement/gather_rows',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, index: index!, output },
          params: { size: output.size, rows: input!.shape[1], width: input!.shape[2] },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (_inputs, outputs) => ({ flops: 0, bytes: 2 * bytesOfTypes(...outputs) }),
  backward: ({ inputs: [input, index], outputGradients: [gradient] }) => [apply(gatherRowsBackwardOp, [gradient, index], { whole: input!.shape })[0]],
  sizes: {
    names: ['outer', 'rows', 'width'],
    small: [[3, 5, 37]],
    case: (outer, rows, width) => ({ inputs: [f32(outer, rows, width), { shape: [outer], dtype: 'u32' }], attributes: {} }),
  },
  benchCases: [
    { name: 'ViT-L/14 end of text', inputs: [{ shape: [2, 77, 768], dtype: 'f32' }, { shape: [2], dtype: 'u32' }], attributes: {} },
  ],
});

/** Gradient of `gather_rows`: each row's gradient where the row came from, zeros elsewhere. */
export const gatherRowsBackwardOp = defineOp<{ readonly whole: Shape }>({
  name: 'gather_rows_backward',
  inputNames: ['output gradient', 'index'],
  outputs(inputs, { whole }) {
    const [gradient, index] = inputs;
    const input: TensorType = { shape: whole, dtype: gradient!.dtype };
    checkTypes(gatherRowsBackwardOp, inputs, gatherRowsOp.outputs([input, index], {}));
    return [input];
  },
  variants: [
    {
      name: 'copy',
      kernels: ({ inputs: [gradient, index], outputs: [output], attributes: { whole } }) => [
        {
          kernel: 'movement/gather_rows_backward',
          conditions: { f16: gradient!.dtype === 'f16' },
          bindings: { output_gradient: gradient!, index: index!, input_gradient: output },
          params: { size: output.size, rows: whole[1], width: whole[2] },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['outer', 'rows', 'width'],
    small: [[3, 5, 37]],
    case: (outer, rows, width) => ({ inputs: [f32(outer, width), { shape: [outer], dtype: 'u32' }], attributes: { whole: [outer, rows, width] } }),
  },
  benchCases: [
    { name: 'ViT-L/14 end of text', inputs: [{ shape: [2, 768], dtype: 'f32' }, { shape: [2], dtype: 'u32' }], attributes: { whole: [2, 77, 768] } },
  ],
});

/**
 * One row of every outer index (torch.gather along the row axis).
 *
 * @param input [outer, rows, width]
 * @param index u32[outer], each below rows
 * @returns [outer, width]
 */
export function gatherRows(input: Tensor, index: Tensor): Tensor {
  return apply(gatherRowsOp, [input, index], {})[0];
}
