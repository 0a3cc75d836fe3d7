import type { Gpu } from '../gpu/device.ts';
import type { DType } from '../tensor/dtype.ts';
import { type KernelCall, type OpCall, type TensorType, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { matrixUnits, padBytes, subgroups } from './subgroup_matrix.ts';
import { checkTypes, single } from './types.ts';

interface AttentionAttributes {
  /** Number of heads; the width is divided evenly among them. */
  readonly heads: number;
  /** True: a token sees itself and those before it. */
  readonly causal: boolean;
}

interface Sizes {
  readonly batch: number;
  readonly tokens: number;
  /** Elements of one head. */
  readonly head: number;
}

function sizesOf(qkv: TensorType, { heads }: AttentionAttributes): Sizes {
  const [batch, tokens, triple] = qkv.shape;
  return { batch, tokens, head: triple / 3 / heads };
}

/** FLOPs of `products` matrix products of tokens x tokens x head in every head; half as many when causal. */
function productFlops(products: number, qkv: TensorType, attributes: AttentionAttributes): number {
  const { batch, tokens, head } = sizesOf(qkv, attributes);
  return (products * 2 * batch * attributes.heads * tokens ** 2 * head) / (attributes.causal ? 2 : 1);
}

function shapeClass([qkv]: readonly (TensorType | undefined)[], attributes: AttentionAttributes): string {
  const { batch, tokens, head } = sizesOf(qkv!, attributes);
  return `${sizeClass(batch * attributes.heads)}x${sizeClass(tokens)}x${head}${attributes.causal ? ' causal' : ''}`;
}

/** The kernels of a rung: `attention/<rung>`, and `attention/<rung>_backward_q` and `attention/<rung>_backward_kv` where it has these. */
type Pass = 'forward' | 'backward_q' | 'backward_kv';

/** How a kernel is compiled and dispatched. */
interface Shape {
  readonly conditions?: Readonly<Record<string, boolean>>;
  readonly constants?: Readonly<Record<string, number>>;
  /** What a kernel's Params hold beside what those of all rungs do. */
  readonly params?: Readonly<Record<string, number>>;
  /** Queries, or keys in backward_kv, of one workgroup. */
  readonly rows: number;
}

/** One way to compute attention and its gradients. */
interface Rung {
  readonly name: string;
  readonly purpose: string;
  readonly reference?: boolean;
  /** undefined where the adapter cannot run it for this head size and type, or where it has no such pass. */
  shape(gpu: Gpu, head: number, pass: Pass, dtype: DType): Shape | undefined;
}

/** The head size as kernels/attention/head_size.wgsl takes it. */
function headConditions(head: number): Record<string, boolean> {
  return Object.fromEntries([8, 16, 32, 64, 128].map((part) => [`head_${part}`, (head & part) !== 0]));
}

const plain: Rung = {
  name: 'plain',
  purpose: 'one invocation per row: the reference, and for adapters with little workgroup memory',
  reference: true,
  shape: (_gpu, head) => ({ constants: { THREADS: 32 }, params: { head4: head / 4 }, rows: 32 }),
};

/** Tile shapes of kernels/attention/tiles.wgsl, best first; the backward kernels keep twice as much per row. */
const tileShapes = {
  forward: [{ rows: 64, columns: 64 }, { rows: 64, columns: 32 }, { rows: 32, columns: 32 }, { rows: 32, columns: 16 }],
  backward: [{ rows: 32, columns: 64 }, { rows: 32, columns: 32 }, { rows: 32, columns: 16 }],
} as const;

const tiled: Rung = {
  name: 'tiled',
  purpose: 'for GPUs: tiles in workgroup memory, small products in registers',
  shape(gpu, head, pass) {
    const limit = gpu.device.limits.maxComputeWorkgroupStorageSize;
    const forward = pass === 'forward';
    const fixedMatrices = forward ? 1 : 2;
    const best = tileShapes[forward ? 'forward' : 'backward'].find(({ rows, columns }) => 4 * (head * (fixedMatrices * rows + columns) + rows * columns) <= limit);
    return best && {
      conditions: { ...headConditions(head), two_fixed: !forward, rows_64: best.rows === 64, columns_64: best.columns === 64, columns_16: best.columns === 16 },
      rows: best.rows,
    };
  },
};

const subgroup: Rung = {
  name: 'subgroup',
  purpose: 'for software adapters: no barrier and no workgroup memory, loads shared through subgroup shuffles',
  shape(gpu, head, pass) {
    const { subgroupMinSize: lanes, subgroupMaxSize } = gpu.adapter;
    if (!gpu.subgroups || lanes !== subgroupMaxSize || ![4, 8, 16].includes(lanes)) return undefined;
    // ROWS in the WGSL.
    const rowsPerLane = (pass === 'backward_kv' ? 2 : 4) / (head <= 64 ? 1 : 2);
    return { conditions: { ...headConditions(head), lanes_4: lanes === 4, lanes_16: lanes === 16 }, params: { head4: head / 4 }, rows: lanes * rowsPerLane };
  },
};

const subgroupMatrix: Rung = {
  name: 'subgroup_matrix',
  purpose: 'for GPUs with matrix units (chromium-experimental-subgroup-matrix); the gradients are those of another variant',
  shape(gpu, head, pass, dtype) {
    const units = matrixUnits(gpu, dtype);
    if (pass !== 'forward' || !units) return undefined;
    // ROWS and PADDED in the WGSL, and the bytes of its three arrays.
    const rows = subgroups * units.M;
    const padded = Math.ceil(head / 16) * 16;
    const storage = (columns: number): number =>
      columns * (padded * units.bytes + padBytes) + rows * (columns * units.bytes + padBytes) + rows * (Math.max(columns, padded) + 4) * 4;
    const columns = [64, 32, 16].find((size) => storage(size) <= gpu.device.limits.maxComputeWorkgroupStorageSize);
    return columns === undefined ? undefined : { conditions: { ...headConditions(head), ...units.conditions, columns_64: columns === 64, columns_16: columns === 16 }, rows };
  },
};

const rungs = [subgroup, tiled, plain];
const forwardRungs = [subgroup, tiled, subgroupMatrix, plain];

function attentionKernel({ gpu, inputs, attributes }: OpCall<AttentionAttributes>, rung: Rung, pass: Pass, bindings: KernelCall['bindings']): KernelCall {
  const { batch, tokens, head } = sizesOf(inputs[0]!, attributes);
  const { conditions, constants, params, rows } = rung.shape(gpu, head, pass, inputs[0]!.dtype)!;
  return {
    kernel: `attention/${rung.name}${pass === 'forward' ? '' : `_${pass}`}`,
    conditions: { f16: inputs[0]!.dtype === 'f16', ...conditions },
    constants,
    bindings,
    params: { tokens, heads: attributes.heads, causal: attributes.causal ? 1 : 0, scale: 1 / Math.sqrt(head), ...params },
    workgroups: [Math.ceil(tokens / rows), attributes.heads, batch],
  };
}

/** The subgroup kernels win on software adapters only: a GPU shares loads through workgroup memory at no such cost. */
function preferred({ gpu, inputs, attributes }: OpCall<AttentionAttributes>, pass: Pass): string {
  const { head } = sizesOf(inputs[0]!, attributes);
  const order = gpu.adapter.software ? [subgroup, tiled] : [tiled];
  return (order.find((rung) => rung.shape(gpu, head, pass, inputs[0]!.dtype)) ?? plain).name;
}

export const attentionOp = defineOp<AttentionAttributes>({
  name: 'attention',
  inputNames: ['qkv'],
  outputs(inputs, attributes) {
    const qkv = inputs[0]!;
    const { batch, tokens, head } = sizesOf(qkv, attributes);
    if (qkv.shape.length !== 3 || !(qkv.dtype === 'f32' || qkv.dtype === 'f16') || !(head % 8 === 0 && head >= 16 && head <= 128)) {
      throw shapeError(
        attentionOp,
        inputs,
        `qkv must be f32 or f16 [batch, tokens, 3 * heads * head size] with a head size of 16 to 128 in steps of 8 (${attributes.heads} heads here)`,
      );
    }
    return [
      { shape: [batch, tokens, qkv.shape[2] / 3], dtype: qkv.dtype },
      { shape: [batch, attributes.heads, tokens], dtype: 'f32' },
    ];
  },
  variants: forwardRungs.map((rung) => ({
    name: rung.name,
    purpose: rung.purpose,
    reference: rung.reference,
    supports: ({ gpu, inputs, attributes }) => rung.shape(gpu, sizesOf(inputs[0]!, attributes).head, 'forward', inputs[0]!.dtype) !== undefined,
    kernels: (call) => [attentionKernel(call, rung, 'forward', { qkv: call.inputs[0]!, output: call.outputs[0], log_sum_exp: call.outputs[1] })],
  })),
  preferred: (call) => preferred(call, 'forward'),
  cost: (inputs, outputs, attributes) => ({ flops: productFlops(2, inputs[0]!, attributes), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  backward({ inputs: [qkv], outputs: [output, logSumExp], outputGradients: [gradient, ofLogSumExp], attributes }) {
    if (!gradient || ofLogSumExp) throw new Error('attention: only its first output has a gradient; log_sum_exp is there for the backward pass');
    return apply(attentionBackwardOp, [qkv, output, logSumExp, gradient], attributes);
  },
  sizes: {
    names: ['batch', 'tokens', 'heads', 'head size'],
    small: [[2, 37, 3, 24], [1, 1, 1, 16], [1, 70, 2, 64]],
    case: (batch, tokens, heads, head) => ({ inputs: [f32(batch, tokens, 3 * heads * head)], attributes: { heads, causal: false } }),
  },
  benchCases: [
    { name: 'ViT-L/14-518', inputs: [{ shape: [1, 1370, 3072], dtype: 'f32' }], attributes: { heads: 16, causal: false } },
    { name: 'ViT-L/14 text', inputs: [{ shape: [2, 77, 2304], dtype: 'f32' }], attributes: { heads: 12, causal: true } },
  ],
});

/** Gradient of `attention`: probabilities are recomputed from log_sum_exp, by rows for q and by columns for k and v. */
export const attentionBackwardOp = defineOp<AttentionAttributes>({
  name: 'attention_backward',
  inputNames: ['qkv', 'output', 'log_sum_exp', 'output gradient'],
  outputs(inputs, attributes) {
    const [qkv] = inputs;
    const [output, logSumExp] = attentionOp.outputs([qkv], attributes);
    checkTypes(attentionBackwardOp, inputs, [qkv, output, logSumExp, output]);
    return [{ shape: qkv!.shape, dtype: qkv!.dtype }];
  },
  variants: rungs.map((rung) => ({
    name: rung.name,
    purpose: rung.purpose,
    reference: rung.reference,
    supports: ({ gpu, inputs, attributes }) => rung.shape(gpu, sizesOf(inputs[0]!, attributes).head, 'backward_kv', inputs[0]!.dtype) !== undefined,
    kernels(call) {
      const [qkv, output, logSumExp, gradient] = call.inputs;
      const { batch, tokens, head } = sizesOf(qkv!, call.attributes);
      const { heads } = call.attributes;
      const rows = batch * heads * tokens;
      const delta = call.scratch([batch, heads, tokens], 'f32');
      const bindings = { qkv: qkv!, output_gradient: gradient!, log_sum_exp: logSumExp!, delta, qkv_gradient: call.outputs[0] };
      return [
        {
          kernel: 'attention/row_dot',
          conditions: { f16: qkv!.dtype === 'f16' },
          bindings: { output: output!, output_gradient: gradient!, delta },
          params: { tokens, heads, rows, head4: head / 4 },
          workgroups: foldWorkgroups(Math.ceil(rows / 64)),
        },
        attentionKernel(call, rung, 'backward_q', bindings),
        attentionKernel(call, rung, 'backward_kv', bindings),
      ];
    },
  })),
  preferred: (call) => preferred(call, 'backward_kv'),
  cost: (inputs, outputs, attributes) => ({ flops: productFlops(5, inputs[0]!, attributes), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  sizes: {
    names: ['batch', 'tokens', 'heads', 'head size'],
    small: [[2, 37, 3, 24], [1, 1, 1, 16]],
    case: (batch, tokens, heads, head) => {
      const output = f32(batch, tokens, heads * head);
      return { inputs: [f32(batch, tokens, 3 * heads * head), output, single(batch, heads, tokens), output], attributes: { heads, causal: false } };
    },
  },
  benchCases: [
    {
      name: 'ViT-L/14-518',
      inputs: [
        { shape: [1, 1370, 3072], dtype: 'f32' },
        { shape: [1, 1370, 1024], dtype: 'f32' },
        single(1, 16, 1370),
        { shape: [1, 1370, 1024], dtype: 'f32' },
      ],
      attributes: { heads: 16, causal: false },
    },
    {
      name: 'ViT-L/14 text',
      inputs: [
        { shape: [2, 77, 2304], dtype: 'f32' },
        { shape: [2, 77, 768], dtype: 'f32' },
        single(2, 12, 77),
        { shape: [2, 77, 768], dtype: 'f32' },
      ],
      attributes: { heads: 12, causal: true },
    },
  ],
});

/**
 * Multi-head self-attention (torch.nn.functional.scaled_dot_product_attention), fused: no tokens x tokens matrix is
 * written in either direction. Online softmax as in FlashAttention (Dao et al. 2022), scale 1/sqrt(head size).
 *
 * @param qkv [batch, tokens, 3 * width]: q, k and v side by side along the last axis, each split into heads
 * @param options.heads number of heads; width / heads is 16 to 128, a multiple of 8
 * @param options.causal whether a token sees only itself and those before it
 * @returns [batch, tokens, width]
 */
export function attention(qkv: Tensor, options: { readonly heads: number; readonly causal: boolean }): Tensor {
  return apply(attentionOp, [qkv], { heads: options.heads, causal: options.causal })[0];
}
