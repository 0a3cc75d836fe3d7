import { UserError } from '../errors.ts';
import type { Gpu } from '../gpu/device.ts';
import { formatBytes } from '../gpu/memory.ts';
import { type BenchCase, type BenchInput, type KernelCall, type TensorType, bytesOfTypes, defineOp, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, emptyTensor, freeTensor, tensor } from '../tensor/tensor.ts';

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

/** Source cells, from `first` to before `end`, that one output cell of an axis is made from. */
interface ResizeWindow {
  readonly first: number;
  readonly end: number;
  /** Where the output cell's middle is, in source cells. */
  readonly centre: number;
}

/** The windows of an axis, one for each output cell. */
function resizeWindows(from: number, to: number): ResizeWindow[] {
  for (const size of [from, to]) if (!(Number.isInteger(size) && size >= 1)) throw new Error(`cannot resize an axis of ${from} pixels to ${to}`);
  const scale = from / to;
  const reach = support * Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    if (from === to) return { first: i, end: i + 1, centre };
    // Pillow casts to int, which cuts off towards zero.
    return { first: Math.max(Math.trunc(centre - reach + 0.5), 0), end: Math.min(Math.trunc(centre + reach + 0.5), from), centre };
  });
}

/** Source cells of the window that has the most. */
const mostTaps = (windows: readonly ResizeWindow[]): number => windows.reduce((most, { first, end }) => Math.max(most, end - first), 0);

/**
 * Weights of Pillow's bicubic resize along one axis, as the kernels read them: for each output cell its first source
 * cell, then its weights in fixed point, [1 + taps, to] in 32-bit words. Every cell has as many taps as the one with the
 * most; those that it does not need weigh nothing.
 *
 * When the image shrinks the filter widens by the scale, so that every source pixel counts (antialias). An axis that
 * keeps its length is copied.
 */
export function resizeTable(from: number, to: number): { readonly taps: number; readonly values: Uint32Array } {
  const windows = resizeWindows(from, to);
  const taps = mostTaps(windows);
  const stretch = Math.max(from / to, 1);
  const words = new Int32Array((1 + taps) * to);
  windows.forEach(({ first, end, centre }, i) => {
    const weights = from === to ? [1] : Array.from({ length: end - first }, (_, x) => bicubic((x + first - centre + 0.5) * (1 / stretch)));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    // A window at the end moves back so that its unused taps, too, read inside the image.
    const start = Math.min(first, from - taps);
    words[i] = start;
    weights.forEach((weight, x) => {
      words[(1 + x + first - start) * to + i] = Math.trunc((weight / total) * 2 ** precision + Math.sign(weight / total) * 0.5);
    });
  });
  return { taps, values: new Uint32Array(words.buffer) };
}

/**
 * Checks that a device can resize a photo in bands: that what cannot be cut, the filter weights and the rows between the
 * two passes, fits into one binding each. Where it does, a row of the photo does, too: its weights take more. Costs
 * nothing: no memory is taken.
 *
 * @param bindingBytes the most that the device binds at once (`maxStorageBufferBindingSize`)
 * @throws UserError naming the sizes
 */
export function checkResize(from: ImageSize, to: ImageSize, bindingBytes: number): void {
  const tableWords = (source: number, target: number): number => (1 + mostTaps(resizeWindows(source, target))) * target;
  const needs = [
    ['the weights of its rows', tableWords(from.width, to.width)],
    ['the weights of its columns', tableWords(from.height, to.height)],
    ['its rows at their new width', from.height * to.width],
  ] as const;
  for (const [what, words] of needs) {
    if (4 * words > bindingBytes) {
      throw new UserError(
        `the photo of ${from.width}×${from.height} pixels cannot be resized to ${to.width}×${to.height}: ${what} take ${formatBytes(4 * words)}, this adapter binds at most ${formatBytes(bindingBytes)}. Make its longer side shorter first.`,
      );
    }
  }
}

/** The filter weights of `imageResize` for one pair of sizes, made in float64 on the host and kept on the device. */
export function resizeTables(gpu: Gpu, from: ImageSize, to: ImageSize): ResizeTables {
  const upload = (source: number, target: number, axis: string): Tensor => {
    const { taps, values } = resizeTable(source, target);
    return tensor(gpu, values, [1 + taps, target], 'u32', `resize ${axis} ${source} to ${target}`);
  };
  return { horizontal: upload(from.width, to.width, 'width'), vertical: upload(from.height, to.height, 'height') };
}

/**
 * Places for a photo on the device, for `imageResize`: bands of rows of which each fits into one binding. A photo that
 * fits as a whole is one band. Each is u8 [rows, width, 3]; free them when no program uses them any more.
 *
 * @param bandBytes the most that a band may take; a band has at least one row
 * @throws UserError when there is no memory for them
 */
