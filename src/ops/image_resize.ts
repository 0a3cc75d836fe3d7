import type { Gpu } from '../gpu/device.ts';
import { type BenchCase, type BenchInput, type KernelCall, bytesOfTypes, defineOp, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, tensor } from '../tensor/tensor.ts';

/** Width and height in pixels. */
export interface ImageSize {
  readonly width: number;
  readonly height: number;
}

/** What becomes of the resized 8-bit values: (value / 255 - mean) / std per channel, in this type. */
export interface ImageResizeAttributes {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
  readonly dtype: 'f32' | 'f16';
}

/** Filter weights on the device, for one pair of sizes; free them when no program uses them any more. */
export interface ResizeTables {
  /** u32 [1 + taps, target width]. */
  readonly horizontal: Tensor;
  /** u32 [1 + taps, target height]. */
  readonly vertical: Tensor;
}

/** Binary digits after the point of Pillow's 8-bit weights. */
const precision = 22;
/** Pixels to each side that the bicubic filter reaches at its own scale. */
const support = 2;

/** The cubic convolution kernel with a = -0.5 (Keys), Pillow's BICUBIC. */
function bicubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/**
 * Weights of Pillow's bicubic resize along one axis, as the kernels read them: for each output cell its first source
 * cell, then its weights in fixed point, [1 + taps, to] in 32-bit words. Every cell has as many taps as the one with the
 * most; those that it does not need weigh nothing.
 *
 * When the image shrinks the filter widens by the scale, so that every source pixel counts (antialias). An axis that
 * keeps its length is copied.
 */
export function resizeTable(from: number, to: number): { readonly taps: number; readonly values: Uint32Array } {
  for (const size of [from, to]) if (!(Number.isInteger(size) && size >= 1)) throw new Error(`cannot resize an axis of ${from} pixels to ${to}`);
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const windows = Array.from({ length: to }, (_, i) => {
    if (from === to) return { first: i, weights: [2 ** precision] };
    const centre = (i + 0.5) * scale;
    const reach = support * stretch;
    // Pillow casts to int, which cuts off towards zero.
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), from);
    const weights = Array.from({ length: end - first }, (_, x) => bicubic((x + first - centre + 0.5) * (1 / stretch)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc((weight / total) * 2 ** precision + Math.sign(weight / total) * 0.5)) };
  });
  const taps = Math.max(...windows.map(({ weights }) => weights.length));
  const words = new Int32Array((1 + taps) * to);
  windows.forEach(({ first, weights }, i) => {
    // A window at the end moves back so that its unused taps, too, read inside the image.
    const start = Math.min(first, from - taps);
    words[i] = start;
    weights.forEach((weight, x) => {
      words[(1 + x + first - start) * to + i] = weight;
    });
  });
  return { taps, values: new Uint32Array(words.buffer) };
}

/** The filter weights of `imageResize` for one pair of sizes, made in float64 on the host and kept on the device. */
export function resizeTables(gpu: Gpu, from: ImageSize, to: ImageSize): ResizeTables {
  const upload = (source: number, target: number, axis: string): Tensor => {
    const { taps, values } = resizeTable(source, target);
    return tensor(gpu, values, [1 + taps, target], 'u32', `resize ${axis} ${source} to ${target}`);
  };
  return { horizontal: upload(from.width, to.width, 'width'), vertical: upload(from.height, to.height, 'height') };
}

/** Rows of one invocation of the horizontal pass, as in the kernel. */
const rowsPerInvocation = 4;

