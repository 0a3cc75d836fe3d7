import type { Gpu } from '../gpu/device.ts';
import type { DType } from './dtype.ts';
import { type Shape, type Tensor, formatShape } from './tensor.ts';

/** One dispatch: a kernel, what it binds and how many workgroups run. */
export interface KernelCall {
  /** Module path inside `kernels/` without ending: "gemm/tiled". */
  readonly kernel: string;
  readonly conditions?: Readonly<Record<string, boolean>>;
  readonly constants?: Readonly<Record<string, number>>;
  /** Tensors by the name of the WGSL variable. */
  readonly bindings: Readonly<Record<string, Tensor>>;
  /** Values of the WGSL struct `Params`, by field. */
  readonly params?: Readonly<Record<string, number>>;
  readonly workgroups: readonly [number, number?, number?];
}

/** Shape and element type of a tensor that does not exist yet. */
export interface TensorType {
  readonly shape: Shape;
  readonly dtype: DType;
}

/** Floating-point operations and bytes that an op must move at least once: its inputs read, its outputs written. */
export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

/** What a variant works on. */
export interface OpCall<Attributes> {
  readonly gpu: Gpu;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly attributes: Attributes;
  /** An intermediate tensor of this call, for variants of more than one kernel. */
  scratch(shape: Shape, dtype: DType): Tensor;
}

/** One way to compute an op. All variants of an op give the same result within its tolerance. */
export interface Variant<Attributes> {
  readonly name: string;
  /** One sentence for `doctor`: when this variant is the right one. */
  readonly purpose?: string;
  /**
   * True for the readable first rung of an op's ladder: it runs where no other variant does, or when it is forced, and is
   * never measured against them.
   */
  readonly reference?: boolean;
  /**
   * True for one that spreads work over a GPU's many processors: an adapter that runs on the CPU takes it only when it is forced. It may be
   * about as fast there as others, and what is measured would then choose by chance, and with it the last bits of a training run.
   */
  readonly gpuOnly?: boolean;
  /** Whether it can run there on those inputs; default: always. */
  supports?(call: OpCall<Attributes>): boolean;
  /** The dispatches, in order. */
  kernels(call: OpCall<Attributes>): readonly KernelCall[];
}

/** What an op's backward function gets: everything that the forward pass had, and the outputs' gradients. */
export interface BackwardCall<Attributes> {
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly attributes: Attributes;
  /** Gradients of the outputs; undefined where nothing depends on an output. */
  readonly outputGradients: readonly (Tensor | undefined)[];
  /** Whether the gradient of each input is wanted: nothing is computed for frozen tensors. */
  readonly needs: readonly boolean[];
}

/** An input of a benchmark entry: its type, and what it holds where the speed depends on that. */
export interface BenchInput extends TensorType {
  /** Indices, tables and the like; default: noise, zeros for integers. */
  readonly values?: () => ArrayLike<number>;
}

/** One entry for the benchmark: inputs, attributes, and a name such as "ViT-L/14-518 mlp". */
export interface BenchCase<Attributes> {
  readonly name: string;
  readonly inputs: readonly (BenchInput | undefined)[];
  readonly attributes: Attributes;
}

/** How a few numbers become a case of an op: `mfp-clip bench gemm --shapes 77x768x3072`. */
export interface CaseSizes<Attributes> {
  /** What each number is, in order. */
  readonly names: readonly string[];
  /** Small sizes, odd where the op allows that: at these its variants are tested against each other (test/ops/variants.test.ts), at the first each time. */
  readonly small: readonly (readonly number[])[];
  /** Inputs in f32 and attributes for these sizes; numbers that make no sense together are for the shape rule to refuse. */
  case(...sizes: number[]): Omit<BenchCase<Attributes>, 'name'>;
}

/** Everything that the engine knows of one operation; there is one per file in `src/ops`. */
export interface Op<Attributes = unknown> {
  readonly name: string;
  /** Names of the inputs, for messages. */
  readonly inputNames: readonly string[];
  /** The shape rule: types of the outputs. Throws through `shapeError`. */
  outputs(inputs: readonly (TensorType | undefined)[], attributes: Attributes): readonly TensorType[];
  /** In order of preference where nothing was measured; `preferred` can choose otherwise per adapter. */
  readonly variants: readonly Variant<Attributes>[];
  /** Name of the variant to use where nothing was measured; default: the first that is supported. */
  preferred?(call: OpCall<Attributes>): string;
  cost(inputs: readonly (TensorType | undefined)[], outputs: readonly TensorType[], attributes: Attributes): Cost;
  /** Inputs that influence which variant is fastest, rounded so that near shapes share a measurement. */
  shapeClass?(inputs: readonly (TensorType | undefined)[], attributes: Attributes): string;
  /** Gradients of the inputs, recorded as further ops; undefined for inputs that need none. */
  backward?(call: BackwardCall<Attributes>): readonly (Tensor | undefined)[];
  readonly benchCases: readonly BenchCase<Attributes>[];
  /** Lets the op be benchmarked and tested at sizes that the op file does not name. */
  readonly sizes?: CaseSizes<Attributes>;
}

/** An f32 input of a benchmark case. */
export function f32(...shape: number[]): TensorType {
  return { shape, dtype: 'f32' };
}

/** Gives an op definition its type; the place to look for what an op must have. */
export function defineOp<Attributes>(op: Op<Attributes>): Op<Attributes> {
  return op;
}

/** The error of a shape rule: names the op, each operand and its shape, and what was expected. */
export function shapeError(op: Pick<Op<never>, 'name' | 'inputNames'>, inputs: readonly (TensorType | undefined)[], expected: string): Error {
  const operands = inputs
    .map((input, i) => `${op.inputNames[i] ?? `input ${i}`} ${input ? `${input.dtype}${formatShape(input.shape)}` : 'absent'}`)
    .join(', ');
  return new Error(`${op.name}: ${expected}; got ${operands}`);
}

/** Bytes of all the given tensors: the usual `bytes` of a cost. */
export function bytesOfTypes(...types: (TensorType | undefined)[]): number {
  const width = { f32: 4, f16: 2, u32: 4, u8: 1 } as const;
  return types.reduce((sum, type) => sum + (type ? type.shape.reduce((a, b) => a * b, 1) * width[type.dtype] : 0), 0);
}

/**
 * Spreads `count` workgroups over two dimensions when one (at most 65535) does not hold them.
 * The kernel computes its index as `workgroup_id.y * num_workgroups.x + workgroup_id.x` and checks the bound.
 */
export function foldWorkgroups(count: number): [number, number] {
  if (count <= 65535) return [Math.max(1, count), 1];
  const y = Math.ceil(count / 65535);
  return [Math.ceil(count / y), y];
}

/** The next power of two: the usual rounding of `shapeClass`. */
export function sizeClass(size: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(1, size)));
}
