/** An input of a case: filled with the same numbers for every engine (`noise`). */
export interface PeerInput {
  readonly shape: readonly number[];
  /** Numbers are spread evenly from -scale to scale. */
  readonly scale: number;
}

/** One computation that every engine is asked for. */
export interface PeerCase {
  readonly name: string;
  /** For people. */
  readonly title: string;
  readonly inputs: Readonly<Record<string, PeerInput>>;
  /** Windows and the like, for the engines' programs. */
  readonly attributes: Readonly<Record<string, number>>;
  /** Floating-point operations of one run, by the textbook. */
  readonly flops: number;
  /** Bytes of the inputs and outputs of one run. */
  readonly bytes: number;
  /** What its speed is counted in: what bounds it. */
  readonly unit: 'GFLOP/s' | 'GB/s';
  /** How many runs are submitted before the host waits, so that waiting does not count: a GPU needs more of them. */
  readonly repeats: { readonly software: number; readonly gpu: number };
}

/** ViT-L/14 with 518 × 518 pixels: 37 × 37 patches and the class token. */
const [tokens, side, width, heads, mlpWidth, joint] = [1370, 37, 1024, 16, 4096, 768];

const floats = (...shapes: (readonly number[])[]): number => 4 * shapes.reduce((sum, shape) => sum + shape.reduce((a, b) => a * b, 1), 0);
/** Weights under which activations keep their size. */
const weight = (rows: number, columns: number): PeerInput => ({ shape: [rows, columns], scale: Math.sqrt(3 / rows) });
const vector = (size: number, scale = 0.5): PeerInput => ({ shape: [size], scale });

function product(name: string, rows: number, inner: number, columns: number): PeerCase {
  return {
    name,
    title: `GEMM ${rows} × ${inner} × ${columns}`,
    inputs: { a: { shape: [rows, inner], scale: 1 }, b: { shape: [inner, columns], scale: 1 } },
    attributes: {},
    flops: 2 * rows * inner * columns,
    bytes: floats([rows, inner], [inner, columns], [rows, columns]),
    unit: 'GFLOP/s',
    repeats: { software: 1, gpu: 50 },
  };
}

function convolution(size: number, window: number, channels: number, columns: number, stride: number): PeerCase {
  const padding = (window - 1) / 2;
  const out = Math.floor((size + 2 * padding - window) / stride) + 1;
  const area = window * window * channels;
  return {
    name: `convolution_${window}x${window}`,
    title: `Convolution ${window} × ${window}${stride > 1 ? ` / ${stride}` : ''}, ${size} × ${size}, ${channels} → ${columns}`,
    inputs: { input: { shape: [size, size, channels], scale: 1 }, weight: { shape: [window, window, channels, columns], scale: Math.sqrt(3 / area) }, bias: vector(columns) },
    attributes: { size, window, channels, columns, stride, padding, out },
    flops: 2 * out * out * columns * area,
    bytes: floats([size, size, channels], [area, columns], [columns], [out, out, columns]),
    unit: 'GFLOP/s',
    repeats: { software: 4, gpu: 50 },
  };
}

