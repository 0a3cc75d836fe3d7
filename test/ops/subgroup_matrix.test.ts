// The subgroup matrix kernels where no adapter has chromium-experimental-subgroup-matrix: Dawn's null backend has every feature,
// runs Dawn's whole WGSL front end, and executes nothing. What they compute is tested in gemm.test.ts and attention.test.ts.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Gpu, type MatrixConfig } from '../../src/gpu/device.ts';
import { kernelSources } from '../../src/gpu/kernels.ts';
import { type PipelineKey, pipelineName } from '../../src/gpu/pipelines.ts';
import { attentionOp } from '../../src/ops/attention.ts';
import { gemmOp } from '../../src/ops/gemm.ts';
import { matrixUnits } from '../../src/ops/subgroup_matrix.ts';
import type { Op, OpCall, TensorType } from '../../src/tensor/op.ts';
import { Tensor } from '../../src/tensor/tensor.ts';
import { errorOf } from '../support/errors.ts';

// Dawn reads it when an adapter is asked for.
process.env.DAWNNODE_BACKEND = 'null';
const nullGpu = await Gpu.open();
const broken = 'gemm/subgroup_matrix_broken';

const f16 = (M: number, N: number, K: number): MatrixConfig => ({ componentType: 'f16', resultComponentType: 'f32', M, N, K });
const f32 = (M: number, N: number, K: number): MatrixConfig => ({ componentType: 'f32', resultComponentType: 'f32', M, N, K });
/** What adapters list: Apple, NVIDIA (three of them), Intel; and the one combination of sides that none of these has. */
const configs = [f32(8, 8, 8), f16(16, 16, 16), f16(16, 8, 16), f16(16, 8, 8), f16(8, 16, 16), f16(8, 8, 8)];

/** The smallest workgroup memory that a GPU with matrix units has. */
const workgroupStorage = 32768;

/** A GPU with matrix units, as far as variants look at it. */
function gpuWith(matrixConfigs: readonly MatrixConfig[], sizes = [32, 32], maxComputeWorkgroupStorageSize = workgroupStorage): Gpu {
  const adapter = { ...nullGpu.adapter, subgroupMinSize: sizes[0], subgroupMaxSize: sizes[1], matrixConfigs };
  return { adapter, subgroups: true, f16: true, device: { limits: { maxComputeWorkgroupStorageSize } } } as unknown as Gpu;
}

function callOf<A>(op: Op<A>, gpu: Gpu, inputs: readonly (TensorType | undefined)[], attributes: A): OpCall<A> {
  const tensorOf = ({ shape, dtype }: TensorType): Tensor => new Tensor(shape, dtype, {} as never);
  return {
    gpu,
    inputs: inputs.map((type) => type && tensorOf(type)),
    outputs: op.outputs(inputs, attributes).map(tensorOf),
    attributes,
    scratch: (shape, dtype) => tensorOf({ shape, dtype }),
  };
}

const supports = <A>(op: Op<A>, variant: string, call: OpCall<A>): boolean => op.variants.find(({ name }) => name === variant)!.supports!(call);

/** Adds the pipelines of one call of a variant to `found`. */
function collect<A>(found: Map<string, PipelineKey>, op: Op<A>, variant: string, call: OpCall<A>): void {
  assert.ok(supports(op, variant, call), `${op.name} ${variant} on ${JSON.stringify(call.gpu.adapter.matrixConfigs)}`);
  for (const { kernel, conditions, constants } of op.variants.find(({ name }) => name === variant)!.kernels(call)) {
    const key = { kernel, conditions, constants };
    found.set(pipelineName(key), key);
  }
}

/**
 * Compiles on the null backend. Its adapter allows the 16 KiB of workgroup memory that every adapter has, and says so last, when
 * nothing else is wrong; a kernel that takes more is one that only runs where there is more.
 */
async function compile(key: PipelineKey, most = workgroupStorage): Promise<void> {
  const { limits } = nullGpu.device;
  try {
    await nullGpu.pipelines.get(key);
  } catch (error) {
    const used = Number(/The total use of workgroup storage \((\d+) bytes\) is larger than the maximum allowed/.exec((error as Error).message)?.[1]);
    if (!(used > limits.maxComputeWorkgroupStorageSize && used <= most)) throw error;
  }
}

const orders = [false, true].flatMap((transposeA) => [false, true].map((transposeB) => ({ transposeA, transposeB })));

type GemmCall = Parameters<typeof gemmOp.cost> extends [unknown, unknown, infer A] ? OpCall<A> : never;

function gemmCall(gpu: Gpu, dtype: 'f32' | 'f16', [m, n, k]: readonly number[], attributes: { transposeA: boolean; transposeB: boolean }, epilogue = false): GemmCall {
  const { transposeA, transposeB } = attributes;
  const type = (...shape: number[]): TensorType => ({ shape, dtype });
  const inputs = [transposeA ? type(k, m) : type(m, k), transposeB ? type(n, k) : type(k, n), ...(epilogue ? [type(n), type(m, n)] : [])];
  return callOf(gemmOp, gpu, inputs, { activation: epilogue ? 'quick_gelu' : 'none', ...attributes });
}

test('the gemm kernels compile for all matrix sizes, types, storage orders and epilogues', async () => {
  const found = new Map<string, PipelineKey>();
  for (const config of configs) {
    for (const dtype of ['f32', 'f16'] as const) {
      if (config.componentType === 'f16' && dtype === 'f32') continue;
      for (const variant of ['subgroup_matrix', 'subgroup_matrix_small']) {
        for (const order of orders) {
          for (const epilogue of [false, true]) collect(found, gemmOp, variant, gemmCall(gpuWith([config]), dtype, [72, 132, 36], order, epilogue));
        }
      }
    }
  }
  for (const key of found.values()) await compile(key);
  assert.is(found.size, 7 * 2 * 4 * 2);
});