export function emptyBands(gpu: Gpu, { width, height }: ImageSize, bandBytes: number): Tensor[] {
  const rows = Math.max(1, Math.floor(bandBytes / (3 * width)));
  const bands: Tensor[] = [];
  try {
    for (let first = 0; first < height; first += rows) {
      bands.push(emptyTensor(gpu, [Math.min(rows, height - first), width, 3], 'u8', `photo ${width}x${height} from row ${first}`));
    }
  } catch (error) {
    for (const band of bands) freeTensor(gpu, band);
    throw error;
  }
  return bands;
}

/** Rows of one invocation of the horizontal pass, as in the kernel. */
const rowsPerInvocation = 4;

/** Data preparation: it has no gradient, as its input are bytes. The bands of the photo come last, from top to bottom; most photos are one. */
export const imageResizeOp = defineOp<ImageResizeAttributes>({
  name: 'image_resize',
  inputNames: ['horizontal table', 'vertical table', 'pixels'],
  outputs(inputs, { dtype }) {
    const [horizontal, vertical, ...bands] = inputs;
    if (!bands.length || bands.some((band) => band!.dtype !== 'u8' || band!.shape.length !== 3 || band!.shape[2] !== 3)) throw shapeError(imageResizeOp, inputs, 'pixels must be u8[height, width, 3]');
    const { width, height } = sizeOfBands(bands);
    if (bands.some((band) => band!.shape[1] !== width)) throw shapeError(imageResizeOp, inputs, 'the bands of a photo must have one width');
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
      kernels({ inputs: [horizontal, vertical, ...bands], outputs: [output], attributes: { mean, std, dtype }, scratch }): KernelCall[] {
        const { width, height } = sizeOfBands(bands);
        const [targetHeight, targetWidth] = output.shape.slice(2);
        const narrow = scratch([height, targetWidth], 'u32');
        const horizontalPass: KernelCall[] = [];
        let firstRow = 0;
        for (const band of bands) {
          const rows = band!.shape[0];
          horizontalPass.push({
            kernel: 'image/resize_horizontal',
            bindings: { pixels: band!, table: horizontal!, output: narrow },
            params: { width, height: rows, first_row: firstRow, target_width: targetWidth, taps: horizontal!.shape[0] - 1 },
            workgroups: [Math.ceil(targetWidth / 64), Math.min(Math.ceil(rows / rowsPerInvocation), 65535)],
          });
          firstRow += rows;
        }
        return [
          ...horizontalPass,
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
  cost([horizontal, vertical, ...bands], [output]) {
    const [, , targetHeight, targetWidth] = output.shape;
    const taps = (table: typeof horizontal): number => table!.shape[0] - 1;
    return {
      flops: 6 * targetWidth * (sizeOfBands(bands).height * taps(horizontal) + targetHeight * taps(vertical)),
      bytes: bytesOfTypes(...bands, horizontal, vertical, output),
    };
  },
  sizes: {
    names: ['side from', 'side to'],
    small: [[37, 19]],
    case: photo,
  },
  benchCases: [1024, 224].map((from) => ({ name: `${from}x${from} photo to 518x518`, ...photo(from, 518) })),
});

/** Size of the photo that bands of rows make. */
function sizeOfBands(bands: readonly (TensorType | undefined)[]): ImageSize {
  return { width: bands[0]!.shape[1], height: bands.reduce((sum, band) => sum + band!.shape[0], 0) };
}

/** A square photo to CLIP's input. */
function photo(from: number, to: number): Omit<BenchCase<ImageResizeAttributes>, 'name'> {
  const { taps, values } = resizeTable(from, to);
  const table: BenchInput = { shape: [1 + taps, to], dtype: 'u32', values: () => values };
  return {
    inputs: [table, table, { shape: [from, from, 3], dtype: 'u8' }],
    attributes: { mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711], dtype: 'f32' },
  };
}

/**
 * Resizes a photo as Pillow's `Image.resize(size, BICUBIC)` does, to the bit: antialiased when it shrinks, width first,
 * weights in fixed point, rounded to 8 bits after each pass. Then normalises it for a network, as torchvision's
 * `ToTensor` and `Normalize` do. No gradient: the input are bytes.
 *
 * @param bands u8 [rows, width, 3] each, red, green and blue: the photo's rows from top to bottom, in one tensor or, where it is
 *   too large for one binding, in several (`emptyBands`). The result is the same to the bit.
 * @param tables `resizeTables` from this size to the wanted one
 * @returns [1, 3, target height, target width]
 */
export function imageResize(bands: readonly Tensor[], tables: ResizeTables, normalisation: ImageResizeAttributes): Tensor {
  return apply(imageResizeOp, [tables.horizontal, tables.vertical, ...bands], normalisation)[0];
}
