import type { DType } from '../tensor/dtype.ts';
import { bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor } from '../tensor/tensor.ts';

interface CastAttributes {
  readonly dtype: 'f32' | 'f16';
}

export const castOp = defineOp<CastAttributes>({
  name: 'cast',
  inputNames: ['input'],
  outputs(inputs, { dtype }) {
    const [input] = inputs;
    const wanted: DType = dtype === 'f32' ? 'f16' : 'f32';
    if (input!.dtype !== wanted) throw shapeError(castOp, inputs, `input must be ${wanted} to become ${dtype}`);
    return [{ shape: input!.shape, dtype }];
  },
  variants: [
    {
      name: 'elementwise',
      kernels: ({ inputs: [input], outputs: [output], attributes: { dtype } }) => [
        {
          kernel: 'movement/cast',
          conditions: { to_f32: dtype === 'f32' },
          bindings: { input: input!, output },
          params: { size: output.size },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [input], outputGradients: [gradient] }) => [cast(gradient!, input!.dtype as 'f32' | 'f16')],
  sizes: {
    names: ['elements'],
    small: [[37]],
    case: (size) => ({ inputs: [f32(size)], attributes: { dtype: 'f16' } }),
  },
  benchCases: [{ name: 'ViT-L/14-518 tokens', inputs: [{ shape: [1370, 1024], dtype: 'f32' }], attributes: { dtype: 'f16' } }],
});

/** The same numbers in another element type; the tensor itself when it has that type already. */
export function cast(input: Tensor, dtype: 'f32' | 'f16'): Tensor {
  return input.dtype === dtype ? input : apply(castOp, [input], { dtype })[0];
}
