import { type KernelCall, type OpCall, type Variant, foldWorkgroups, sizeClass } from '../tensor/op.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Which module of WGSL gives the operands of a product: the name of its condition in `kernels/convolution/plain.wgsl`. */
export type ProductOperands = 'forward' | 'input_gradient' | 'weight_gradient' | 'patches' | 'patches_image_gradient' | 'patches_weight_gradient';

/**
 * One matrix product whose left operand is never laid out in memory: a convolution, one of its gradients, a patch
 * embedding. `kernels/convolution/plain.wgsl` says what the sizes mean.
 */
export interface Product {
  readonly operands: ProductOperands;
  readonly rows: number;
  readonly columns: number;
  /** The sum runs over `segments` times `inner` products. */
  readonly segments: number;
  readonly inner: number;
  /** Sizes that only this module of operands knows. */
  readonly params: Readonly<Record<string, number>>;
  /** The two operands, by the name of the WGSL variable. */
  readonly factors: Readonly<Record<string, Tensor>>;
  /** Tensors that the sum meets at its end, and the conditions that switch them on. */
  readonly epilogue?: { readonly bindings: Readonly<Record<string, Tensor>>; readonly conditions: Readonly<Record<string, boolean>> };
  readonly output: Tensor;
}

/** Workgroups that keep a GPU busy, and the shortest sum that is worth a workgroup of its own. */
const groupsForGpu = 256;
/** The same for a software adapter: every core gets several, so that none waits long for the last. */
const groupsForCpu = 16;
const shortestSlice = 256;

/** How the sum is cut, in the terms of the kernels' `Params`. */
interface Cut {
  readonly chunk: number;
  readonly chunks: number;
  readonly units: number;
  readonly units_per_slice: number;
  readonly slices: number;
}

/** Cuts a sum into slices where there are fewer tiles than `wanted` workgroups. */
function cut({ segments, inner }: Product, tiles: number, wanted: number): Cut {
  const most = Math.max(1, Math.min(Math.floor(wanted / tiles), Math.floor((segments * inner) / shortestSlice)));
  // Slices take whole segments where those suffice; else segments are cut too, at multiples of a step of tiled.wgsl.
  const pieces = Math.max(1, Math.ceil(most / Math.max(1, segments)));
  const chunk = pieces === 1 ? inner : Math.ceil(inner / pieces / 16) * 16;
  const chunks = Math.ceil(inner / chunk);
  const units = segments * chunks;
  const unitsPerSlice = Math.max(1, Math.ceil(units / most));
  return { chunk, chunks, units, units_per_slice: unitsPerSlice, slices: Math.max(1, Math.ceil(units / unitsPerSlice)) };
}

/** Product and its second stage, if its sum is cut. */
function tiledCalls<A>(call: OpCall<A>, product: Product, kernel: string, tileRows: number, tileColumns: number, wanted: number, conditions: Record<string, boolean>): KernelCall[] {
  const { rows, columns, output } = product;
  const columnTiles = Math.ceil(columns / tileColumns);
  const tiles = Math.ceil(rows / tileRows) * columnTiles;
  const { slices, ...units } = cut(product, tiles, wanted);
  // Four columns of the right operand at a time, where they never straddle a row.
  const vectors = columns % 4 === 0 && !conditions.narrow;
  const operands = { f16: output.dtype === 'f16', ...(product.operands === 'forward' ? {} : { [product.operands]: true }) };
  const params = { rows, columns, column_tiles: columnTiles, inner: product.inner, ...units, ...product.params };
  const [x, y] = foldWorkgroups(tiles);
  const first = { kernel, params, workgroups: [x, y, slices] as const };
  if (slices === 1) {
    return [{ ...first, conditions: { ...operands, vectors, ...conditions, ...product.epilogue?.conditions }, bindings: { ...product.factors, ...product.epilogue?.bindings, output } }];
  }
  const partial = call.scratch([slices, rows, columns], 'f32');
  return [
    { ...first, conditions: { ...operands, vectors, ...conditions, slices: true }, bindings: { ...product.factors, partial } },
    {
      kernel: 'convolution/sum_slices',
      conditions: { ...operands, ...product.epilogue?.conditions },
      bindings: { ...product.epilogue?.bindings, partial, output },
      params,
      workgroups: foldWorkgroups(Math.ceil((rows * columns) / 64)),
    },
  ];
}

/**
 * The variants of an op that is one or several matrix products without a left operand in memory.
 *
 * @param products the op's products; together they write every element of its output
 */
export function productVariants<Attributes>(products: (call: OpCall<Attributes>) => readonly Product[]): Variant<Attributes>[] {
  const tiled = (tall: boolean) => (call: OpCall<Attributes>) =>
    products(call).flatMap((product) => tiledCalls(call, product, 'convolution/tiled', tall ? 128 : 64, 64, groupsForGpu, { tall }));
  return [
    { name: 'tiled', purpose: 'tiles of 64 x 64 in workgroup memory, long sums in slices: GPUs', kernels: tiled(false) },
    { name: 'tall', purpose: 'tiles of 128 x 64 in workgroup memory: GPUs when there are many rows', kernels: tiled(true) },
    {
      name: 'subgroup',
      purpose: 'one subgroup per tile, no workgroup memory and no barriers: software adapters',
      // A workgroup is one subgroup of eight or four; more lanes would idle.
      supports: ({ gpu }) => gpu.subgroups && gpu.adapter.subgroupMinSize >= 4 && gpu.adapter.subgroupMaxSize <= 8,
      kernels(call) {
        const fourLanes = call.gpu.adapter.subgroupMinSize < 8;
        const lanes = fourLanes ? 4 : 8;
        return products(call).flatMap((product) => {
          const narrow = product.columns <= 2 * lanes;
          const [tileRows, tileColumns] = narrow ? [4 * lanes, 2 * lanes] : [2 * lanes, 4 * lanes];
          return tiledCalls(call, product, 'convolution/subgroup', tileRows, tileColumns, groupsForCpu, { four_lanes: fourLanes, narrow });
        });
      },
    },
    {
      name: 'plain',
      reference: true,
      purpose: 'one invocation per output element: to compare with',
      kernels: (call) =>
        products(call).map(({ operands, rows, columns, segments, inner, params, factors, epilogue, output }) => ({
          kernel: 'convolution/plain',
          conditions: { f16: output.dtype === 'f16', ...(operands === 'forward' ? {} : { [operands]: true }), ...epilogue?.conditions },
          bindings: { ...factors, ...epilogue?.bindings, output },
          params: { rows, columns, column_tiles: 1, inner, chunk: inner, chunks: 1, units: segments, units_per_slice: segments, ...params },
          workgroups: foldWorkgroups(Math.ceil((rows * columns) / 64)),
        })),
    },
  ];
}

/** The variant of `productVariants` where nothing was measured. */
export function preferredProduct({ gpu }: Pick<OpCall<never>, 'gpu'>): string {
  return gpu.adapter.software ? 'subgroup' : 'tiled';
}

/** The usual `shapeClass` of a product. */
export function productClass(rows: number, columns: number, sum: number): string {
  return `${sizeClass(rows)}x${sizeClass(columns)}x${sizeClass(sum)}`;
}
