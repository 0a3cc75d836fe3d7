import { type KernelCall, type OpCall, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { itemsOf } from './teams.ts';
import { checkTypes, single } from './types.ts';

/** What the forward and the backward dispatch have in common, for images [batch, channels, height, width]. */
function launch({ shape: [batch, channels, height, width], dtype }: Tensor): Pick<KernelCall, 'conditions' | 'params' | 'workgroups'> {
  const { vectors, items } = itemsOf(height * width);
  return {
    conditions: { f16: dtype === 'f16', vectors },
    params: { channels, items },
    workgroups: [...foldWorkgroups(Math.ceil(items / 64)), batch],
  };
}

export const maskMultiplyOp = defineOp<Record<string, never>>({
  name: 'mask_multiply',
  inputNames: ['image', 'mask'],
  outputs(inputs) {
    const [image, mask] = inputs;
    const [batch, , height, width] = image!.shape;
    if (image!.shape.length !== 4 || mask!.dtype !== 'f32' || mask!.shape.length !== 3 || mask!.shape[0] !== batch || mask!.shape[1] !== height || mask!.shape[2] !== width) {
      throw shapeError(maskMultiplyOp, inputs, 'image must be [batch, channels, height, width] and mask f32[batch, height, width]');
    }
    return [{ shape: image!.shape, dtype: image!.dtype }];
  },
  variants: [
    {
      name: 'elementwise',
      kernels: ({ inputs: [image, mask], outputs: [output] }) => [
        { kernel: 'map/mask_multiply', ...launch(image!), bindings: { image: image!, mask: mask!, output } },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [image, mask], outputGradients: [gradient], needs }) => [
    needs[0] ? maskMultiply(gradient!, mask!) : undefined,
    needs[1] ? apply(maskMultiplyBackwardOp, [gradient, image], {})[0] : undefined,
  ],
  sizes: {
    names: ['batch', 'height', 'width'],
    small: [[2, 5, 7]],
    case: (batch, height, width) => ({ inputs: [f32(batch, 3, height, width), single(batch, height, width)], attributes: {} }),
  },
  benchCases: [
    { name: 'ViT-L/14-518', inputs: [f32(1, 3, 518, 518), single(1, 518, 518)], attributes: {} },
  ],
});

/** Gradient of `mask_multiply` by the mask; by the image it is `mask_multiply` itself. */
export const maskMultiplyBackwardOp = defineOp<Record<string, never>>({
  name: 'mask_multiply_backward',
  inputNames: ['output gradient', 'image'],
  outputs(inputs) {
    const [, image] = inputs;
    if (image!.shape.length !== 4) throw shapeError(maskMultiplyBackwardOp, inputs, 'image must be [batch, channels, height, width]');
    checkTypes(maskMultiplyBackwardOp, inputs, [image, image]);
    return [{ shape: image!.shape.toSpliced(1, 1), dtype: 'f32' }];
  },
  variants: [
    {
      name: 'elementwise',
      kernels: ({ inputs: [gradient, image], outputs: [output] }: OpCall<Record<string, never>>) => [
        { kernel: 'map/mask_multiply_backward', ...launch(image!), bindings: { output_gradient: gradient!, image: image!, mask_gradient: output } },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: 2 * sizeOf(inputs[1]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['batch', 'height', 'width'],
    small: [[2, 5, 7]],
    case: (batch, height, width) => ({ inputs: [f32(batch, 3, height, width), f32(batch, 3, height, width)], attributes: {} }),
  },
  benchCases: [
    { name: 'ViT-L/14-518', inputs: [{ shape: [1, 3, 518, 518], dtype: 'f32' }, { shape: [1, 3, 518, 518], dtype: 'f32' }], attributes: {} },
  ],
});

/**
 * The image seen through a mask, every channel times the same (MFP-CLIP, equation 14).
 *
 * @param image [batch, channels, height, width]
 * @param mask f32 [batch, height, width]
 * @returns image's shape and type
 */
export function maskMultiply(image: Tensor, mask: Tensor): Tensor {
  return apply(maskMultiplyOp, [image, mask], {})[0];
}
