import { type KernelCall, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { repeatRows } from './repeat_rows.ts';

/** Rows of a slice. */
const sliceRows = 64;

/**
 * The kernel that adds the rows of each slice.
 *
 * @param input [outer, rows, width]
 * @param output [outer, slices, width]
 */
export function sumSlices(input: Tensor, output: Tensor, rows: number, width: number, slices = 1): KernelCall {
  return {
    kernel: 'reduction/sum_rows',
    conditions: { input_f16: input.dtype === 'f16', output_f16: output.dtype === 'f16' },
    bindings: { input, output },
    params: { size: output.size, rows, width, slices, slice_rows: slices === 1 ? rows : sliceRows },
    workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
  };
}

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
      purpose: 'one invocation per column: few rows, and adapters that run on the CPU',
      kernels: ({ inputs: [input], outputs: [output] }) => [sumSlices(input!, output, input!.shape.at(-2)!, input!.shape.at(-1)!)],
    },
    {
      name: 'sliced',
      purpose: 'columns in slices, then their sums: many rows on GPUs',
      gpuOnly: true,
      supports: ({ inputs: [input] }) => input!.shape.at(-2)! > sliceRows,
      kernels({ inputs: [input], outputs: [output], scratch }) {
        const [rows, width] = input!.shape.slice(-2);
        const slices = Math.ceil(rows / sliceRows);
        const sums = scratch([input!.size / rows / width, slices, width], 'f32');
        return [sumSlices(input!, sums, rows, width, slices), sumSlices(sums, output, slices, width)];
      },
    },
  ],
  preferred: ({ gpu, inputs: [input] }) => (!gpu.adapter.software && input!.shape.at(-2)! > 4 * sliceRows ? 'sliced' : 'column'),
  shapeClass: ([input]) => `${sizeClass(sizeOf(input!.shape.slice(0, -2)))}x${sizeClass(input!.shape.at(-2)!)}x${sizeClass(input!.shape.at(-1)!)}`,
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward({ inputs: [input], outputGradients: [gradient] }) {
    return [repeatRows(gradient!, input!.shape.at(-2)!)];
  },
  sizes: {
    names: ['rows', 'width'],
    small: [[70, 37], [129, 5]],
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