test('gemm leaves to others what the matrix kernels are not written for', () => {
  const gpu = gpuWith([f16(16, 16, 16)]);
  const plain = { transposeA: false, transposeB: false };
  const ofA = { transposeA: true, transposeB: false };
  const ofB = { transposeA: false, transposeB: true };
  const runs = (on: Gpu, dtype: 'f32' | 'f16', sizes: readonly number[], order = plain): boolean => supports(gemmOp, 'subgroup_matrix', gemmCall(on, dtype, sizes, order));
  assert.ok(runs(gpu, 'f16', [1, 4, 4]));
  // Axes that are contiguous in memory are multiples of 4, others any.
  assert.ok(!runs(gpu, 'f16', [5, 6, 8]));
  assert.ok(!runs(gpu, 'f16', [8, 8, 7]));
  assert.ok(!runs(gpu, 'f16', [7, 8, 8], ofA));
  assert.ok(runs(gpu, 'f16', [8, 8, 7], ofA));
  assert.ok(!runs(gpu, 'f16', [8, 8, 7], ofB));
  // f32 is not rounded to f16.
  assert.ok(!runs(gpu, 'f32', [8, 8, 8]));
  assert.ok(!runs(gpuWith([f16(16, 16, 16)], [32, 32], 16384), 'f16', [8, 8, 8]));
  assert.ok(!runs(nullGpu, 'f16', [8, 8, 8]));
});

test('the attention kernels compile for all matrix sizes and types and for heads of 16 to 128', async () => {
  const found = new Map<string, PipelineKey>();
  for (const config of configs) {
    for (const dtype of ['f32', 'f16'] as const) {
      if (config.componentType === 'f16' && dtype === 'f32') continue;
      for (const head of [16, 24, 64, 80, 128]) {
        for (const storage of [workgroupStorage, 49152]) {
          const call = callOf(attentionOp, gpuWith([config], [32, 32], storage), [{ shape: [1, 77, 3 * 2 * head], dtype }], { heads: 2, causal: false });
          // Of 16 rows each, four subgroups with heads of 128 do not fit into 32 KiB.
          if (supports(attentionOp, 'subgroup_matrix', call)) collect(found, attentionOp, 'subgroup_matrix', call);
          else assert.ok(config.M === 16 && head >= 80 && storage === workgroupStorage, `${JSON.stringify(config)}, heads of ${head} in ${storage} bytes`);
        }
      }
    }
  }
  for (const key of found.values()) await compile(key, 49152);
  assert.ok(found.size >= 7 * 5, `${found.size} pipelines`);
});

test('the configuration is the driver\'s first that fits', () => {
  const units = (dtype: 'f32' | 'f16', ...of: Parameters<typeof gpuWith>): string | undefined => {
    const found = matrixUnits(gpuWith(...of), dtype);
    return found && `${found.M}x${found.N}x${found.K} of ${found.bytes} bytes`;
  };
  const narrow: MatrixConfig = { ...f16(16, 16, 16), resultComponentType: 'f16' };
  assert.is(units('f16', [narrow, f16(64, 16, 16), f16(16, 8, 16), f16(16, 16, 16)]), '16x8x16 of 2 bytes');
  // Apple sums f16 up in f16, so f16 operands are multiplied as f32 there.
  assert.is(units('f16', [f32(8, 8, 8), { ...narrow, M: 8, N: 8, K: 8 }]), '8x8x8 of 4 bytes');
  assert.is(units('f16', [f32(8, 8, 8), f16(16, 16, 16)]), '16x16x16 of 2 bytes');
  assert.is(units('f32', [f16(16, 16, 16), narrow]), undefined);
  // A subgroup size that varies, or another one.
  assert.is(units('f16', [f16(16, 16, 16)], [32, 64]), undefined);
  assert.is(units('f16', [f16(16, 16, 16)], [64, 64]), undefined);
});

test('a source with an error does not pass', async () => {
  const source = kernelSources()['gemm/subgroup_matrix.wgsl'];
  const errorAfter = async (name: string, from: string, to: string): Promise<string> => {
    assert.ok(source.includes(from));
    kernelSources()[`${broken}_${name}.wgsl`] = source.replace(from, to);
    return (await errorOf(() => compile({ kernel: `${broken}_${name}` }))).message;
  };
  // Factors in the wrong order, the wrong matrix, a place that differs within a subgroup, half a subgroup.
  assert.match(await errorAfter('order', 'Accumulate(rows[r], columns,', 'Accumulate(columns, rows[r],'), /does not compile: .*no matching call to 'subgroupMatrixMultiplyAccumulate/);
  assert.match(await errorAfter('type', 'subgroupMatrixLoad<Left, row_major>', 'subgroupMatrixLoad<Right, row_major>'), /does not compile: .*return statement type/);
  assert.match(await errorAfter('uniformity', 'let own = subgroup ', 'let own = lane '), /does not compile: .*'subgroupMatrixStore' requires argument 1 to be uniform/);
  assert.match(await errorAfter('workgroup', '@workgroup_size(THREADS)', '@workgroup_size(16)'), /x-dimension of workgroup_size \(16\) must be a multiple/);
});

test.after(() => nullGpu.close());
test.run();
