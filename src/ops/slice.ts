import { type TensorType, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { checkTypes } from './types.ts';

interface SliceAttributes {
  readonly axis: number;
  readonly start: number;
  readonly length: number;
}

/** Elements of one index along `axis`: everything after it. */
function innerSize(shape: Shape, axis: number): number {
  return sizeOf(shape.slice(axis + 1));
}

function sliceParams(whole: Shape, { axis, start, length }: SliceAttributes): { stride: number; start: number; segment: number } {
  const inner = innerSize(whole, axis);
  return { stride: whole[axis] * inner, start: start * inner, segment: length * inner };
}

export const sliceOp = defineOp<SliceAttributes>({
  name: 'slice',
  inputNames: ['input'],
  outputs(inputs, { axis, start, length }) {
    const { shape, dtype } = inputs[0]!;
    if (!(axis >= 0 && axis < shape.length && start >= 0 && length >= 1 && start + length <= shape[axis])) {
      throw shapeError(sliceOp, inputs, `cannot take ${length} from ${start} along axis ${axis}`);
    }
    return [{ shape: shape.map((size, i) => (i === axis ? length : size)), dtype }];
  },
  variants: [
    {
      name: 'copy',
      kernels: ({ inputs: [input], outputs: [output], attributes }) => [
        {
          kernel: 'movement/slice',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { size: output.size, ...sliceParams(input!.shape, attributes) },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (_inputs, outputs) => ({ flops: 0, bytes: 2 * bytesOfTypes(...outputs) }),
  backward: ({ inputs: [input], outputGradients: [gradient], attributes }) => apply(sliceBackwardOp, [gradient], { ...attributes, whole: input!.shape }),
  sizes: {
    names: ['rows', 'width', 'rows taken'],
    small: [[5, 37, 3]],
    case: (rows, width, length) => ({ inputs: [f32(rows, width)], attributes: { axis: 0, start: 0, length } }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 patch tokens', inputs: [{ shape: [1, 1370, 1024], dtype: 'f32' }], attributes: { axis: 1, start: 1, length: 1369 } },
  ],
});

/** Gradient of `slice`: the output's gradient in its place, zeros around it. */
export const sliceBackwardOp = defineOp<SliceAttributes & { readonly whole: Shape }>({
  name: 'slice_backward',
  inputNames: ['output gradient'],
  outputs(inputs, { whole, ...part }) {
    const input: TensorType = { shape: whole, dtype: inputs[0]!.dtype };
    checkTypes(sliceBackwardOp, inputs, sliceOp.outputs([input], part));
    return [input];
  },
  variants: [
    {
      name: 'copy',
      kernels: ({ inputs: [gradient], outputs: [output], attributes }) => [
        {
          kernel: 'movement/slice_backward',
          conditions: { f16: gradient!.dtype === 'f16' },
          bindings: { output_gradient: gradient!, input_gradient: output },
          params: { size: output.size, ...sliceParams(attributes.whole, attributes) },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['rows', 'width', 'rows taken'],
    small: [[5, 37, 3]],
    case: (rows, width, length) => ({ inputs: [f32(length, width)], attributes: { axis: 0, start: 0, length, whole: [rows, width] } }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 patch tokens', inputs: [{ shape: [1, 1369, 1024], dtype: 'f32' }], attributes: { axis: 1, start: 1, length: 1369, whole: [1, 1370, 1024] } },
  ],
});

/**
 * The part [start, start + length) of one axis, as a copy (torch.narrow).
 *
 * @returns input's shape with `length` at `axis`
 */
export function slice(input: Tensor, axis: number, start: number, length: number): Tensor {
  return apply(sliceOp, [input], { axis, start, length })[0];
}