/** Every case, in the order of the table. Shapes of images are [height, width, channels], of their windows [height, width, channels, columns]. */
export const peerCases: readonly PeerCase[] = [
  product('gemm', tokens, width, width),
  product('gemm_mlp', tokens, width, mlpWidth),
  {
    name: 'attention',
    title: `Attention ${heads} × ${tokens} × ${width / heads}`,
    // Large enough that the softmax is not flat.
    inputs: { qkv: { shape: [tokens, 3 * width], scale: 2 } },
    attributes: { tokens, width, heads },
    flops: 4 * tokens * tokens * width,
    bytes: floats([tokens, 3 * width], [tokens, width]),
    unit: 'GFLOP/s',
    repeats: { software: 1, gpu: 20 },
  },
  {
    name: 'layer_norm',
    title: `LayerNorm ${tokens} × ${width}`,
    inputs: { input: { shape: [tokens, width], scale: 1 }, weight: vector(width, 1), bias: vector(width) },
    attributes: {},
    flops: 8 * tokens * width,
    bytes: floats([tokens, width], [width], [width], [tokens, width]),
    unit: 'GB/s',
    repeats: { software: 5, gpu: 100 },
  },
  {
    name: 'softmax',
    title: `Softmax ${heads} × ${tokens} × ${tokens}`,
    // The scores of an attention that is not fused.
    inputs: { input: { shape: [heads, tokens, tokens], scale: 8 } },
    attributes: { tokens, heads },
    flops: 4 * heads * tokens * tokens,
    bytes: 2 * floats([heads, tokens, tokens]),
    unit: 'GB/s',
    repeats: { software: 1, gpu: 20 },
  },
  convolution(56, 3, 64, 64, 1),
  convolution(224, 7, 3, 64, 2),
  {
    name: 'average_pool',
    title: `Average pooling 3 × 3, ${side} × ${side} × ${width}`,
    inputs: { input: { shape: [side, side, width], scale: 1 } },
    attributes: { size: side, channels: width, window: 3 },
    flops: 9 * side * side * width,
    bytes: 2 * floats([side, side, width]),
    unit: 'GB/s',
    repeats: { software: 5, gpu: 100 },
  },
  {
    name: 'vit_block',
    title: `Block of ViT-L, ${tokens} tokens`,
    inputs: {
      input: { shape: [tokens, width], scale: 1 },
      'norm1.weight': vector(width, 1),
      'norm1.bias': vector(width),
      'qkv.weight': weight(width, 3 * width),
      'qkv.bias': vector(3 * width),
      'out.weight': weight(width, width),
      'out.bias': vector(width),
      'norm2.weight': vector(width, 1),
      'norm2.bias': vector(width),
      'fc1.weight': weight(width, mlpWidth),
      'fc1.bias': vector(mlpWidth),
      'fc2.weight': weight(mlpWidth, width),
      'fc2.bias': vector(width),
    },
    attributes: { tokens, width, heads },
    flops: 2 * tokens * width * (4 * width + 2 * mlpWidth) + 4 * tokens * tokens * width,
    bytes: floats([2 * tokens, width], [width, 4 * width], [width, 2 * mlpWidth]),
    unit: 'GFLOP/s',
    repeats: { software: 1, gpu: 10 },
  },
  {
    name: 'mlp_gradient',
    title: `Gradient of an MLP, ${tokens} × ${width} → ${width} → ${joint}`,
    // An adapter of MFP-CLIP: two Linears, each with LeakyReLU; the gradient of both weights and biases.
    inputs: {
      input: { shape: [tokens, width], scale: 1 },
      'fc1.weight': weight(width, width),
      'fc1.bias': vector(width),
      'fc2.weight': weight(width, joint),
      'fc2.bias': vector(joint),
      gradient: { shape: [tokens, joint], scale: 1 },
    },
    attributes: {},
    // Two products forward; back, one for each weight and one for the hidden layer.
    flops: 2 * tokens * width * (2 * (width + joint) + joint),
    bytes: floats([tokens, width], [tokens, joint], [2 * width, width], [2 * width, joint]),
    unit: 'GFLOP/s',
    repeats: { software: 1, gpu: 20 },
  },
];

/** 32 well mixed bits of a number. */
function mix(index: number): number {
  let bits = index >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d);
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
  return (bits ^ (bits >>> 16)) >>> 0;
}

const golden = 0x9e3779b9;

/** The numbers of input number `seed` of a case; `torch_cpu.py` has the same. */
export function noise({ shape, scale }: PeerInput, seed: number): Float32Array {
  const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
  const start = Math.imul(seed + 1, golden);
  for (let i = 0; i < values.length; i++) values[i] = (mix(i + start) / 2 ** 31 - 1) * scale;
  return values;
}

/** All inputs of a case. */
export function inputsOf({ inputs }: Pick<PeerCase, 'inputs'>): Record<string, Float32Array> {
  return Object.fromEntries(Object.entries(inputs).map(([name, input], seed) => [name, noise(input, seed)]));
}

/** Elements of an output at scattered places, by which the engines' results are compared. */
export function sample(values: ArrayLike<number>, count = 256): number[] {
  return Array.from({ length: count }, (_, i) => values[Math.floor((mix(i + golden) / 2 ** 32) * values.length)]);
}

/** The same elements with their axes in another order, as `numpy.transpose` does it. */
export function transposed(values: Float32Array, shape: readonly number[], order: readonly number[]): Float32Array {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const result = new Float32Array(values.length);
  let next = 0;
  const walk = (axis: number, offset: number): void => {
    const step = strides[order[axis]];
    const size = shape[order[axis]];
    if (axis === order.length - 1) for (let i = 0; i < size; i++) result[next++] = values[offset + i * step];
    else for (let i = 0; i < size; i++) walk(axis + 1, offset + i * step);
  };
  walk(0, 0);
  return result;
}

/** Queries, keys and values of the attention case, each [heads, tokens, width of a head]. */
export function splitHeads(qkv: Float32Array, { tokens, width, heads }: Readonly<Record<string, number>>): Float32Array[] {
  const parts = transposed(qkv, [tokens, 3, heads, width / heads], [1, 2, 0, 3]);
  return [0, 1, 2].map((part) => parts.subarray(part * tokens * width, (part + 1) * tokens * width));
}
