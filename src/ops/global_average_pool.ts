import { type TensorType, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { checkTypes } from './types.ts';

export const globalAveragePoolOp = defineOp<Record<string, never>>({
  name: 'global_average_pool',
  inputNames: ['input'],
  outputs(inputs) {
    const { shape, dtype } = inputs[0]!;
    if (shape.length !== 4) throw shapeError(globalAveragePoolOp, inputs, 'input must be [batch, height, width, channels]');
    return [{ shape: [shape[0], shape[3]], dtype }];
  },
  variants: [
    {
      name: 'direct',
      kernels: ({ inputs: [input], outputs: [output] }) => [
        {
          kernel: 'pooling/global_average_pool',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { size: output.size, positions: input!.shape[1] * input!.shape[2], channels: input!.shape[3] },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [input], outputGradients: [gradient] }) => apply(globalAveragePoolBackwardOp, [gradient], { whole: input!.shape }),
  sizes: {
    names: ['batch', 'side', 'channels'],
    small: [[2, 3, 37]],
    case: (batch, side, channels) => ({ inputs: [f32(batch, side, side, channels)], attributes: {} }),
  },
  benchCases: [{ name: 'ResNet-50-224', inputs: [{ shape: [1, 7, 7, 2048], dtype: 'f32' }], attributes: {} }],
});

/** Gradient of `global_average_pool`. */
export const globalAveragePoolBackwardOp = defineOp<{ readonly whole: Shape }>({
  name: 'global_average_pool_backward',
  inputNames: ['output gradient'],
  outputs(inputs, { whole }) {
    const input: TensorType = { shape: whole, dtype: inputs[0]!.dtype };
    checkTypes(globalAveragePoolBackwardOp, inputs, globalAveragePoolOp.outputs([input], {}));
    return [input];
  },
  variants: [
    {
      name: 'direct',
      kernels: ({ inputs: [gradient], outputs: [output], attributes: { whole } }) => [
        {
          kernel: 'pooling/global_average_pool_backward',
          conditions: { f16: gradient!.dtype === 'f16' },
          bindings: { output_gradient: gradient!, input_gradient: output },
          params: { size: output.size, positions: whole[1] * whole[2], channels: whole[3] },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['batch', 'side', 'channels'],
    small: [[2, 3, 37]],
    case: (batch, side, channels) => ({ inputs: [f32(batch, channels)], attributes: { whole: [batch, side, side, channels] } }),
  },
  benchCases: [{ name: 'ResNet-50-224', inputs: [{ shape: [1, 2048], dtype: 'f32' }], attributes: { whole: [1, 7, 7, 2048] } }],
});

/**
 * Mean over all positions of a feature map (torch.nn.AdaptiveAvgPool2d(1), channels last).
 *
 * @param input [batch, height, width, channels]
 * @returns [batch, channels]
 */
export function globalAveragePool(input: Tensor): Tensor {
  return apply(globalAveragePoolOp, [input], {})[0];
}
