import { bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor } from '../tensor/tensor.ts';
import { sumRows } from './sum_rows.ts';

interface RepeatRowsAttributes {
  readonly rows: number;
}

export const repeatRowsOp = defineOp<RepeatRowsAttributes>({
  name: 'repeat_rows',
  inputNames: ['input'],
  outputs(inputs, { rows }) {
    const { shape, dtype } = inputs[0]!;
    if (shape.length < 1 || rows < 1) throw shapeError(repeatRowsOp, inputs, `input must be [..., width], to be repeated ${rows} times`);
    return [{ shape: shape.toSpliced(-1, 0, rows), dtype }];
  },
  variants: [
    {
      name: 'copy',
      kernels: ({ inputs: [input], outputs: [output], attributes: { rows } }) => [
        {
          kernel: 'movement/repeat',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { size: output.size, rows, width: input!.shape.at(-1)! },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ outputGradients: [gradient] }) => [sumRows(gradient!)],
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37]],
    case: (rows, width) => ({ inputs: [f32(width)], attributes: { rows } }),
  },
  benchCases: [{ name: 'ViT-L/14-518', inputs: [{ shape: [1024], dtype: 'f32' }], attributes: { rows: 1370 } }],
});

/**
 * Every row again and again along a new axis (torch.expand).
 *
 * @param input [..., width]
 * @returns [..., rows, width]
 */
export function repeatRows(input: Tensor, rows: number): Tensor {
  return apply(repeatRowsOp, [input], { rows })[0];
}
