import { type TensorType, bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply, reshape } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { activate } from './activation.ts';
import { gemm } from './gemm.ts';
import { type Product, preferredProduct, productClass, productVariants } from './implicit_gemm.ts';
import { sumRows } from './sum_rows.ts';
import { transpose } from './transpose.ts';
import { checkTypes } from './types.ts';

/** How the window moves over the image, the same in both directions. */
interface WindowAttributes {
  readonly stride: number;
  readonly padding: number;
}

interface ConvolutionAttributes extends WindowAttributes {
  readonly activation: 'none' | 'relu';
}

/** Positions of a window of `window` pixels on a side of `size` pixels. */
function positions(size: number, window: number, { stride, padding }: WindowAttributes): number {
  return Math.floor((size + 2 * padding - window) / stride) + 1;
}

function flopsOf(output: Shape, weight: Shape): number {
  return 2 * sizeOf(output) * sizeOf(weight.slice(0, 3));
}

function convolutionClass([input, weight]: readonly (TensorType | undefined)[], window: WindowAttributes): string {
  const [batch, height, width] = input!.shape;
  const [windowHeight, windowWidth, channels, columns] = weight!.shape;
  const rows = batch * positions(height, windowHeight, window) * positions(width, windowWidth, window);
  return `${windowHeight}x${windowWidth}/${window.stride} ${productClass(rows, columns, windowHeight * windowWidth * channels)}`;
}

/** Layers of ResNet-50 for 224 × 224 images, one of each kind. */
const benchShapes = [
  benchShape('ResNet-50 conv1 7x7/2, 224 x 3 to 64', 224, 7, 3, 64, 2, 3),
  benchShape('ResNet-50 conv2 1x1, 56 x 64 to 256', 56, 1, 64, 256, 1, 0),
  benchShape('ResNet-50 conv2 3x3, 56 x 64', 56, 3, 64, 64, 1, 1),
  benchShape('ResNet-50 conv3 1x1/2, 56 x 256 to 512', 56, 1, 256, 512, 2, 0),
  benchShape('ResNet-50 conv3 3x3/2, 56 x 128', 56, 3, 128, 128, 2, 1),
  benchShape('ResNet-50 conv3 3x3, 28 x 128', 28, 3, 128, 128, 1, 1),
  benchShape('ResNet-50 conv5 3x3, 7 x 512', 7, 3, 512, 512, 1, 1),
];

function benchShape(name: string, size: number, window: number, channels: number, columns: number, stride: number, padding: number, batch = 1) {
  const side = positions(size, window, { stride, padding });
  return { name, input: f32(batch, size, size, channels), weight: f32(window, window, channels, columns), output: f32(batch, side, side, columns), stride, padding };
}

/** What the numbers of `--shapes` mean for a convolution and its gradients. */
const windowSizes = {
  names: ['batch', 'side', 'channels', 'columns', 'window', 'stride', 'padding'],
  small: [[2, 7, 5, 6, 3, 2, 1], [1, 9, 4, 36, 1, 1, 0]],
} as const;

