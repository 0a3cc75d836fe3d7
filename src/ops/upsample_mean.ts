import { type KernelCall, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { checkTypes, single } from './types.ts';

/** The stages' grid and the size of the result. */
export interface UpsampleMeanAttributes {
  /** Cells of a stage's map from top to bottom. */
  readonly rows: number;
  /** Cells of a stage's map from left to right. */
  readonly columns: number;
  /** Pixels of the result from top to bottom. */
  readonly height: number;
  /** Pixels of the result from left to right. */
  readonly width: number;
}

/** Output rows of one invocation, as in the kernel. */
const strip = 8;

export const upsampleMeanOp = defineOp<UpsampleMeanAttributes>({
  name: 'upsample_mean',
  inputNames: ['maps'],
  outputs(inputs, { rows, columns, height, width }) {
    const [maps] = inputs;
    if (maps!.shape.length !== 3 || maps!.shape[2] !== rows * columns) {
      throw shapeError(upsampleMeanOp, inputs, `maps must be [batch, stages, ${rows} x ${columns} cells]`);
    }
    return [{ shape: [maps!.shape[0], height, width], dtype: 'f32' }];
  },
  variants: [
    {
      name: 'strip',
      kernels: ({ inputs: [maps], outputs: [output], attributes: { rows, columns, height, width } }) => [
        {
          kernel: 'map/upsample_mean',
          conditions: { f16: maps!.dtype === 'f16' },
          bindings: { maps: maps!, output },
          params: { stages: maps!.shape[1], rows, columns, height, width },
          workgroups: [Math.ceil(width / 64), Math.ceil(height / strip), maps!.shape[0]],
        },
      ],
    },
  ],
  // Two mixes of two operations and three for the mean, per output and stage the plain way.
  cost: (inputs, outputs) => ({ flops: sizeOf(outputs[0].shape) * inputs[0]!.shape[1] * 8, bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward({ inputs: [maps], outputGradients: [gradient], attributes }) {
    return apply(upsampleMeanBackwardOp, [gradient], { ...attributes, stages: maps!.shape[1], dtype: maps!.dtype as 'f32' | 'f16' });
  },
  sizes: {
    names: ['batch', 'stages', 'grid side', 'image side'],
    small: [[2, 3, 5, 37]],
    case: (batch, stages, side, image) => ({
      inputs: [f32(batch, stages, side * side)],
      attributes: { rows: side, columns: side, height: image, width: image },
    }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 4 stages', inputs: [{ shape: [1, 4, 1369], dtype: 'f32' }], attributes: { rows: 37, columns: 37, height: 518, width: 518 } },
  ],
});

/** Gradient of `upsample_mean`: the output's gradient gathered along the width, then along the height, the same for every stage. */
export const upsampleMeanBackwardOp = defineOp<UpsampleMeanAttributes & { readonly stages: number; readonly dtype: 'f32' | 'f16' }>({
  name: 'upsample_mean_backward',
  inputNames: ['output gradient'],
  outputs(inputs, { rows, columns, height, width, stages, dtype }) {
    const [batch] = inputs[0]!.shape;
    checkTypes(upsampleMeanBackwardOp, inputs, [f32(batch, height, width)]);
    return [{ shape: [batch, stages, rows * columns], dtype }];
  },
  variants: [
    {
      name: 'axis by axis',
      kernels({ inputs: [gradient], outputs: [output], attributes: { rows, columns, height, width, stages, dtype }, scratch }): KernelCall[] {
        const [batch] = gradient!.shape;
        const narrow = scratch([batch, height, columns], 'f32');
        const perCell = batch * rows * columns;
        return [
          {
            kernel: 'map/upsample_mean_backward',
            bindings: { input: gradient!, output: narrow },
            params: { size: narrow.size, long: width, short: columns, inner: 1, copies: 1, scale: 1 },
            workgroups: foldWorkgroups(Math.ceil(narrow.size / 64)),
          },
          {
            kernel: 'map/upsample_mean_backward',
            conditions: { f16: dtype === 'f16' },
            bindings: { input: narrow, output },
            params: { size: perCell, long: height, short: rows, inner: columns, copies: stages, scale: 1 / stages },
            workgroups: foldWorkgroups(Math.ceil(perCell / 64)),
          },
        ];
      },
    },
  ],
  // Each pass has two terms per element of the longer axis, or of the shorter one's result.
  cost: (inputs, outputs, { height, columns }) => ({
    flops: 4 * (sizeOf(inputs[0]!.shape) + inputs[0]!.shape[0] * height * columns),
    bytes: bytesOfTypes(...inputs, ...outputs),
  }),
  sizes: {
    names: ['batch', 'stages', 'grid side', 'image side'],
    small: [[2, 3, 5, 37]],
    case: (batch, stages, side, image) => ({
      inputs: [single(batch, image, image)],
      attributes: { rows: side, columns: side, height: image, width: image, stages, dtype: 'f32' },
    }),
  },
  benchCases: [
    {
      name: 'ViT-L/14-518 4 stages',
      inputs: [single(1, 518, 518)],
      attributes: { rows: 37, columns: 37, height: 518, width: 518, stages: 4, dtype: 'f32' },
    },
  ],
});

/**
 * Anomaly maps of several stages, enlarged to the image and averaged: bilinear with align_corners = false, then the mean
 * over the stages (MFP-CLIP, equations 12 and 13; torch.nn.functional.interpolate).
 *
 * @param maps [batch, stages, rows * columns], cells row by row
 * @returns f32 [batch, height, width]
 */
export function upsampleMean(maps: Tensor, sizes: UpsampleMeanAttributes): Tensor {
  return apply(upsampleMeanOp, [maps], sizes)[0];
}
