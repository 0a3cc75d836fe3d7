// The single steps that unfused chains are made of, where the engine's own ops (src/ops) have none: what an eager
// framework launches one by one. They are ops like any other, with gradients, but no model uses them.
import type { Gpu } from '../../gpu/device.ts';
import { chunksOf, preferredTeams, teamVariants } from '../../ops/teams.ts';
import { type KernelCall, type OpCall, type TensorType, bytesOfTypes, defineOp, foldWorkgroups, shapeError, sizeClass } from '../../tensor/op.ts';
import { apply, reshape } from '../../tensor/recording.ts';
import { type Shape, type Tensor, sizeOf } from '../../tensor/tensor.ts';

/** Elementwise functions and their numbers in kernels/unfused/functions.wgsl. */
const unaryKinds = { affine: 0, clamp: 1, logarithm: 2, square_root: 3, power: 4 } as const;

interface UnaryAttributes {
  readonly kind: keyof typeof unaryKinds;
  readonly a: number;
  readonly b: number;
}

const unaryOp = defineOp<UnaryAttributes>({
  name: 'unary',
  inputNames: ['input'],
  outputs: ([input]) => [{ shape: input!.shape, dtype: input!.dtype }],
  variants: teamVariants(({ inputs: [input], outputs: [output], attributes: { kind, a, b } }, teams) => {
    const { vectors, items, chunk, chunks } = chunksOf(output.size);
    return [
      {
        kernel: 'unfused/unary',
        conditions: { f16: input!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, output },
        params: { items, chunk, kind: unaryKinds[kind], a, b },
        workgroups: teams.workgroups(chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 2 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([input]) => `${sizeClass(sizeOf(input!.shape))}`,
  backward: ({ inputs: [input], outputGradients: [gradient], attributes }) => apply(unaryBackwardOp, [input, gradient], attributes),
  benchCases: [],
});

const unaryBackwardOp = defineOp<UnaryAttributes>({
  name: 'unary_backward',
  inputNames: ['input', 'output gradient'],
  outputs: ([input]) => [{ shape: input!.shape, dtype: input!.dtype }],
  variants: teamVariants(({ inputs: [input, gradient], outputs: [output], attributes: { kind, a, b } }, teams) => {
    const { vectors, items, chunk, chunks } = chunksOf(output.size);
    return [
      {
        kernel: 'unfused/unary_backward',
        conditions: { f16: input!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, output_gradient: gradient!, input_gradient: output },
        params: { items, chunk, kind: unaryKinds[kind], a, b },
        workgroups: teams.workgroups(chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 3 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([input]) => `${sizeClass(sizeOf(input!.shape))}`,
  benchCases: [],
});

/** a x + b. */
export function affine(x: Tensor, a: number, b = 0): Tensor {
  return apply(unaryOp, [x], { kind: 'affine', a, b })[0];
}

/** x, held between two numbers (torch.clamp). */
export function clamp(x: Tensor, least: number, most: number): Tensor {
  return apply(unaryOp, [x], { kind: 'clamp', a: least, b: most })[0];
}

/** The natural logarithm. */
export function logarithm(x: Tensor): Tensor {
  return apply(unaryOp, [x], { kind: 'logarithm', a: 0, b: 0 })[0];
}

export function squareRoot(x: Tensor): Tensor {
  return apply(unaryOp, [x], { kind: 'square_root', a: 0, b: 0 })[0];
}

/** x^exponent; x is at least 0, or the exponent 2. */
export function power(x: Tensor, exponent: number): Tensor {
  return apply(unaryOp, [x], { kind: 'power', a: exponent, b: 0 })[0];
}

/** Functions of two tensors and their numbers in kernels/unfused/binary.wgsl. */
const binaryKinds = { add: 0, multiply: 1, divide: 2, interpolate: 3 } as const;

interface BinaryAttributes {
  readonly kind: keyof typeof binaryKinds;
  readonly factor: number;
}

const binaryOp = defineOp<BinaryAttributes>({
  name: 'binary',
  inputNames: ['x', 'y'],
  outputs(inputs) {
    const [x, y] = inputs;
    if (x!.dtype !== y!.dtype || sizeOf(x!.shape) !== sizeOf(y!.shape)) throw shapeError(binaryOp, inputs, 'both must have one type and size');
    return [{ shape: x!.shape, dtype: x!.dtype }];
  },
  variants: teamVariants(({ inputs: [x, y], outputs: [output], attributes: { kind, factor } }, teams) => {
    const { vectors, items, chunk, chunks } = chunksOf(output.size);
    return [
      {
        kernel: 'unfused/binary',
        conditions: { f16: x!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { x: x!, y: y!, output },
        params: { items, chunk, kind: binaryKinds[kind], factor },
        workgroups: teams.workgroups(chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 2 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([x]) => `${sizeClass(sizeOf(x!.shape))}`,
  backward({ inputs: [x, y], outputs: [output], outputGradients: [gradient], needs, attributes: { kind, factor } }) {
    if (kind === 'add') return [needs[0] ? gradient : undefined, needs[1] ? (factor === 1 ? gradient : affine(gradient!, factor)) : undefined];
    if (kind === 'multiply') return [needs[0] ? multiply(gradient!, y!, factor) : undefined, needs[1] ? multiply(gradient!, x!, factor) : undefined];
    if (kind === 'interpolate') throw new Error('interpolate is a step of the optimizer and has no gradient');
    const ofNumerator = divide(gradient!, y!);
    return [needs[0] ? ofNumerator : undefined, needs[1] ? multiply(ofNumerator, output, -1) : undefined];
  },
  benchCases: [],
});

/** x + factor y (torch.add with alpha), for tensors of one size. */
export function plus(x: Tensor, y: Tensor, factor = 1): Tensor {
  return apply(binaryOp, [x, y], { kind: 'add', factor })[0];
}

/** factor x y. */
export function multiply(x: Tensor, y: Tensor, factor = 1): Tensor {
  return apply(binaryOp, [x, y], { kind: 'multiply', factor })[0];
}

/** x / y. */
export function divide(x: Tensor, y: Tensor): Tensor {
  return apply(binaryOp, [x, y], { kind: 'divide', factor: 1 })[0];
}

/** x + factor (y - x) (torch.lerp). */
export function interpolate(x: Tensor, y: Tensor, factor: number): Tensor {
  return apply(binaryOp, [x, y], { kind: 'interpolate', factor })[0];
}

interface RowSumAttributes {
  readonly factor: number;
}

const rowSumOp = defineOp<RowSumAttributes>({
  name: 'row_sum',
  inputNames: ['input'],
  outputs(inputs) {
    const [input] = inputs;
    if (input!.dtype !== 'f32' || input!.shape.length !== 2) throw shapeError(rowSumOp, inputs, 'input must be f32[rows, width]');
    return [{ shape: [input!.shape[0]], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [input], outputs: [output], attributes: { factor }, scratch }, teams): KernelCall[] => {
    const [rows, width] = input!.shape;
    const { vectors, items, chunk, chunks } = chunksOf(width);
    const partial = chunks === 1 ? output : scratch([rows, chunks], 'f32');
    const stage = (from: Tensor, to: Tensor, params: { items: number; chunk: number; chunks: number; factor: number }, inVectors: boolean): KernelCall => ({
      kernel: 'unfused/row_sum',
      conditions: { vectors: inVectors, ...teams.conditions },
      constants: teams.constants,
      bindings: { input: from, output: to },
      params: { rows, ...params },
      workgroups: teams.workgroups(rows * params.chunks),
    });
    return [
      stage(input!, partial, { items, chunk, chunks, factor: chunks === 1 ? factor : 1 }, vectors),
      ...(chunks === 1 ? [] : [stage(partial, output, { items: chunks, chunk: chunks, chunks: 1, factor }, false)]),
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([input]) => `${sizeClass(input!.shape[0])}x${sizeClass(input!.shape[1])}`,
  backward: ({ inputs: [input], outputGradients: [gradient], attributes: { factor } }) => {
    const [rows, width] = input!.shape;
    return [reshape(expand(reshape(gradient!, [rows, 1]), width, factor), input!.shape)];
  },
  benchCases: [],
});

/**
 * factor times the sum of each row.
 *
 * @param input f32[rows, width]
 * @returns f32[rows]
 */
export function rowSum(input: Tensor, factor = 1): Tensor {
  return apply(rowSumOp, [input], { factor })[0];
}

const meanRowsOp = defineOp<Record<string, never>>({
  name: 'mean_rows',
  inputNames: ['input'],
  outputs(inputs) {
    const [input] = inputs;
    if (input!.dtype !== 'f32' || input!.shape.length !== 3) throw shapeError(meanRowsOp, inputs, 'input must be f32[outer, rows, width]');
    return [{ shape: [input!.shape[0], input!.shape[2]], dtype: 'f32' }];
  },
  variants: [
    {
      name: 'column',
      kernels: ({ inputs: [input], outputs: [output] }) => [
        {
          kernel: 'unfused/mean_rows',
          bindings: { input: input!, output },
          params: { size: output.size, rows: input!.shape[1], width: input!.shape[2] },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [input], outputGradients: [gradient] }) => [expand(gradient!, input!.shape[1], 1 / input!.shape[1])],
  benchCases: [],
});

/**
 * The mean over the middle axis (torch.mean).
 *
 * @param input f32[outer, rows, width]
 * @returns f32[outer, width]
 */
export function meanRows(input: Tensor): Tensor {
  return apply(meanRowsOp, [input], {})[0];
}

interface ExpandAttributes {
  readonly rows: number;
  readonly factor: number;
}

const expandOp = defineOp<ExpandAttributes>({
  name: 'expand',
  inputNames: ['input'],
  outputs: ([input], { rows }) => [{ shape: [input!.shape[0], rows, input!.shape[1]], dtype: 'f32' }],
  variants: [
    {
      name: 'elementwise',
      kernels: ({ inputs: [input], outputs: [output], attributes: { rows, factor } }) => [
        {
          kernel: 'unfused/expand',
          bindings: { input: input!, output },
          params: { size: output.size, rows, width: input!.shape[1], factor },
          workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
        },
      ],
    },
  ],
  cost: (inputs, outputs) => ({ flops: sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  benchCases: [],
});

/** factor times a f32[outer, width], again and again: [outer, rows, width]. Has no gradient: it is one. */
function expand(input: Tensor, rows: number, factor: number): Tensor {
  return apply(expandOp, [input], { rows, factor })[0];
}

interface UnfoldAttributes {
  readonly image: Shape;
  readonly patch: number;
}

function unfoldKernel(input: Tensor, output: Tensor, { image, patch }: UnfoldAttributes, backward: boolean): KernelCall {
  const [, channels, height, width] = image;
  return {
    kernel: 'unfused/unfold',
    conditions: { f16: input.dtype === 'f16', backward },
    bindings: { input, output },
    params: { size: output.size, channels, height, width, patch_size: patch },
    workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
  };
}

const unfoldOp = defineOp<UnfoldAttributes>({
  name: 'unfold',
  inputNames: ['image'],
  outputs(inputs, { patch }) {
    const { shape, dtype } = inputs[0]!;
    const [batch, channels, height, width] = shape;
    if (shape.length !== 4 || height % patch !== 0 || width % patch !== 0) throw shapeError(unfoldOp, inputs, `image must be [batch, channels, height, width] with sides that are multiples of ${patch}`);
    return [{ shape: [batch, (height / patch) * (width / patch), channels * patch * patch], dtype }];
  },
  variants: [{ name: 'copy', kernels: ({ inputs: [image], outputs: [output], attributes }) => [unfoldKernel(image!, output, attributes, false)] }],
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ outputGradients: [gradient], attributes }) => apply(foldOp, [gradient], attributes),
  benchCases: [],
});

const foldOp = defineOp<UnfoldAttributes>({
  name: 'fold',
  inputNames: ['patches'],
  outputs: ([patches], { image }) => [{ shape: image, dtype: patches!.dtype }],
  variants: [{ name: 'copy', kernels: ({ inputs: [patches], outputs: [output], attributes }) => [unfoldKernel(patches!, output, attributes, true)] }],
  cost: (inputs, outputs) => ({ flops: 0, bytes: bytesOfTypes(...inputs, ...outputs) }),
  benchCases: [],
});

/**
 * Square patches that do not overlap, one per row (torch.nn.Unfold with stride = kernel size).
 *
 * @param image [batch, channels, height, width]
 * @returns [batch, patches, channels * patch * patch]
 */
export function unfold(image: Tensor, patch: number): Tensor {
  return apply(unfoldOp, [image], { image: image.shape, patch })[0];
}

/** Rows up to this width are one invocation's. */
const narrowWidth = 16;

/** How a kernel over rows is launched: a team for each, or an invocation where they are short. */
function softmaxTeams<Attributes>(kernel: string, bindings: (call: OpCall<Attributes>) => Record<string, Tensor>) {
  return teamVariants<Attributes>((call, teams) => {
    const { shape, dtype, size } = call.outputs[0];
    const width = shape.at(-1)!;
    const rows = size / width;
    const narrow = width <= narrowWidth;
    return [
      {
        kernel,
        conditions: { f16: dtype === 'f16', narrow, ...teams.conditions },
        constants: teams.constants,
        bindings: bindings(call),
        params: { rows, width },
        workgroups: narrow ? foldWorkgroups(Math.ceil(rows / teams.constants.THREADS)) : teams.workgroups(rows),
      },
    ];
  });
}

const rowsByWidth = ([input]: readonly (TensorType | undefined)[]): string => `${sizeClass(sizeOf(input!.shape) / input!.shape.at(-1)!)}x${sizeClass(input!.shape.at(-1)!)}`;

const softmaxOp = defineOp<Record<string, never>>({
  name: 'softmax',
  inputNames: ['input'],
  outputs: ([input]) => [{ shape: input!.shape, dtype: input!.dtype }],
  variants: softmaxTeams('unfused/softmax', ({ inputs: [input], outputs: [output] }) => ({ input: input!, output })),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 5 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: rowsByWidth,
  backward: ({ outputs: [output], outputGradients: [gradient] }) => apply(softmaxBackwardOp, [output, gradient], {}),
  benchCases: [],
});

const softmaxBackwardOp = defineOp<Record<string, never>>({
  name: 'softmax_backward',
  inputNames: ['output', 'output gradient'],
  outputs: ([output]) => [{ shape: output!.shape, dtype: output!.dtype }],
  variants: softmaxTeams('unfused/softmax_backward', ({ inputs: [result, gradient], outputs: [output] }) => ({ output: result!, output_gradient: gradient!, input_gradient: output })),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 4 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: rowsByWidth,
  benchCases: [],
});

/** Softmax over the last axis (torch.softmax). */
export function softmax(input: Tensor): Tensor {
  return apply(softmaxOp, [input], {})[0];
}

/** Maps and their window. Each channel of an image in PyTorch's layout is a map of its own. */
interface PoolAttributes {
  readonly rows: number;
  readonly columns: number;
  readonly size: number;
}

function poolKernel(input: Tensor, output: Tensor, { rows, columns, size }: PoolAttributes, backward: boolean): KernelCall {
  return {
    kernel: 'pooling/neighbourhood_pool_direct',
    conditions: { f16: input.dtype === 'f16', backward },
    bindings: { input, output },
    params: { size: output.size, rows, columns, channels: 1, radius: (size - 1) / 2 },
    workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
  };
}

const averagePoolOp = defineOp<PoolAttributes>({
  name: 'average_pool',
  inputNames: ['maps'],
  outputs(inputs, { rows, columns, size }) {
    const { shape, dtype } = inputs[0]!;
    if (shape.at(-1) !== rows * columns || size % 2 === 0) throw shapeError(averagePoolOp, inputs, `maps must be [..., ${rows} x ${columns} cells] and the window odd, not ${size}`);
    return [{ shape, dtype }];
  },
  variants: [{ name: 'direct', kernels: ({ inputs: [maps], outputs: [output], attributes }) => [poolKernel(maps!, output, attributes, false)] }],
  cost: (inputs, outputs, { size }) => ({ flops: size * size * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ outputGradients: [gradient], attributes }) => apply(averagePoolBackwardOp, [gradient], attributes),
  benchCases: [],
});

const averagePoolBackwardOp = defineOp<PoolAttributes>({
  name: 'average_pool_backward',
  inputNames: ['output gradient'],
  outputs: ([gradient]) => [{ shape: gradient!.shape, dtype: gradient!.dtype }],
  variants: [{ name: 'direct', kernels: ({ inputs: [gradient], outputs: [output], attributes }) => [poolKernel(gradient!, output, attributes, true)] }],
  cost: (inputs, outputs, { size }) => ({ flops: 2 * size * size * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  benchCases: [],
});

/**
 * torch.nn.functional.avg_pool2d with stride 1, padding (size - 1) / 2 and count_include_pad = false, in its layout.
 *
 * @param maps [batch, channels, rows * columns]
 */
export function averagePool(maps: Tensor, window: PoolAttributes): Tensor {
  return apply(averagePoolOp, [maps], window)[0];
}

interface HeadProductAttributes {
  readonly heads: number;
  readonly transposeLeft: boolean;
  readonly transposeRight: boolean;
  /** Whether the heads of the output lie side by side in each token, as in an operand of three axes, or one after the other. */
  readonly sideBySide: boolean;
  readonly scale: number;
}

/** Distances in elements of a head product's operand; [batch, tokens, heads * size], or [batch, heads, rows, columns]. */
function stridesOf({ shape }: TensorType, heads: number): { batch: number; head: number; row: number; rows: number; columns: number } {
  const [, , third, fourth] = shape;
  return shape.length === 4
    ? { batch: heads * third * fourth, head: third * fourth, row: fourth, rows: third, columns: fourth }
    : { batch: shape[1] * third, head: third / heads, row: third, rows: shape[1], columns: third / heads };
}

interface HeadProduct {
  readonly batch: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
}

function headProductSizes([left, right]: readonly (TensorType | undefined)[], { heads, transposeLeft, transposeRight }: HeadProductAttributes): HeadProduct & { readonly rightK: number } {
  const [a, b] = [stridesOf(left!, heads), stridesOf(right!, heads)];
  return {
    batch: left!.shape[0],
    m: transposeLeft ? a.columns : a.rows,
    k: transposeLeft ? a.rows : a.columns,
    n: transposeRight ? b.rows : b.columns,
    rightK: transposeRight ? b.columns : b.rows,
  };
}

/** The subgroup size where it is fixed on the adapter and the subgroup kernel has code for it. */
function fixedLanes({ adapter, subgroups }: Gpu): number | undefined {
  const { subgroupMinSize, subgroupMaxSize } = adapter;
  return subgroups && subgroupMinSize === subgroupMaxSize && (subgroupMaxSize === 4 || subgroupMaxSize === 8) ? subgroupMaxSize : undefined;
}

function outputStrides(output: Tensor, heads: number): Record<string, number> {
  const { batch, head, row } = stridesOf(output, heads);
  return { output_batch: batch, output_head: head, output_row: row };
}

function tiledHeadProduct({ inputs: [left, right], outputs: [output], attributes }: OpCall<HeadProductAttributes>): KernelCall[] {
  const { heads, transposeLeft, transposeRight, scale } = attributes;
  const { batch, m, n, k } = headProductSizes([left, right], attributes);
  const [a, b] = [stridesOf(left!, heads), stridesOf(right!, heads)];
  return [
    {
      kernel: 'unfused/head_product_tiled',
      conditions: { f16: left!.dtype === 'f16' },
      bindings: { left: left!, right: right!, output },
      params: {
        m,
        n,
        k,
        heads,
        scale,
        left_batch: a.batch,
        left_head: a.head,
        left_row: transposeLeft ? 1 : a.row,
        left_step: transposeLeft ? a.row : 1,
        right_batch: b.batch,
        right_head: b.head,
        right_step: transposeRight ? 1 : b.row,
        right_column: transposeRight ? b.row : 1,
        ...outputStrides(output, heads),
      },
      workgroups: [Math.ceil(n / 64), Math.ceil(m / 64), batch * heads],
    },
  ];
}

function subgroupHeadProduct(call: OpCall<HeadProductAttributes>): KernelCall[] {
  const { inputs: [left, right], outputs: [output], attributes, gpu } = call;
  const { heads, scale, transposeLeft, transposeRight } = attributes;
  const { batch, m, n, k } = headProductSizes([left, right], attributes);
  const lanes = fixedLanes(gpu)!;
  const width = 4 * lanes;
  const pack: KernelCall[] = [];
  /** An operand as panels: the tensor, and its strides in vec4s. @param depthFirst whether memory has K outside of the other axis */
  const panels = (operand: Tensor, rows: number, depthFirst: boolean): { tensor: Tensor; batch: number; head: number; step: number; panel: number } => {
    const from = stridesOf(operand, heads);
    if (depthFirst && operand.dtype === 'f32' && [from.batch, from.head, from.row].every((stride) => stride % 4 === 0)) {
      return { tensor: operand, batch: from.batch / 4, head: from.head / 4, step: from.row / 4, panel: width / 4 };
    }
    const perHead = Math.ceil(rows / width) * k * width;
    const packed = call.scratch([batch * heads, perHead], 'f32');
    const [x, y] = foldWorkgroups(Math.ceil(perHead / 4 / 64));
    pack.push({
      kernel: 'unfused/head_product_pack',
      conditions: { f16: operand.dtype === 'f16' },
      constants: { WIDTH: width },
      bindings: { source: operand, panel: packed },
      params: { rows, depth: k, heads, batch_stride: from.batch, head_stride: from.head, row_stride: depthFirst ? 1 : from.row, depth_stride: depthFirst ? from.row : 1, size: perHead / 4 },
      workgroups: [x, y, batch * heads],
    });
    return { tensor: packed, batch: (heads * perHead) / 4, head: perHead / 4, step: width / 4, panel: (k * width) / 4 };
  };
  const a = panels(left!, m, transposeLeft);
  const b = panels(right!, n, !transposeRight);
  return [
    ...pack,
    {
      kernel: 'unfused/head_product_subgroup',
      conditions: { f16: output.dtype === 'f16' },
      constants: { LANES: lanes },
      bindings: { left: a.tensor, right: b.tensor, output },
      params: {
        m,
        n,
        k,
        heads,
        scale,
        left_batch: a.batch,
        left_head: a.head,
        left_step: a.step,
        left_panel: a.panel,
        right_batch: b.batch,
        right_head: b.head,
        right_step: b.step,
        right_panel: b.panel,
        ...outputStrides(output, heads),
      },
      workgroups: [Math.ceil(m / width), Math.ceil(n / width), batch * heads],
    },
  ];
}

const headProductOp = defineOp<HeadProductAttributes>({
  name: 'head_product',
  inputNames: ['left', 'right'],
  outputs(inputs, attributes) {
    const [left, right] = inputs;
    const { batch, m, n, k, rightK } = headProductSizes(inputs, attributes);
    if (k !== rightK || left!.dtype !== right!.dtype || left!.shape[0] !== right!.shape[0]) throw shapeError(headProductOp, inputs, `left has ${k} columns, right ${rightK} rows in each head`);
    return [{ shape: attributes.sideBySide ? [batch, m, attributes.heads * n] : [batch, attributes.heads, m, n], dtype: left!.dtype }];
  },
  variants: [
    { name: 'tiled', purpose: 'tiles of 64 x 64 in workgroup memory: GPUs', kernels: tiledHeadProduct },
    { name: 'subgroup', purpose: 'registers and subgroup broadcasts alone: adapters that run on the CPU', supports: ({ gpu }) => fixedLanes(gpu) !== undefined, kernels: subgroupHeadProduct },
  ],
  preferred: ({ gpu }) => (gpu.adapter.software && fixedLanes(gpu) !== undefined ? 'subgroup' : 'tiled'),
  cost(inputs, outputs, attributes) {
    const { batch, m, n, k } = headProductSizes(inputs, attributes);
    return { flops: 2 * batch * attributes.heads * m * n * k, bytes: bytesOfTypes(...inputs, ...outputs) };
  },
  shapeClass(inputs, attributes) {
    const { batch, m, n, k } = headProductSizes(inputs, attributes);
    return `${sizeClass(batch * attributes.heads)}x${sizeClass(m)}x${sizeClass(n)}x${sizeClass(k)}${attributes.transposeLeft ? ' left transposed' : ''}${attributes.transposeRight ? ' right transposed' : ''}`;
  },
  // The forward chain transposes no left operand. C = s L R: dL = s dC Rᵀ and dR = s Lᵀ dC, transposed as a whole where R is.
  backward({ inputs: [left, right], outputGradients: [gradient], needs, attributes: { heads, transposeRight, scale } }) {
    const product = (a: Tensor, b: Tensor, like: Tensor, transposes: { transposeLeft: boolean; transposeRight: boolean }): Tensor =>
      apply(headProductOp, [a, b], { heads, scale, sideBySide: like.shape.length === 3, ...transposes })[0];
    return [
      needs[0] ? product(gradient!, right!, left!, { transposeLeft: false, transposeRight: !transposeRight }) : undefined,
      needs[1] ? (transposeRight ? product(gradient!, left!, right!, { transposeLeft: true, transposeRight: false }) : product(left!, gradient!, right!, { transposeLeft: true, transposeRight: false })) : undefined,
    ];
  },
  benchCases: [],
});

/**
 * scale · left · right for each head of each image (a strided batched GEMM). An operand is [batch, tokens, heads * size], or
 * [batch, heads, rows, columns].
 *
 * @param options.transposeRight right is stored as [columns, K] in each head
 * @param options.sideBySide the result is [batch, rows, heads * columns] and not [batch, heads, rows, columns]
 */
export function headProduct(left: Tensor, right: Tensor, options: { readonly heads: number; readonly scale?: number; readonly transposeRight?: boolean; readonly sideBySide?: boolean }): Tensor {
  const { heads, scale = 1, transposeRight = false, sideBySide = false } = options;
  return apply(headProductOp, [left, right], { heads, scale, transposeLeft: false, transposeRight, sideBySide })[0];
}
