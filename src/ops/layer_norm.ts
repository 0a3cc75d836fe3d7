import { bytesOfTypes, defineOp, foldWorkgroups, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';

interface LayerNormAttributes {
  readonly epsilon: number;
}

export const layerNormOp = defineOp<LayerNormAttributes>({
  name: 'layer_norm',
  inputNames: ['input', 'weight', 'bias'],
  outputs(inputs) {
    const [input, weight, bias] = inputs;
    const width = input!.shape.at(-1);
    for (const parameter of [weight, bias]) {
      if (parameter!.shape.length !== 1 || parameter!.shape[0] !== width || parameter!.dtype !== input!.dtype) {
        throw shapeError(layerNormOp, inputs, 'weight and bias must be [width] of the input\'s last axis and type');
      }
    }
    return [{ shape: input!.shape, dtype: input!.dtype }];
  },
  variants: [
    {
      name: 'workgroup',
      purpose: 'one workgroup per row, sums in workgroup memory',
      kernels({ inputs: [input, weight, bias], outputs: [output], attributes: { epsilon } }) {
        const width = input!.shape.at(-1)!;
        const rows = input!.size / width;
        return [
          {
            kernel: 'normalization/layer_norm',
            conditions: { f16: input!.dtype === 'f16' },
            bindings: { input: input!, weight: weight!, bias: bias!, output },
            params: { rows, width, epsilon },
            workgroups: foldWorkgroups(rows),
          },
        ];
      },
    },
  ],
  cost: (inputs, outputs) => ({ flops: 8 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([input]) => `${sizeClass(sizeOf(input!.shape) / input!.shape.at(-1)!)}x${sizeClass(input!.shape.at(-1)!)}`,
  benchCases: [
    {
      name: 'ViT-L/14-518',
      inputs: [{ shape: [1, 1370, 1024], dtype: 'f32' }, { shape: [1024], dtype: 'f32' }, { shape: [1024], dtype: 'f32' }],
      attributes: { epsilon: 1e-5 },
    },
  ],
});

/**
 * Layer normalisation over the last axis (torch.nn.functional.layer_norm).
 *
 * @param input [..., width]
 * @param weight [width]
 * @param bias [width]
 * @returns [..., width]
 */
export function layerNorm(input: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor {
  return apply(layerNormOp, [input, weight, bias], { epsilon })[0];
}