/** Data preparation: it has no gradient, as its input are bytes. */
export const imageResizeOp = defineOp<ImageResizeAttributes>({
  name: 'image_resize',
  inputNames: ['pixels', 'horizontal table', 'vertical table'],
  outputs(inputs, { dtype }) {
    const [pixels, horizontal, vertical] = inputs;
    if (pixels!.dtype !== 'u8' || pixels!.shape.length !== 3 || pixels!.shape[2] !== 3) throw shapeError(imageResizeOp, inputs, 'pixels must be u8[height, width, 3]');
    const [height, width] = pixels!.shape;
    for (const [table, length] of [[horizontal!, width], [vertical!, height]] as const) {
      if (table.dtype !== 'u32' || table.shape.length !== 2 || table.shape[0] < 2 || table.shape[0] - 1 > length) {
        throw shapeError(imageResizeOp, inputs, 'the tables must be those of resizeTables for the size of pixels');
      }
    }
    return [{ shape: [1, 3, vertical!.shape[1], horizontal!.shape[1]], dtype }];
  },
  variants: [
    {
      name: 'two passes',
      kernels({ inputs: [pixels, horizontal, vertical], outputs: [output], attributes: { mean, std, dtype }, scratch }): KernelCall[] {
        const [height, width] = pixels!.shape;
        const [targetHeight, targetWidth] = output.shape.slice(2);
        const narrow = scratch([height, targetWidth], 'u32');
        return [
          {
            kernel: 'image/resize_horizontal',
            bindings: { pixels: pixels!, table: horizontal!, output: narrow },
            params: { width, height, target_width: targetWidth, taps: horizontal!.shape[0] - 1 },
            workgroups: [Math.ceil(targetWidth / 64), Math.min(Math.ceil(height / rowsPerInvocation), 65535)],
          },
          {
            kernel: 'image/resize_vertical',
            conditions: { f16: dtype === 'f16' },
            bindings: { pixels: narrow, table: vertical!, output },
            params: {
              width: targetWidth,
              target_height: targetHeight,
              taps: vertical!.shape[0] - 1,
              mean_red: mean[0],
              mean_green: mean[1],
              mean_blue: mean[2],
              std_red: std[0],
              std_green: std[1],
              std_blue: std[2],
            },
            workgroups: [Math.ceil(targetWidth / 64), Math.min(Math.ceil(targetHeight / 8), 65535)],
          },
        ];
      },
    },
  ],
  cost([pixels, horizontal, vertical], [output]) {
    const [, , targetHeight, targetWidth] = output.shape;
    const taps = (table: typeof horizontal): number => table!.shape[0] - 1;
    return {
      flops: 6 * targetWidth * (pixels!.shape[0] * taps(horizontal) + targetHeight * taps(vertical)),
      bytes: bytesOfTypes(pixels, horizontal, vertical, output),
    };
  },
  sizes: {
    names: ['side from', 'side to'],
    small: [[37, 19]],
    case: photo,
  },
  benchCases: [1024, 224].map((from) => ({ name: `${from}x${from} photo to 518x518`, ...photo(from, 518) })),
});

/** A square photo to CLIP's input. */
function photo(from: number, to: number): Omit<BenchCase<ImageResizeAttributes>, 'name'> {
  const { taps, values } = resizeTable(from, to);
  const table: BenchInput = { shape: [1 + taps, to], dtype: 'u32', values: () => values };
  return {
    inputs: [{ shape: [from, from, 3], dtype: 'u8' }, table, table],
    attributes: { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711], dtype: 'f32' },
  };
}

/**
 * Resizes a photo as Pillow's `Image.resize(size, BICUBIC)` does, to the bit: antialiased when it shrinks, width first,
 * weights in fixed point, rounded to 8 bits after each pass. Then normalises it for a network, as torchvision's
 * `ToTensor` and `Normalize` do. No gradient: the input are bytes.
 *
 * @param pixels u8 [height, width, 3], red, green and blue
 * @param tables `resizeTables` from this size to the wanted one
 * @returns [1, 3, target height, target width]
 */
export function imageResize(pixels: Tensor, tables: ResizeTables, normalisation: ImageResizeAttributes): Tensor {
  return apply(imageResizeOp, [pixels, tables.horizontal, tables.vertical], normalisation)[0];
}
