import { type KernelCall, type OpCall, type TensorType, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError, sizeClass } from '../tensor/op.ts';
import { apply, currentRecording, reshape } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { type Activation, activate, activationKinds } from './activation.ts';
import { matrixUnits, padBytes, subgroups } from './subgroup_matrix.ts';
import { sumRows, sumSlices } from './sum_rows.ts';

interface GemmAttributes {
  readonly activation: Activation;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** Sizes of a product: the output is [m, n], its sums go over k. */
interface Sizes {
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

function sizesOf(a: TensorType, b: TensorType, { transposeA, transposeB }: GemmAttributes): Sizes {
  const width = a.shape.at(-1)!;
  const rows = sizeOf(a.shape) / width;
  return { m: transposeA ? width : rows, n: b.shape[transposeB ? 0 : 1], k: transposeA ? rows : width };
}

/** The epilogue's conditions and operands. */
function epilogue({ inputs: [, , bias, residual], outputs: [output] }: OpCall<GemmAttributes>): { conditions: Record<string, boolean>; bindings: Record<string, Tensor> } {
  return {
    conditions: { f16: output.dtype === 'f16', bias: bias !== undefined, residual: residual !== undefined },
    bindings: { output, ...(bias && { bias }), ...(residual && { residual }) },
  };
}

function plainKernel(call: OpCall<GemmAttributes>): KernelCall {
  const { inputs: [a, b], outputs: [output], attributes } = call;
  const { conditions, bindings } = epilogue(call);
  return {
    kernel: 'gemm/plain',
    conditions: { ...conditions, transpose_a: attributes.transposeA, transpose_b: attributes.transposeB },
    bindings: { a: a!, b: b!, ...bindings },
    params: { ...sizesOf(a!, b!, attributes), activation: activationKinds[attributes.activation] },
    workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
  };
}

/** The most rows that gemm/narrow.wgsl takes. */
const narrowRows = 4;

function isNarrow({ inputs: [a, b], attributes }: OpCall<GemmAttributes>): boolean {
  const { m, n } = sizesOf(a!, b!, attributes);
  return m <= narrowRows && n % 4 === 0 && !attributes.transposeA && !attributes.transposeB;
}

function narrowKernel(call: OpCall<GemmAttributes>): KernelCall {
  const { inputs: [a, b], attributes } = call;
  const { m, n, k } = sizesOf(a!, b!, attributes);
  const { conditions, bindings } = epilogue(call);
  return {
    kernel: 'gemm/narrow',
    conditions,
    constants: { ROWS: m },
    bindings: { a: a!, b: b!, ...bindings },
    params: { n, k, activation: activationKinds[attributes.activation] },
    workgroups: foldWorkgroups(Math.ceil(n / 64)),
  };
}

/** Constants of gemm/tiled.wgsl: how a tile of the output is split among 256 invocations. */
interface Tile {
  readonly GROUP_ROWS: number;
  readonly GROUP_COLUMNS: number;
  readonly ROW_VECTORS: number;
  readonly COLUMN_VECTORS: number;
  readonly STEP: number;
}

/** Both fill the 16 KiB of workgroup memory and the 256 invocations that every WebGPU adapter has. */
const largeTile: Tile = { GROUP_ROWS: 16, GROUP_COLUMNS: 16, ROW_VECTORS: 2, COLUMN_VECTORS: 2, STEP: 16 };
const smallTile: Tile = { GROUP_ROWS: 16, GROUP_COLUMNS: 16, ROW_VECTORS: 1, COLUMN_VECTORS: 1, STEP: 32 };

/** Rows and columns of the output that a tile covers. */
function tileSides({ GROUP_ROWS, ROW_VECTORS, GROUP_COLUMNS, COLUMN_VECTORS }: Tile): readonly [number, number] {
  return [GROUP_ROWS * ROW_VECTORS * 4, GROUP_COLUMNS * COLUMN_VECTORS * 4];
}

/** @param split where the sums of slices of K go, [slices, m, n], and how long these are */
function tiledKernel(call: OpCall<GemmAttributes>, tile: Tile, split?: { readonly sums: Tensor; readonly slice: number }): KernelCall {
  const { inputs: [a, b], attributes } = call;
  const { m, n, k } = sizesOf(a!, b!, attributes);
  const { conditions, bindings } = epilogue(call);
  const [rows, columns] = tileSides(tile);
  const rowTiles = Math.ceil(m / rows);
  const tiles = foldWorkgroups(rowTiles * Math.ceil(n / columns));
  return {
    kernel: 'gemm/tiled',
    conditions: {
      ...conditions,
      transpose_a: attributes.transposeA,
      transpose_b: attributes.transposeB,
      aligned_a: (attributes.transposeA ? m : k) % 4 === 0,
      aligned_b: (attributes.transposeB ? k : n) % 4 === 0,
      aligned_output: n % 4 === 0,
      activation: attributes.activation !== 'none',
      split: split !== undefined,
    },
    // Compilers for CPUs take long over an unrolled body.
    constants: { ...tile, UNROLL: call.gpu.adapter.software ? 1 : 4 },
    bindings: { a: a!, b: b!, ...bindings, ...(split && { output: split.sums }) },
    params: { m, n, k, activation: activationKinds[attributes.activation], row_tiles: rowTiles, slice: split?.slice ?? k },
    workgroups: split ? [...tiles, split.sums.shape[0]] : tiles,
  };
}

/** Workgroups that keep a large GPU busy, and the least steps of K for which one is worth its while. */
const busy = { workgroups: 256, steps: 128 } as const;

/** Slices of K for the small tile: as many as give a large GPU enough to do. 1 where that is so already, or where K is short. */
function slicesOf({ inputs: [a, b], attributes }: OpCall<GemmAttributes>): { readonly slices: number; readonly slice: number } {
  const { m, n, k } = sizesOf(a!, b!, attributes);
  const [rows, columns] = tileSides(smallTile);
  const wanted = Math.min(Math.floor(busy.workgroups / (Math.ceil(m / rows) * Math.ceil(n / columns))), Math.floor(k / busy.steps));
  const slice = Math.ceil(k / Math.max(1, wanted) / smallTile.STEP) * smallTile.STEP;
  return { slices: Math.ceil(k / slice), slice };
}

/** Whether splitting K is worth it, and nothing is to be added to the sums or applied to them. */
function isSplit(call: OpCall<GemmAttributes>): boolean {
  const { inputs: [, , bias, residual], attributes } = call;
  return !bias && !residual && attributes.activation === 'none' && slicesOf(call).slices > 1;
}

function splitKernels(call: OpCall<GemmAttributes>): KernelCall[] {
  const { inputs: [a, b], outputs: [output], attributes } = call;
  const { m, n } = sizesOf(a!, b!, attributes);
  const { slices, slice } = slicesOf(call);
  const sums = call.scratch([slices, m, n], 'f32');
  return [tiledKernel(call, smallTile, { sums, slice }), sumSlices(sums, output, slices, m * n)];
}

/** The subgroup size where it is fixed on the adapter and gemm/subgroup.wgsl has code for it. */
function subgroupLanes({ gpu }: OpCall<GemmAttributes>): number | undefined {
  const { subgroupMinSize, subgroupMaxSize } = gpu.adapter;
  return gpu.subgroups && subgroupMinSize === subgroupMaxSize && (subgroupMaxSize === 4 || subgroupMaxSize === 8) ? subgroupMaxSize : undefined;
}

/** An operand as gemm/subgroup.wgsl reads it, and the kernel that brings it into that form where it is not. */
interface Panels {
  readonly tensor: Tensor;
  /** Distance in vec4s from one step of K to the next. */
  readonly step: number;
  /** Distance in vec4s from one panel to the next. */
  readonly panel: number;
  readonly pack: readonly KernelCall[];
}

/**
 * @param rows length of the operand's axis that is not K
 * @param depthFirst true when K is the operand's first axis
 * @param width rows of one panel
 */
function panelsOf(call: OpCall<GemmAttributes>, operand: Tensor, rows: number, depth: number, depthFirst: boolean, width: number): Panels {
  // A matrix with K as its first axis is already a row of panels.
  if (depthFirst && operand.dtype === 'f32' && rows % 4 === 0) return { tensor: operand, step: rows / 4, panel: width / 4, pack: [] };
  const tensor = call.scratch([Math.ceil(rows / width), depth, width], 'f32');
  const size = tensor.size / 4;
  const blocks = !depthFirst && depth % 4 === 0;
  return {
    tensor,
    step: width / 4,
    panel: (depth * width) / 4,
    pack: [
      {
        kernel: 'gemm/pack',
        conditions: { f16: operand.dtype === 'f16', blocks },
        constants: { WIDTH: width },
        bindings: { source: operand, panel: tensor },
        params: { rows, depth, row_stride: depthFirst ? 1 : depth, depth_stride: depthFirst ? rows : 1, size },
        workgroups: foldWorkgroups(Math.ceil(size / (blocks ? 4 : 1) / 64)),
      },
    ],
  };
}

function subgroupKernels(call: OpCall<GemmAttributes>): KernelCall[] {
  const { inputs: [a, b, bias, residual], outputs: [output], attributes } = call;
  const { m, n, k } = sizesOf(a!, b!, attributes);
  const lanes = subgroupLanes(call)!;
  const width = 4 * lanes;
  const left = panelsOf(call, a!, m, k, attributes.transposeA, width);
  const right = panelsOf(call, b!, n, k, !attributes.transposeB, width);
  const rowTiles = Math.ceil(m / width);
  return [
    ...left.pack,
    ...right.pack,
    {
      kernel: 'gemm/subgroup',
      conditions: { f16: output.dtype === 'f16', aligned: n % 4 === 0 },
      constants: { LANES: lanes },
      // One pipeline serves with and without bias and residual, because a CPU takes as long to compile it as to run many
      // products. An absent one's place is taken by b, which is not read there.
      bindings: { a: left.tensor, b: right.tensor, output, bias: bias ?? b!, residual: residual ?? b! },
      params: {
        m,
        n,
        k,
        activation: activationKinds[attributes.activation],
        has_bias: bias ? 1 : 0,
        has_residual: residual ? 1 : 0,
        row_tiles: rowTiles,
        a_step: left.step,
        a_panel: left.panel,
        b_step: right.step,
        b_panel: right.panel,
      },
      workgroups: foldWorkgroups(rowTiles * Math.ceil(n / width)),
    },
  ];
}

/** Matrices along each side of a subgroup's part of the tile: RESULTS in gemm/subgroup_matrix.wgsl. */
type Results = 2 | 4;

/** Bytes of workgroup memory that gemm/subgroup_matrix.wgsl takes there; undefined where it cannot run. */
function subgroupMatrixStorage({ gpu, inputs: [a, b], attributes: { transposeA, transposeB } }: OpCall<GemmAttributes>, results: Results): number | undefined {
  const units = matrixUnits(gpu, a!.dtype);
  const n = b!.shape[transposeB ? 0 : 1];
  if (!units || a!.shape.at(-1)! % 4 !== 0 || b!.shape[1] % 4 !== 0 || n % 4 !== 0) return undefined;
  const { M, N, K, bytes } = units;
  const [rows, columns, step] = [2 * results * M, 2 * results * N, 2 * K];
  const tile = (lines: number, length: number): number => lines * (length * bytes + padBytes);
  const used = (transposeA ? tile(step, rows) : tile(rows, step)) + (transposeB ? tile(columns, step) : tile(step, columns)) + subgroups * M * N * 4;
  return used <= gpu.device.limits.maxComputeWorkgroupStorageSize ? used : undefined;
}

function subgroupMatrixKernel(call: OpCall<GemmAttributes>, results: Results): KernelCall {
  const { gpu, inputs: [a, b], attributes } = call;
  const { m, n, k } = sizesOf(a!, b!, attributes);
  const { M, N, conditions: matrices } = matrixUnits(gpu, a!.dtype)!;
  const { conditions, bindings } = epilogue(call);
  const rowTiles = Math.ceil(m / (2 * results * M));
  return {
    kernel: 'gemm/subgroup_matrix',
    conditions: {
      ...conditions,
      ...matrices,
      transpose_a: attributes.transposeA,
      transpose_b: attributes.transposeB,
      small_tile: results === 2,
      activation: attributes.activation !== 'none',
    },
    bindings: { a: a!, b: b!, ...bindings },
    params: { m, n, k, activation: activationKinds[attributes.activation], row_tiles: rowTiles },
    workgroups: foldWorkgroups(rowTiles * Math.ceil(n / (2 * results * N))),
  };
}

const forward: GemmAttributes = { activation: 'none', transposeA: false, transposeB: false };

export const gemmOp = defineOp<GemmAttributes>({
  name: 'gemm',
  inputNames: ['a', 'b', 'bias', 'residual'],
  outputs(inputs, attributes) {
    const [a, b, bias, residual] = inputs;
    if (a!.shape.length < 2 || b!.shape.length !== 2) throw shapeError(gemmOp, inputs, 'a must have two axes or more, b two');
    const { m, n, k } = sizesOf(a!, b!, attributes);
    const depthOfB = b!.shape[attributes.transposeB ? 1 : 0];
    if (depthOfB !== k) {
      throw shapeError(gemmOp, inputs, `a${attributes.transposeA ? ' transposed' : ''} has ${k} columns, b${attributes.transposeB ? ' transposed' : ''} ${depthOfB} rows`);
    }
    if (!['f32', 'f16'].includes(a!.dtype) || inputs.some((input) => input && input.dtype !== a!.dtype)) {
      throw shapeError(gemmOp, inputs, 'all operands must be f32 or all f16');
    }
    if (bias && (bias.shape.length !== 1 || bias.shape[0] !== n)) throw shapeError(gemmOp, inputs, `the bias must be [${n}]`);
    const shape = attributes.transposeA ? [m, n] : [...a!.shape.slice(0, -1), n];
    if (residual && (residual.shape.length !== shape.length || residual.shape.some((size, i) => size !== shape[i]))) {
      throw shapeError(gemmOp, inputs, `the residual must have the output's shape [${shape.join(', ')}]`);
    }
    return [{ shape, dtype: a!.dtype }];
  },
  variants: [
    {
      name: 'tiled',
      purpose: 'workgroup memory and register tiles, 128 x 128: large products on GPUs',
      kernels: (call) => [tiledKernel(call, largeTile)],
    },
    {
      name: 'tiled_small',
      purpose: 'workgroup memory and register tiles, 64 x 64: products that the large tile would not spread over a whole GPU',
      kernels: (call) => [tiledKernel(call, smallTile)],
    },
    {
      name: 'tiled_split',
      purpose: 'the small tile with K in slices, whose sums are added then: small products with long sums, such as gradients of weights, on GPUs',
      gpuOnly: true,
      supports: isSplit,
      kernels: splitKernels,
    },
    {
      name: 'subgroup',
      purpose: 'registers and subgroup broadcasts alone: adapters that run on the CPU',
      supports: (call) => subgroupLanes(call) !== undefined,
      kernels: subgroupKernels,
    },
    {
      name: 'subgroup_matrix',
      purpose: 'matrix units (chromium-experimental-subgroup-matrix), 4 x 4 matrices per subgroup: large products on GPUs that have them',
      supports: (call) => subgroupMatrixStorage(call, 4) !== undefined,
      kernels: (call) => [subgroupMatrixKernel(call, 4)],
    },
    {
      name: 'subgroup_matrix_small',
      purpose: 'matrix units, 2 x 2 matrices per subgroup: products that the large tile would not spread over a whole GPU',
      supports: (call) => subgroupMatrixStorage(call, 2) !== undefined,
      kernels: (call) => [subgroupMatrixKernel(call, 2)],
    },
    {
      name: 'narrow',
      purpose: 'K split over a workgroup: up to four rows',
      supports: isNarrow,
      kernels: (call) => [narrowKernel(call)],
    },
    {
      name: 'plain',
      purpose: 'one invocation per output element: what the others are checked against',
      kernels: (call) => [plainKernel(call)],
    },
  ],
  preferred(call) {
    if (isNarrow(call)) return 'narrow';
    if (call.gpu.adapter.software) return 'subgroup';
    if (isSplit(call)) return 'tiled_split';
    const { m, n } = sizesOf(call.inputs[0]!, call.inputs[1]!, call.attributes);
    // Enough large tiles to give two to each processor of a large GPU.
    return Math.ceil(m / 128) * Math.ceil(n / 128) >= 256 ? 'tiled' : 'tiled_small';
  },
  cost(inputs, outputs, attributes) {
    const { m, n, k } = sizesOf(inputs[0]!, inputs[1]!, attributes);
    return { flops: 2 * m * n * k, bytes: bytesOfTypes(...inputs, ...outputs) };
  },
  shapeClass([a, b], attributes) {
    const { m, n, k } = sizesOf(a!, b!, attributes);
    return `${sizeClass(m)}x${sizeClass(n)}x${sizeClass(k)}${attributes.transposeA ? ' a transposed' : ''}${attributes.transposeB ? ' b transposed' : ''}`;
  },
  backward({ inputs: [a, b, bias, residual], outputGradients: [outputGradient], attributes, needs }) {
    const { transposeA, transposeB } = attributes;
    if (attributes.activation !== 'none') throw new Error('gemm: a fused activation has no gradient; gemm() records the activation as an op of its own where a gradient flows');
    const { m, n, k } = sizesOf(a!, b!, attributes);
    const gradient = reshape(outputGradient!, [m, n]);
    // With X = a or its transpose and W = b or its transpose: dX = dY·Wᵀ and dW = Xᵀ·dY, each transposed as a whole where
    // a or b is.
    const dA = (): Tensor => (transposeA ? gemm(b!, gradient, { transposeA: transposeB, transposeB: true }) : gemm(gradient, b!, { transposeB: !transposeB }));
    const dB = (): Tensor => {
      const matrix = reshape(a!, transposeA ? [k, m] : [m, k]);
      return transposeB ? gemm(gradient, matrix, { transposeA: true, transposeB: transposeA }) : gemm(matrix, gradient, { transposeA: !transposeA });
    };
    return [
      needs[0] ? reshape(dA(), a!.shape) : undefined,
      needs[1] ? dB() : undefined,
      bias && needs[2] ? sumRows(gradient) : undefined,
      residual && needs[3] ? outputGradient : undefined,
    ];
  },
  sizes: {
    names: ['rows', 'depth', 'columns'],
    small: [[3, 67, 36], [37, 67, 5], [70, 36, 132], [9, 257, 8]],
    case: (m, k, n) => ({ inputs: [f32(m, k), f32(k, n)], attributes: forward }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 qkv', inputs: [f32(1370, 1024), f32(1024, 3072), f32(3072)], attributes: forward },
    { name: 'ViT-L/14-518 attention output', inputs: [f32(1370, 1024), f32(1024, 1024), f32(1024), f32(1370, 1024)], attributes: forward },
    { name: 'ViT-L/14-518 mlp first layer', inputs: [f32(1370, 1024), f32(1024, 4096), f32(4096)], attributes: { ...forward, activation: 'quick_gelu' } },
    { name: 'ViT-L/14-518 mlp second layer', inputs: [f32(1370, 4096), f32(4096, 1024), f32(1024), f32(1370, 1024)], attributes: forward },
    { name: 'ViT-L/14-518 adapter', inputs: [f32(1369, 1024), f32(1024, 768), f32(768)], attributes: { ...forward, activation: 'leaky_relu' } },
    { name: 'ViT-L/14-518 mlp first layer, gradient of the input', inputs: [f32(1370, 4096), f32(1024, 4096)], attributes: { ...forward, transposeB: true } },
    { name: 'ViT-L/14-518 mlp second layer, gradient of the input', inputs: [f32(1370, 1024), f32(4096, 1024)], attributes: { ...forward, transposeB: true } },
    { name: 'ViT-L/14-518 qkv, gradient of the input', inputs: [f32(1370, 3072), f32(1024, 3072)], attributes: { ...forward, transposeB: true } },
    { name: 'ViT-L/14-518 attention output, gradient of the input', inputs: [f32(1370, 1024), f32(1024, 1024)], attributes: { ...forward, transposeB: true } },
    { name: 'ViT-L/14-518 mask prompting', inputs: [f32(1369, 2048), f32(2048, 1024), f32(1024)], attributes: forward },
    { name: 'ViT-L/14-518 mask prompting, gradient of the weight', inputs: [f32(1369, 2048), f32(1369, 1024)], attributes: { ...forward, transposeA: true } },
    { name: 'ViT-L/14-518 adapter, gradient of the weight', inputs: [f32(1369, 1024), f32(1369, 768)], attributes: { ...forward, transposeA: true } },
    { name: 'self prompting', inputs: [f32(1, 2048), f32(2048, 1024), f32(1024)], attributes: forward },
  ],
});

/** What `gemm` may add to the product, and how its operands are stored. */
export interface GemmOptions {
  /** [N], added to every row. */
  readonly bias?: Tensor;
  /** Of the output's shape, added after the bias. */
  readonly residual?: Tensor;
  /** Applied last. */
  readonly activation?: Activation;
  /** a is stored as [K, M]. */
  readonly transposeA?: boolean;
  /** b is stored as [N, K]. */
  readonly transposeB?: boolean;
}

/**
 * activation(a · b + bias + residual), one kernel where no gradient flows (torch.addmm and what follows it). Sums are in f32.
 *
 * @param a [..., K], leading axes are rows; with `transposeA` [..., M], where the leading axes are K
 * @param b [K, N]; with `transposeB` [N, K]
 * @returns [..., N]; with `transposeA` [M, N]
 */
export function gemm(a: Tensor, b: Tensor, options: GemmOptions = {}): Tensor {
  const { bias, residual, activation = 'none', transposeA = false, transposeB = false } = options;
  const inputs = [a, b, bias, residual];
  // The activation's gradient needs its input, which a fused epilogue does not keep.
  const separate = activation !== 'none' && currentRecording().taping && inputs.some((input) => input?.requiresGradient);
  const [product] = apply(gemmOp, inputs, { activation: separate ? 'none' : activation, transposeA, transposeB });
  return separate ? activate(product, activation) : product;
}
