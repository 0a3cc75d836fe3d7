import { type KernelCall, type OpCall, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply, reshape } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { sumRows } from './sum_rows.ts';

/** @param width elements of one invocation */
function kernel({ inputs: [a, b], outputs: [output] }: OpCall<Record<string, never>>, path: string, width: number): KernelCall {
  return {
    kernel: path,
    conditions: { f16: a!.dtype === 'f16' },
    bindings: { a: a!, b: b!, output },
    params: { size: output.size / width, period: b!.size / width },
    workgroups: foldWorkgroups(Math.ceil(output.size / width / 64)),
  };
}

export const addOp = defineOp<Record<string, never>>({
  name: 'add',
  inputNames: ['a', 'b'],
  outputs(inputs) {
    const [a, b] = inputs;
    const trailing = a!.shape.slice(a!.shape.length - b!.shape.length);
    if (a!.dtype !== b!.dtype || b!.shape.length > a!.shape.length || trailing.some((size, i) => size !== b!.shape[i])) {
      throw shapeError(addOp, inputs, "b must have the type and the trailing axes of a");
    }
    return [{ shape: a!.shape, dtype: a!.dtype }];
  },
  variants: [
    { name: 'vectors', purpose: 'four elements per invocation', supports: ({ inputs: [, b] }) => b!.size % 4 === 0, kernels: (call) => [kernel(call, 'elementwise/add_vectors', 4)] },
    { name: 'elementwise', purpose: 'one element per invocation: any size', kernels: (call) => [kernel(call, 'elementwise/add', 1)] },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [a, b], outputGradients: [gradient], needs }) => [
    needs[0] ? gradient : undefined,
    needs[1] ? (a!.size === b!.size ? gradient : reshape(sumRows(reshape(gradient!, [a!.size / b!.size, b!.size])), b!.shape)) : undefined,
  ],
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 36], [3, 37]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(rows, width)], attributes: {} }),
  },
  benchCases: [
    {
      name: 'ViT-L/14-518 residual',
      inputs: [{ shape: [1, 1370, 1024], dtype: 'f32' }, { shape: [1, 1370, 1024], dtype: 'f32' }],
      attributes: {},
    },
  ],
});

/**
 * a + b, where b may lack leading axes of a (torch.add with trailing broadcasting).
 *
 * @param a [..., trailing]
 * @param b [trailing]
 */
export function add(a: Tensor, b: Tensor): Tensor {
  return apply(addOp, [a, b], {})[0];
}
