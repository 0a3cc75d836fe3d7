import { type BenchInput, bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, formatShape, sizeOf } from '../tensor/tensor.ts';

/** Bins of the histograms (`scoreKey`). */
const bins = 65536;

/**
 * Length of the counts, by bin: normal pixels, abnormal pixels, lower and upper words of the overlap, the bits of the largest
 * score and the complement of those of the smallest; then the number of scores that are not numbers.
 */
export const scoreCountsLength = 6 * bins + 1;

/** Area of pixels that do not count. */
export const ignoredArea = 0xffffffff;

/** Largest area of a region: the kernel divides in steps of 32 bits. */
export const largestArea = 2 ** 23;

/** What a region's pixels add to the overlap in total, but for rounding: floor(2^40 / area) each. */
export const overlapUnit = 2 ** 40;

/** Pixels of one column that an invocation counts. */
const rows = 8;

const size = 518;
const pixels = size * size;
const map: Omit<BenchInput, 'values'> = { shape: [1, size, size], dtype: 'f32' };
/** A round defect in a smooth map, close to 0 elsewhere: what a trained model gives. */
const smoothMap = (): Float32Array =>
  Float32Array.from({ length: pixels }, (_, i) => 1 / (1 + Math.exp(0.2 * (Math.hypot((i % size) - 200, Math.floor(i / size) - 300) - 50) - Math.sin(i / 4000))));
const roundDefect = (): Uint32Array => Uint32Array.from({ length: pixels }, (_, i) => (Math.hypot((i % size) - 200, Math.floor(i / size) - 300) < 50 ? 7845 : 0));

export const scoreHistogramOp = defineOp<Record<string, never>>({
  name: 'score_histogram',
  inputNames: ['maps', 'areas', 'counts'],
  outputs(inputs) {
    const [maps, areas, counts] = inputs;
    if (maps!.dtype !== 'f32' || areas!.dtype !== 'u32' || maps!.shape.length !== 3 || formatShape(maps!.shape) !== formatShape(areas!.shape)) {
      throw shapeError(scoreHistogramOp, inputs, 'maps must be f32[batch, height, width] and areas u32 of the same shape');
    }
    if (counts!.dtype !== 'u32' || sizeOf(counts!.shape) !== scoreCountsLength) throw shapeError(scoreHistogramOp, inputs, `counts must be u32[${scoreCountsLength}]`);
    return [];
  },
  variants: [
    {
      name: 'columns',
      kernels: ({ inputs: [maps, areas, counts] }) => {
        const [batch, height, width] = maps!.shape;
        return [
          {
            kernel: 'evaluation/score_histogram',
            constants: { ROWS: rows },
            bindings: { maps: maps!, areas: areas!, counts: counts! },
            params: { height, width },
            workgroups: [Math.ceil(width / 64), Math.ceil(height / rows), batch],
          },
        ];
      },
    },
    {
      name: 'pixels',
      reference: true,
      kernels: ({ inputs: [maps, areas, counts] }) => {
        const [batch, height, width] = maps!.shape;
        return [
          {
            kernel: 'evaluation/score_histogram',
            constants: { ROWS: 1 },
            bindings: { maps: maps!, areas: areas!, counts: counts! },
            params: { height, width },
            workgroups: [Math.ceil(width / 64), height, batch],
          },
        ];
      },
    },
  ],
  // The counts are touched here and there, so only what is read counts.
  cost: ([maps, areas]) => ({ flops: 0, bytes: bytesOfTypes(maps, areas) }),
  sizes: {
    names: ['images', 'height', 'width'],
    small: [[2, 5, 70]],
    case: (images, height, width) => ({
      inputs: [f32(images, height, width), { shape: [images, height, width], dtype: 'u32' }, { shape: [scoreCountsLength], dtype: 'u32' }],
      attributes: {},
    }),
  },
  benchCases: [
    { name: '518 smooth map with a defect', inputs: [{ ...map, values: smoothMap }, { ...map, dtype: 'u32', values: roundDefect }, { shape: [scoreCountsLength], dtype: 'u32' }], attributes: {} },
    { name: '518 noise, no defect', inputs: [map, { ...map, dtype: 'u32' }, { shape: [scoreCountsLength], dtype: 'u32' }], attributes: {} },
    // All pixels in one bin: every addition wants the same address.
    { name: '518 flat map', inputs: [{ ...map, values: () => new Float32Array(pixels).fill(0.25) }, { ...map, dtype: 'u32' }, { shape: [scoreCountsLength], dtype: 'u32' }], attributes: {} },
  ],
});

/**
 * Counts the pixels of anomaly maps by score (`scoreKey`), normal and abnormal ones apart, and the weights of abnormal
 * pixels for the per-region overlap. Nothing but integers is added, so the counts are the same in whatever order.
 *
 * @param maps f32 [batch, height, width], at most 65535 images
 * @param areas u32 [batch, height, width]: 0 for a normal pixel, `ignoredArea` for one that does not count, else the number of
 *   pixels of the defect region around it, at most `largestArea`
 * @param counts persistent u32 [scoreCountsLength], all zero before the first maps; added to. The overlap has `overlapUnit` per
 *   region. Whoever adds reads the counts before 2^32 pixels or 2^24 regions are in them.
 */
export function scoreHistogram(maps: Tensor, areas: Tensor, counts: Tensor): void {
  apply(scoreHistogramOp, [maps, areas, counts], {});
}
