import { bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { repeatRows } from './repeat_rows.ts';

export const sumRowsOp = defineOp<Record<string, never>>({
  name: 'sum_rows',
  inputNames: ['input'],
  outputs(inputs) {
    const [input] = inputs;
    if (input!.shape.length < 2) throw shapeError(sumRowsOp, inputs, 'input must be [..., rows, width]');
    return [{ shape: input!.shape.toSpliced(-2, 1), dtype: input!.dtype }];
  },
  variants: [
    {
      name: 'column',
      kernels: ({ inputs: [input], outputs: [output] }) => [
        {
          kernel: 'reduction/sum_rows',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { size: output.size, rows: input!.shape.at(-2)!, width: input!.shape.at(-1)! },
          workgroups: [Math.ceil(output.size / 64)],
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward({ inputs: [input], outputGradients: [gradient] }) {
    return [repeatRows(gradient!, input!.shape.at(-2)!)];
  },
  sizes: {
    names: ['rows', 'width'],
    small: [[70, 37]],
    case: (rows, width) => ({ inputs: [f32(rows, width)], attributes: {} }),
  },
  benchCases: [{ name: 'ViT-L/14-518 bias gradient', inputs: [{ shape: [1370, 1024], dtype: 'f32' }], attributes: {} }],
});

/**
 * Sum over the last axis but one, in a fixed order (torch.sum(input, -2)).
 *
 * @param input [..., rows, width]
 * @returns [..., width]
 */
export function sumRows(input: Tensor): Tensor {
  return apply(sumRowsOp, [input], {})[0];
}
