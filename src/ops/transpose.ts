import { bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';

export const transposeOp = defineOp<Record<string, never>>({
  name: 'transpose',
  inputNames: ['input'],
  outputs(inputs) {
    const { shape, dtype } = inputs[0]!;
    if (shape.length < 2) throw shapeError(transposeOp, inputs, 'input must have at least two axes');
    return [{ shape: [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!], dtype }];
  },
  variants: [
    {
      name: 'tiled',
      purpose: 'squares through workgroup memory: GPUs',
      kernels({ inputs: [input], outputs: [output] }) {
        const [rows, columns] = input!.shape.slice(-2);
        return [
          {
            kernel: 'movement/transpose',
            conditions: { f16: input!.dtype === 'f16' },
            bindings: { input: input!, output },
            params: { rows, columns },
            workgroups: [Math.ceil(columns / 16), Math.ceil(rows / 16), sizeOf(input!.shape.slice(0, -2))],
          },
        ];
      },
    },
    {
      name: 'direct',
      purpose: 'straight from row to column: software adapters',
      kernels({ inputs: [input], outputs: [output] }) {
        const [rows, columns] = input!.shape.slice(-2);
        return [
          {
            kernel: 'movement/transpose_direct',
            conditions: { f16: input!.dtype === 'f16' },
            bindings: { input: input!, output },
            params: { rows, columns },
            workgroups: [Math.ceil(rows / 64), Math.ceil(columns / 16), sizeOf(input!.shape.slice(0, -2))],
          },
        ];
      },
    },
  ],
  preferred: ({ gpu }) => (gpu.adapter.software ? 'direct' : 'tiled'),
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ outputGradients: [gradient] }) => [transpose(gradient!)],
  sizes: {
    names: ['rows', 'columns'],
    small: [[37, 5], [70, 33]],
    case: (rows, columns) => ({ inputs: [f32(rows, columns)], attributes: {} }),
  },
  benchCases: [{ name: 'ViT-L/14 weight', inputs: [{ shape: [4096, 1024], dtype: 'f32' }], attributes: {} }],
});

/**
 * The last two axes swapped (torch.Tensor.mT), as a copy.
 *
 * @param input [..., rows, columns]
 * @returns [..., columns, rows]
 */
export function transpose(input: Tensor): Tensor {
  return apply(transposeOp, [input], {})[0];
}
