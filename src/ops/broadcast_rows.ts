import { bytesOfTypes, defineOp, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor } from '../tensor/tensor.ts';
import { sumRows } from './sum_rows.ts';

interface BroadcastRowsAttributes {
  readonly rows: number;
}

export const broadcastRowsOp = defineOp<BroadcastRowsAttributes>({
  name: 'broadcast_rows',
  inputNames: ['input'],
  outputs(inputs, { rows }) {
    const [input] = inputs;
    if (input!.shape.length !== 1) throw shapeError(broadcastRowsOp, inputs, 'input must be [width]');
    return [{ shape: [rows, input!.shape[0]], dtype: input!.dtype }];
  },
  variants: [
    {
      name: 'copy',
      // A slice whose rows all start at the same place.
      kernels: ({ inputs: [input], outputs: [output] }) => [
        {
          kernel: 'movement/slice',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { size: output.size, stride: 0, start: 0, segment: input!.size },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ outputGradients: [gradient] }) => [sumRows(gradient!)],
  benchCases: [{ name: 'ViT-L/14-518', inputs: [{ shape: [1024], dtype: 'f32' }], attributes: { rows: 1370 } }],
});

/**
 * The same row again and again (torch.expand).
 *
 * @param input [width]
 * @returns [rows, width]
 */
export function broadcastRows(input: Tensor, rows: number): Tensor {
  return apply(broadcastRowsOp, [input], { rows })[0];
}
