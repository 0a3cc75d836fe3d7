import { bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply, reshape } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { slice } from './slice.ts';
import { sumRows } from './sum_rows.ts';

interface ConcatenateAttributes {
  readonly axis: number;
}

/** Whether `b` is shared: its axes before `axis` are all 1 while a's are not. */
function isShared(a: Shape, b: Shape, axis: number): boolean {
  return sizeOf(b.slice(0, axis)) === 1 && sizeOf(a.slice(0, axis)) > 1;
}

export const concatenateOp = defineOp<ConcatenateAttributes>({
  name: 'concatenate',
  inputNames: ['a', 'b'],
  outputs(inputs, { axis }) {
    const [a, b] = inputs;
    const fits =
      a!.dtype === b!.dtype &&
      a!.shape.length === b!.shape.length &&
      a!.shape.every((size, i) => i === axis || size === b!.shape[i] || (i < axis && isShared(a!.shape, b!.shape, axis)));
    if (!fits) throw shapeError(concatenateOp, inputs, `a and b must have the same type and axes but for axis ${axis} (axes of b before it may all be 1)`);
    return [{ shape: a!.shape.map((size, i) => (i === axis ? size + b!.shape[axis] : size)), dtype: a!.dtype }];
  },
  variants: [
    {
      name: 'copy',
      kernels: ({ inputs: [a, b], outputs: [output], attributes: { axis } }) => [
        {
          kernel: 'movement/concatenate',
          conditions: { f16: a!.dtype === 'f16' },
          bindings: { a: a!, b: b!, output },
          params: {
            size: output.size,
            a_segment: sizeOf(a!.shape.slice(axis)),
            b_segment: sizeOf(b!.shape.slice(axis)),
            b_outer: sizeOf(b!.shape.slice(0, axis)),
          },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (_inputs, outputs) => ({ flops: 0, bytes: 2 * bytesOfTypes(...outputs) }),
  backward({ inputs: [a, b], outputGradients: [gradient], needs, attributes: { axis } }) {
    const ofB = (): Tensor => {
      const whole = slice(gradient!, axis, a!.shape[axis], b!.shape[axis]);
      return isShared(a!.shape, b!.shape, axis) ? reshape(sumRows(reshape(whole, [whole.size / b!.size, b!.size])), b!.shape) : whole;
    };
    return [needs[0] ? slice(gradient!, axis, 0, a!.shape[axis]) : undefined, needs[1] ? ofB() : undefined];
  },
  sizes: {
    names: ['rows', 'width of a', 'width of b'],
    small: [[3, 5, 2]],
    case: (rows, a, b) => ({ inputs: [f32(rows, a), f32(rows, b)], attributes: { axis: 1 } }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 prompts', inputs: [{ shape: [1, 1370, 1024], dtype: 'f32' }, { shape: [1, 10, 1024], dtype: 'f32' }], attributes: { axis: 1 } },
    { name: 'ViT-L/14-518 mask prompt', inputs: [{ shape: [1, 1369, 1024], dtype: 'f32' }, { shape: [1, 1369, 1024], dtype: 'f32' }], attributes: { axis: 2 } },
  ],
});

/**
 * a and b one after the other along an axis (torch.cat). The axes of b before that axis may all be 1: the same b is
 * then appended for every outer index of a.
 *
 * @param a [..., a's size, ...]
 * @param b [..., b's size, ...]
 */
export function concatenate(a: Tensor, b: Tensor, axis: number): Tensor {
  return apply(concatenateOp, [a, b], { axis })[0];
}