export const convolutionOp = defineOp<ConvolutionAttributes>({
  name: 'convolution',
  inputNames: ['input', 'weight', 'bias', 'residual'],
  outputs(inputs, attributes) {
    const [input, weight, bias, residual] = inputs;
    const { stride, padding } = attributes;
    const expected = `input must be [batch, height, width, channels] and weight [window height, window width, channels, columns] of one type`;
    if (input!.shape.length !== 4 || weight!.shape.length !== 4 || input!.shape[3] !== weight!.shape[2] || input!.dtype !== weight!.dtype) {
      throw shapeError(convolutionOp, inputs, expected);
    }
    if (!(Number.isInteger(stride) && stride >= 1 && Number.isInteger(padding) && padding >= 0)) {
      throw shapeError(convolutionOp, inputs, `stride must be a whole number from 1 and padding one from 0, not ${stride} and ${padding}`);
    }
    const [batch, height, width] = input!.shape;
    const columns = weight!.shape[3];
    const shape = [batch, positions(height, weight!.shape[0], attributes), positions(width, weight!.shape[1], attributes), columns];
    if (shape[1] < 1 || shape[2] < 1) throw shapeError(convolutionOp, inputs, `the window must fit into the image padded by ${padding}`);
    if (bias && (bias.shape.length !== 1 || bias.shape[0] !== columns || bias.dtype !== input!.dtype)) {
      throw shapeError(convolutionOp, inputs, `bias must be ${input!.dtype}[${columns}]`);
    }
    if (residual && (residual.shape.length !== 4 || shape.some((size, i) => size !== residual.shape[i]) || residual.dtype !== input!.dtype)) {
      throw shapeError(convolutionOp, inputs, `residual must be ${input!.dtype}[${shape.join(', ')}], like the output`);
    }
    return [{ shape, dtype: input!.dtype }];
  },
  variants: productVariants(({ inputs: [input, weight, bias, residual], outputs: [output], attributes: { stride, padding, activation } }): Product[] => {
    const [, height, width, channels] = input!.shape;
    const [windowHeight, windowWidth, , columns] = weight!.shape;
    return [
      {
        operands: 'forward',
        rows: sizeOf(output.shape.slice(0, 3)),
        columns,
        segments: windowHeight,
        inner: windowWidth * channels,
        params: { height, width, channels, out_height: output.shape[1], out_width: output.shape[2], window_width: windowWidth, stride, padding },
        factors: { input: input!, weight: weight! },
        epilogue: {
          bindings: { ...(bias && { bias }), ...(residual && { residual }) },
          conditions: { bias: bias !== undefined, residual: residual !== undefined, relu: activation === 'relu' },
        },
        output,
      },
    ];
  }),
  preferred: preferredProduct,
  cost: (inputs, outputs) => ({ flops: flopsOf(outputs[0].shape, inputs[1]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: convolutionClass,
  backward({ inputs: [input, weight, bias], outputGradients: [gradient], needs, attributes: { activation, ...window } }) {
    if (activation !== 'none') throw new Error('convolution: the gradient of a fused activation is not known; record the activation as an op of its own');
    return [
      needs[0] ? apply(convolutionBackwardInputOp, [gradient, transpose(weight!)], { ...window, input: input!.shape })[0] : undefined,
      needs[1] ? apply(convolutionBackwardWeightOp, [input, gradient], { ...window, weight: weight!.shape })[0] : undefined,
      needs[2] ? sumRows(reshape(gradient!, [gradient!.size / bias!.size, bias!.size])) : undefined,
      needs[3] ? gradient : undefined,
    ];
  },
  sizes: {
    ...windowSizes,
    case: (batch, side, channels, columns, window, stride, padding) => {
      const { input, weight } = benchShape('', side, window, channels, columns, stride, padding, batch);
      return { inputs: [input, weight, f32(columns)], attributes: { stride, padding, activation: 'none' } };
    },
  },
  benchCases: benchShapes.map(({ name, input, weight, output, stride, padding }) => ({
    name,
    inputs: [input, weight, { shape: [weight.shape[3]], dtype: 'f32' }, output],
    attributes: { stride, padding, activation: 'relu' },
  })),
});

/**
 * Gradient of a convolution's input: the transposed convolution of the output's gradient. Takes the weight with its last two
 * axes swapped, [window height, window width, columns, channels].
 */
export const convolutionBackwardInputOp = defineOp<WindowAttributes & { readonly input: Shape }>({
  name: 'convolution_backward_input',
  inputNames: ['output gradient', 'weight transposed'],
  outputs(inputs, { input: shape, ...window }) {
    const [gradient, weight] = inputs;
    if (weight!.shape.length !== 4) throw shapeError(convolutionBackwardInputOp, inputs, 'weight transposed must be [window height, window width, columns, channels]');
    const [windowHeight, windowWidth, columns, channels] = weight!.shape;
    const input: TensorType = { shape, dtype: gradient!.dtype };
    checkTypes(convolutionBackwardInputOp, inputs, convolutionOp.outputs([input, { shape: [windowHeight, windowWidth, channels, columns], dtype: weight!.dtype }], { ...window, activation: 'none' }));
    return [input];
  },
  variants: productVariants(({ inputs: [gradient, weight], outputs: [output], attributes: { stride, padding, input } }): Product[] => {
    const [batch, height, width, channels] = input;
    const [windowHeight, windowWidth] = weight!.shape;
    const products: Product[] = [];
    // One product for each phase of the stride: kernels/convolution/input_gradient.wgsl.
    for (let y = 0; y < Math.min(stride, height); y++) {
      for (let x = 0; x < Math.min(stride, width); x++) {
        const phaseHeight = Math.ceil((height - y) / stride);
        const phaseWidth = Math.ceil((width - x) / stride);
        const tapY = (y + padding) % stride;
        const tapX = (x + padding) % stride;
        const taps = (window: number, first: number): number => Math.max(0, Math.ceil((window - first) / stride));
        products.push({
          operands: 'input_gradient',
          rows: batch * phaseHeight * phaseWidth,
          columns: channels,
          segments: taps(windowHeight, tapY) * taps(windowWidth, tapX),
          inner: gradient!.shape[3],
          params: {
            height,
            width,
            out_height: gradient!.shape[1],
            out_width: gradient!.shape[2],
            window_width: windowWidth,
            stride,
            phase_y: y,
            phase_x: x,
            phase_height: phaseHeight,
            phase_width: phaseWidth,
            tap_y: tapY,
            tap_x: tapX,
            out_y: (y + padding - tapY) / stride,
            out_x: (x + padding - tapX) / stride,
            taps: taps(windowWidth, tapX),
          },
          factors: { output_gradient: gradient!, weight: weight! },
          output,
        });
      }
    }
    return products;
  }),
  preferred: preferredProduct,
  cost: ([gradient, weight], outputs) => ({ flops: 2 * sizeOf(gradient!.shape) * (sizeOf(weight!.shape) / gradient!.shape[3]), bytes: bytesOfTypes(gradient, weight, ...outputs) }),
  shapeClass: ([gradient, weight], attributes) => {
    const [windowHeight, windowWidth, columns, channels] = weight!.shape;
    return convolutionClass([{ shape: attributes.input, dtype: gradient!.dtype }, { shape: [windowHeight, windowWidth, channels, columns], dtype: gradient!.dtype }], attributes);
  },
  sizes: {
    ...windowSizes,
    case: (batch, side, channels, columns, window, stride, padding) => {
      const { input, output } = benchShape('', side, window, channels, columns, stride, padding, batch);
      return { inputs: [output, f32(window, window, columns, channels)], attributes: { stride, padding, input: input.shape } };
    },
  },
  benchCases: benchShapes.map(({ name, input, weight, output, stride, padding }) => ({
    name,
    inputs: [output, { ...weight, shape: [...weight.shape.slice(0, 2), weight.shape[3], weight.shape[2]] }],
    attributes: { stride, padding, input: input.shape },
  })),
});

/** Gradient of a convolution's weight: the sum over all positions of input times output gradient. */
export const convolutionBackwardWeightOp = defineOp<WindowAttributes & { readonly weight: Shape }>({
  name: 'convolution_backward_weight',
  inputNames: ['input', 'output gradient'],
  outputs(inputs, { weight: shape, ...window }) {
    const [input] = inputs;
    const weight: TensorType = { shape, dtype: input!.dtype };
    checkTypes(convolutionBackwardWeightOp, inputs, [undefined, ...convolutionOp.outputs([input, weight], { ...window, activation: 'none' })]);
    return [weight];
  },
  variants: productVariants(({ inputs: [input, gradient], outputs: [output], attributes: { stride, padding, weight } }): Product[] => {
    const [batch, height, width, channels] = input!.shape;
    const [, outHeight, outWidth, columns] = gradient!.shape;
    return [
      {
        operands: 'weight_gradient',
        rows: sizeOf(weight.slice(0, 3)),
        columns,
        segments: batch * outHeight,
        inner: outWidth,
        params: { height, width, channels, out_height: outHeight, window_width: weight[1], stride, padding },
        factors: { input: input!, output_gradient: gradient! },
        output,
      },
    ];
  }),
  preferred: preferredProduct,
  cost: ([input, gradient], outputs) => ({ flops: flopsOf(gradient!.shape, outputs[0].shape), bytes: bytesOfTypes(input, gradient, ...outputs) }),
  shapeClass: ([input], attributes) => convolutionClass([input, { shape: attributes.weight, dtype: input!.dtype }], attributes),
  sizes: {
    ...windowSizes,
    case: (batch, side, channels, columns, window, stride, padding) => {
      const { input, weight, output } = benchShape('', side, window, channels, columns, stride, padding, batch);
      return { inputs: [input, output], attributes: { stride, padding, weight: weight.shape } };
    },
  },
  benchCases: benchShapes.map(({ name, input, weight, output, stride, padding }) => ({
    name,
    inputs: [input, output],
    attributes: { stride, padding, weight: weight.shape },
  })),
});

/** What a convolution may be given beside its two operands. */
export interface ConvolutionOptions {
  /** [columns], added to every position. */
  readonly bias?: Tensor;
  /** Of the output's shape, added before the activation: the skip connection of a residual block. */
  readonly residual?: Tensor;
  readonly activation?: 'none' | 'relu';
  /** Steps of the window in both directions; default 1. */
  readonly stride?: number;
  /** Pixels of zeros around the image on every side; default 0. */
  readonly padding?: number;
}

/**
 * Convolution of images (torch.nn.functional.conv2d, in NHWC) with bias, residual and activation fused:
 * activation(input * weight + bias + residual). The activation is fused where no gradient flows and an op of its own
 * where one does. A 1×1 convolution that reads every pixel is a matrix product and runs as one.
 *
 * @param input [batch, height, width, channels]
 * @param weight [window height, window width, channels, columns]
 * @returns [batch, (height + 2 padding - window height) / stride + 1, likewise the width, columns], rounded down
 * @throws Error naming the operand whose shape does not fit
 */
export function convolution(input: Tensor, weight: Tensor, options: ConvolutionOptions = {}): Tensor {
  const { bias, residual, activation = 'none', stride = 1, padding = 0 } = options;
  const inputs = [input, weight, bias, residual];
  if (weight.shape[0] === 1 && weight.shape[1] === 1 && stride === 1 && padding === 0) {
    const [{ shape }] = convolutionOp.outputs(inputs, { stride, padding, activation });
    return reshape(gemm(input, reshape(weight, weight.shape.slice(2)), { bias, residual, activation }), shape);
  }
  const flows = inputs.some((operand) => operand?.requiresGradient);
  const output = apply(convolutionOp, inputs, { stride, padding, activation: flows ? 'none' : activation })[0];
  return flows && activation !== 'none' ? activate(output, activation) : output;
}
