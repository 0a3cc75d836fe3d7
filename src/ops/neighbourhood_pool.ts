import { type BenchCase, type CaseSizes, type KernelCall, type OpCall, type TensorType, type Variant, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../tensor/tensor.ts';
import { itemsOf } from './teams.ts';
import type { OpNames } from './types.ts';

/** The patch grid and the neighbourhood. */
export interface NeighbourhoodPoolAttributes {
  /** Patches from top to bottom. */
  readonly rows: number;
  /** Patches from left to right. */
  readonly columns: number;
  /** Side N of the N × N neighbourhood, odd. */
  readonly size: number;
}

function stripKernel({ inputs: [input], outputs: [output], attributes: { rows, columns, size } }: OpCall<NeighbourhoodPoolAttributes>, backward: boolean): KernelCall {
  const [batch, , width] = input!.shape;
  const { vectors, items } = itemsOf(width);
  const threads = items > 32 ? 64 : 32;
  return {
    kernel: 'pooling/neighbourhood_pool',
    conditions: { f16: input!.dtype === 'f16', vectors, backward },
    bindings: { input: input!, output },
    constants: { THREADS: threads },
    params: { rows, columns, items, radius: (size - 1) / 2 },
    workgroups: [Math.ceil(items / threads), columns, batch * Math.ceil(rows / 4)],
  };
}

/** Forward and backward gather over the same windows with the same kernels. */
function poolVariants(backward: boolean): Variant<NeighbourhoodPoolAttributes>[] {
  return [
    {
      name: 'strip',
      purpose: 'four rows of outputs per invocation share the sums of their window rows',
      // The strips of all images are counted along one axis of the dispatch.
      supports: ({ inputs: [input], attributes: { rows } }) => input!.shape[0] * Math.ceil(rows / 4) <= 65535,
      kernels: (call) => [stripKernel(call, backward)],
    },
    {
      name: 'direct',
      purpose: 'one invocation per element reads its whole window',
      reference: true,
      kernels: ({ inputs: [input], outputs: [output], attributes: { rows, columns, size } }) => [
        {
          kernel: 'pooling/neighbourhood_pool_direct',
          conditions: { f16: input!.dtype === 'f16', backward },
          bindings: { input: input!, output },
          params: { size: output.size, rows, columns, channels: input!.shape[2], radius: (size - 1) / 2 },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ];
}

/** Additions of the plain sums; the strips need fewer. */
const poolFlops = (shape: Shape, size: number): number => sizeOf(shape) * size * size;

const benchCases: readonly BenchCase<NeighbourhoodPoolAttributes>[] = [
  { name: 'ViT-L/14-518 3x3', inputs: [{ shape: [1, 1369, 1024], dtype: 'f32' }], attributes: { rows: 37, columns: 37, size: 3 } },
  { name: 'ViT-L/14-518 5x5', inputs: [{ shape: [1, 1369, 1024], dtype: 'f32' }], attributes: { rows: 37, columns: 37, size: 5 } },
];

/** The same for both directions. */
const sizes: CaseSizes<NeighbourhoodPoolAttributes> = {
  names: ['batch', 'rows', 'columns', 'width', 'neighbourhood'],
  small: [[2, 5, 7, 37, 3], [1, 9, 4, 64, 5]],
  case: (batch, rows, columns, width, size) => ({ inputs: [f32(batch, rows * columns, width)], attributes: { rows, columns, size } }),
};

/**
 * The shape rule of both directions: what comes out has the type of what goes in, tokens or their gradient.
 *
 * @throws Error when it is not [batch, rows * columns, width], or the neighbourhood has no middle
 */
function pooledTypes(op: OpNames, inputs: readonly (TensorType | undefined)[], { rows, columns, size }: NeighbourhoodPoolAttributes): TensorType[] {
  const { shape, dtype } = inputs[0]!;
  if (shape.length !== 3 || shape[1] !== rows * columns) throw shapeError(op, inputs, `${op.inputNames[0]} must be [batch, ${rows} x ${columns} patches, width]`);
  if (!(Number.isInteger(size) && size >= 1 && size % 2 === 1)) throw shapeError(op, inputs, `the neighbourhood must be an odd number of patches wide, not ${size}`);
  return [{ shape, dtype }];
}

export const neighbourhoodPoolOp = defineOp<NeighbourhoodPoolAttributes>({
  name: 'neighbourhood_pool',
  inputNames: ['tokens'],
  outputs(inputs, attributes): TensorType[] {
    return pooledTypes(neighbourhoodPoolOp, inputs, attributes);
  },
  variants: poolVariants(false),
  cost: (inputs, outputs, { size }) => ({ flops: poolFlops(outputs[0].shape, size), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([tokens], { size }) => `${sizeClass(sizeOf(tokens!.shape))} ${size}x${size}`,
  backward: ({ outputGradients: [gradient], attributes }) => apply(neighbourhoodPoolBackwardOp, [gradient], attributes),
  sizes,
  benchCases,
});

/** Gradient of `neighbourhood_pool`: every output's gradient, divided by its window's cells, gathered over the same windows. */
export const neighbourhoodPoolBackwardOp = defineOp<NeighbourhoodPoolAttributes>({
  name: 'neighbourhood_pool_backward',
  inputNames: ['output gradient'],
  outputs(inputs, attributes): TensorType[] {
    return pooledTypes(neighbourhoodPoolBackwardOp, inputs, attributes);
  },
  variants: poolVariants(true),
  cost: (inputs, outputs, { size }) => ({ flops: 2 * poolFlops(outputs[0].shape, size), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([gradient], { size }) => `${sizeClass(sizeOf(gradient!.shape))} ${size}x${size}`,
  sizes,
  benchCases,
});

/**
 * Multi-patch feature aggregation: the mean of each patch's N × N neighbourhood, stride 1, same size, borders averaged
 * over the cells that exist (MFP-CLIP, equations 8 to 10; torch.nn.functional.avg_pool2d with padding (N - 1) / 2 and
 * count_include_pad = false).
 *
 * @param tokens [batch, rows * columns, width], patches row by row
 * @returns tokens' shape
 * @throws Error when the tokens are not that grid or the size is even
 */
export function neighbourhoodPool(tokens: Tensor, grid: NeighbourhoodPoolAttributes): Tensor {
  return apply(neighbourhoodPoolOp, [tokens], grid)[0];
}
