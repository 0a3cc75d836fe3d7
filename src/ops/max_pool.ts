import { bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { checkTypes } from './types.ts';

/** A window that moves over a feature map. */
export interface MaxPoolAttributes {
  /** Side of the window. */
  readonly size: number;
  readonly stride: number;
  readonly padding: number;
}

/** Positions of the window on a side. */
function positions(side: number, { size, stride, padding }: MaxPoolAttributes): number {
  return Math.floor((side + 2 * padding - size) / stride) + 1;
}

/** Sizes of the kernels' `Params`, but for the number of invocations. */
function params(input: Shape, output: Shape, { size, stride, padding }: MaxPoolAttributes): Record<string, number> {
  return { height: input[1], width: input[2], channels: input[3], out_height: output[1], out_width: output[2], window: size, stride, padding };
}

export const maxPoolOp = defineOp<MaxPoolAttributes>({
  name: 'max_pool',
  inputNames: ['input'],
  outputs(inputs, { size, stride, padding }) {
    const [input] = inputs;
    if (input!.shape.length !== 4) throw shapeError(maxPoolOp, inputs, 'input must be [batch, height, width, channels]');
    if (!(stride >= 1)) throw shapeError(maxPoolOp, inputs, `the stride must be at least 1, not ${stride}`);
    // PyTorch asks for the same: otherwise a window could lie wholly outside.
    if (padding * 2 > size) throw shapeError(maxPoolOp, inputs, `the padding ${padding} must be at most half of the window ${size}`);
    const [batch, height, width, channels] = input!.shape;
    const [rows, columns] = [height, width].map((length) => positions(length, { size, stride, padding }));
    if (rows < 1 || columns < 1) throw shapeError(maxPoolOp, inputs, `the window ${size} must fit into the padded input`);
    return [{ shape: [batch, rows, columns, channels], dtype: input!.dtype }];
  },
  variants: [
    {
      name: 'direct',
      kernels: ({ inputs: [input], outputs: [output], attributes }) => [
        {
          kernel: 'pooling/max_pool',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output },
          params: { size: output.size, ...params(input!.shape, output.shape, attributes) },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs, { size }) => ({ flops: sizeOf(outputs[0].shape) * size * size, bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [input], outputGradients: [gradient], attributes }) => apply(maxPoolBackwardOp, [input, gradient], attributes),
  sizes: {
    names: ['batch', 'side', 'channels', 'window', 'stride', 'padding'],
    small: [[2, 7, 5, 3, 2, 1]],
    case: (batch, side, channels, size, stride, padding) => ({ inputs: [f32(batch, side, side, channels)], attributes: { size, stride, padding } }),
  },
  benchCases: [{ name: 'ResNet-50-224 stem', inputs: [{ shape: [1, 112, 112, 64], dtype: 'f32' }], attributes: { size: 3, stride: 2, padding: 1 } }],
});

/** Gradient of `max_pool`. */
export const maxPoolBackwardOp = defineOp<MaxPoolAttributes>({
  name: 'max_pool_backward',
  inputNames: ['input', 'output gradient'],
  outputs(inputs, attributes) {
    const [input] = inputs;
    checkTypes(maxPoolBackwardOp, inputs, [input, ...maxPoolOp.outputs([input], attributes)]);
    return [{ shape: input!.shape, dtype: input!.dtype }];
  },
  variants: [
    {
      name: 'direct',
      kernels: ({ inputs: [input, gradient], outputs: [output], attributes }) => [
        {
          kernel: 'pooling/max_pool_backward',
          conditions: { f16: input!.dtype === 'f16' },
          bindings: { input: input!, output_gradient: gradient!, input_gradient: output },
          params: { size: output.size, ...params(input!.shape, gradient!.shape, attributes) },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs, { size }) => ({ flops: sizeOf(inputs[1]!.shape) * size * size, bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['batch', 'side', 'channels', 'window', 'stride', 'padding'],
    small: [[2, 7, 5, 3, 2, 1]],
    case: (batch, side, channels, size, stride, padding) => {
      const output = positions(side, { size, stride, padding });
      return { inputs: [f32(batch, side, side, channels), f32(batch, output, output, channels)], attributes: { size, stride, padding } };
    },
  },
  benchCases: [
    { name: 'ResNet-50-224 stem', inputs: [{ shape: [1, 112, 112, 64], dtype: 'f32' }, { shape: [1, 56, 56, 64], dtype: 'f32' }], attributes: { size: 3, stride: 2, padding: 1 } },
  ],
});

/**
 * Maximum over moving windows (torch.nn.functional.max_pool2d, channels last).
 *
 * @param input [batch, height, width, channels]
 * @returns [batch, height', width', channels] with height' = ⌊(height + 2·padding − size) / stride⌋ + 1
 */
export function maxPool(input: Tensor, attributes: MaxPoolAttributes): Tensor {
  return apply(maxPoolOp, [input], attributes)[0];
}
