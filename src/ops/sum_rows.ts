import { bytesOfTypes, defineOp, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { broadcastRows } from './broadcast_rows.ts';

export const sumRowsOp = defineOp<Record<string, never>>({
  name: 'sum_rows',
  inputNames: ['input'],
  outputs(inputs) {
    const [input] = inputs;
    if (input!.shape.length !== 2) throw shapeError(sumRowsOp, inputs, 'input must be [rows, width]');
    return [{ shape: [input!.shape[1]], dtype: input!.dtype }];
  },
  variants: [
    {
      name: 'column',
      kernels: ({ inputs: [input], outputs: [output] }) => [
        {
          kernel: 'reduction/sum_rows',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { rows: input!.shape[0], width: input!.shape[1] },
          workgroups: [Math.ceil(input!.shape[1] / 64)],
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward({ inputs: [input], outputGradients: [gradient] }) {
    return [broadcastRows(gradient!, input!.shape[0])];
  },
  benchCases: [{ name: 'ViT-L/14-518 bias gradient', inputs: [{ shape: [1370, 1024], dtype: 'f32' }], attributes: {} }],
});

/**
 * Sum over the first axis, in a fixed order (torch.sum(input, 0)).
 *
 * @param input [rows, width]
 * @returns [width]
 */
export function sumRows(input: Tensor): Tensor {
  return apply(sumRowsOp, [input], {})[0];
}
