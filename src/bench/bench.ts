import { interquartileRange, median } from 'simple-statistics';
import type { Gpu } from '../gpu/device.ts';
import { type BoundSequence, bindSequence, runSequence, timeSequence } from '../gpu/commands.ts';
import { isSingle } from '../ops/types.ts';
import type { DType } from '../tensor/dtype.ts';
import type { BenchCase, BenchInput, Op, OpCall, TensorType } from '../tensor/op.ts';
import { Program } from '../tensor/program.ts';
import { apply, plannedTensor } from '../tensor/recording.ts';
import { type Tensor, bufferOf, emptyTensor, freeTensor, writeTensor } from '../tensor/tensor.ts';
import { type VariantPolicy, configureVariants, fillWithNoise } from '../tensor/variants.ts';

/** How long to measure. */
export interface BenchOptions {
  /** Timed runs at most. */
  readonly runs?: number;
  /** Seconds after which a case has enough runs, but for the least number. */
  readonly seconds?: number;
  /** Timed runs at least. */
  readonly leastRuns?: number;
}

const warmUps = 2;

/** Distribution of a case's times. */
export interface Timing {
  /** Milliseconds of each run, as they came. */
  readonly times: readonly number[];
  readonly wallTimes: readonly number[];
  /** Median milliseconds on the adapter's clock; of the wall clock where it has no timestamps. */
  readonly milliseconds: number;
  /** Interquartile range, in milliseconds. */
  readonly spread: number;
  /** Median milliseconds from submission to completion as the host sees it. */
  readonly wallMilliseconds: number;
  readonly runs: number;
}

/** One measured case. */
export interface BenchResult extends Timing {
  readonly op: string;
  readonly case: string;
  readonly variant: string;
  readonly dtype: string;
  readonly flops: number;
  readonly bytes: number;
}

/** GFLOP/s of a result. */
export function gigaflops({ flops, milliseconds }: Pick<BenchResult, 'flops' | 'milliseconds'>): number {
  return flops / milliseconds / 1e6;
}

/** GB/s of a result: bytes that must be moved at least once. */
export function gigabytes({ bytes, milliseconds }: Pick<BenchResult, 'bytes' | 'milliseconds'>): number {
  return bytes / milliseconds / 1e6;
}

/** Repeats `gpuRun` (GPU milliseconds) and `wallRun` until the options are satisfied. */
async function measure(gpuRun: () => Promise<number>, wallRun: () => Promise<void>, timestamps: boolean, { runs = 50, seconds = 2, leastRuns = 5 }: BenchOptions): Promise<Timing> {
  for (let run = 0; run < warmUps; run++) await wallRun();
  const wall: number[] = [];
  const gpu: number[] = [];
  const start = performance.now();
  while (wall.length < leastRuns || (wall.length < runs && performance.now() - start < seconds * 1000)) {
    const before = performance.now();
    await wallRun();
    wall.push(performance.now() - before);
    gpu.push(timestamps ? await gpuRun() : wall[wall.length - 1]);
  }
  return timingOf(gpu, wall);
}

/** Sums up runs. */
export function timingOf(times: readonly number[], wallTimes: readonly number[]): Timing {
  return { times, wallTimes, milliseconds: median([...times]), spread: interquartileRange([...times]), wallMilliseconds: median([...wallTimes]), runs: times.length };
}

/**
 * A case, which an op's file states in f32, in an element type: every input that is not `single`, and the type of the result
 * where an attribute names it.
 *
 * @returns undefined where nothing of the case is of another type in f16; whether the op takes f16 is for its shape rule to say
 */
export function inType<A>(benchCase: BenchCase<A>, dtype: 'f32' | 'f16'): BenchCase<A> | undefined {
  if (dtype === 'f32') return benchCase;
  const turns = (input: BenchInput | undefined): input is BenchInput => input?.dtype === 'f32' && !isSingle(input);
  const { dtype: resultType } = benchCase.attributes as { readonly dtype?: unknown };
  if (resultType !== 'f32' && !benchCase.inputs.some(turns)) return undefined;
  return {
    ...benchCase,
    inputs: benchCase.inputs.map((input) => (turns(input) ? { ...input, dtype } : input)),
    attributes: resultType === 'f32' ? { ...benchCase.attributes, dtype } : benchCase.attributes,
  };
}

/** The element type that a case is timed in: that of the inputs that `inType` turns, of the result where there are none, u32 without numbers. */
function typeOf<A>(op: Op<A>, { inputs, attributes }: BenchCase<A>): DType {
  const isNumber = (type: TensorType | undefined): boolean => type?.dtype === 'f32' || type?.dtype === 'f16';
  const turned = inputs.find((input) => input && isNumber(input) && !isSingle(input));
  return (turned ?? op.outputs(inputs, attributes).find(isNumber))?.dtype ?? 'u32';
}

/** A case as variants see it, without device memory; undefined where the op's shape rule or the adapter refuses its element type. */
function callOf<A>(gpu: Gpu, op: Op<A>, { inputs, attributes }: BenchCase<A>): OpCall<A> | undefined {
  let outputs: readonly TensorType[];
  try {
    outputs = op.outputs(inputs, attributes);
  } catch {
    return undefined;
  }
  if (!gpu.f16 && [...inputs, ...outputs].some((type) => type?.dtype === 'f16')) return undefined;
  const tensorOf = (type: TensorType): Tensor => plannedTensor(type.shape, type.dtype, 'bench');
  return { gpu, inputs: inputs.map((input) => input && tensorOf(input)), outputs: outputs.map(tensorOf), attributes, scratch: (shape, dtype) => plannedTensor(shape, dtype, 'scratch') };
}

/** Names of the variants that run on a device for a case; none where the op takes no such element type. */
export function variantsFor<A>(gpu: Gpu, op: Op<A>, given: BenchCase<A>): string[] {
  const call = callOf(gpu, op, given);
  return call ? op.variants.filter((variant) => variant.supports?.(call) ?? true).map(({ name }) => name) : [];
}

/** Name of the variant that a model would run for a case, none where the op takes no such element type. */
export async function chosenVariant<A>(gpu: Gpu, op: Op<A>, given: BenchCase<A>, policy: VariantPolicy): Promise<string[]> {
  const call = callOf(gpu, op, given);
  return call ? [(await configureVariants(gpu, policy).choose(op, call)).name] : [];
}

/** Times one variant of an op on one case. */
export async function benchCase<A>(gpu: Gpu, op: Op<A>, given: BenchCase<A>, variant: string, options: BenchOptions = {}): Promise<BenchResult> {
  configureVariants(gpu, { mode: 'default', forced: { [op.name]: variant } });
  const inputs = given.inputs.map((input, i) => input && emptyTensor(gpu, input.shape, input.dtype, op.inputNames[i] ?? `input ${i}`));
  try {
    inputs.forEach((input, i) => {
      const values = given.inputs[i]?.values;
      if (input && values) writeTensor(gpu, input, values());
      else if (input) fillWithNoise(gpu, input, i);
    });
    const program = await Program.record(gpu, () => apply(op, inputs, given.attributes), { label: `${op.name} ${given.name}` });
    const timing = await measure(
      async () => (await program.time()).reduce((sum, { nanoseconds }) => sum + nanoseconds, 0) / 1e6,
      async () => {
        await program.run();
        await gpu.finish();
      },
      gpu.timestamps,
      options,
    );
    program.destroy();
    const { flops, bytes } = op.cost(given.inputs, op.outputs(given.inputs, given.attributes), given.attributes);
    return { op: op.name, case: given.name, variant, dtype: typeOf(op, given), flops, bytes, ...timing };
  } finally {
    for (const input of inputs) if (input) freeTensor(gpu, input);
  }
}

/** Counts the changes of what kernels/bench/copy and multiply_add reach. */
export const ceilingsVersion = 2;

/** What an adapter can do at most, measured: every kernel is held against it. */
export interface Ceilings {
  /** GB/s of a copy. */
  readonly gigabytes: number;
  /** GFLOP/s of multiply-adds in registers. */
  readonly gigaflops: number;
  /** Version of the kernels that measured them: what they reach on one adapter differs. */
  readonly version: number;
}

/** One run of each kernel that measures a ceiling, in milliseconds. */
export interface CeilingTimes {
  readonly copy: number;
  readonly multiplyAdd: number;
}

/** The kernels that measure the ceilings, ready to run: at the start of a benchmark, and between its cases to see the adapter's speed drift. */
export interface CeilingProbe {
  measure(options?: BenchOptions): Promise<Ceilings>;
  /** Medians of a few runs, when they have run before. */
  sample(runs: number): Promise<CeilingTimes>;
  close(): void;
}

/** Makes the kernels and the memory of the ceilings. */
export async function openCeilingProbe(gpu: Gpu): Promise<CeilingProbe> {
  // Several times the cache of a large GPU, and some tenths of a millisecond of work for it.
  const bytes = Math.min((gpu.adapter.software ? 64 : 256) << 20, gpu.device.limits.maxStorageBufferBindingSize);
  const source = emptyTensor(gpu, [bytes / 4], 'f32', 'copy source');
  const target = emptyTensor(gpu, [bytes / 4], 'f32', 'copy target');
  fillWithNoise(gpu, source);
  const sliceOf = (tensor: Tensor, size: number) => ({ buffer: bufferOf(tensor), offset: 0, size, dtype: 'f32' as const, description: tensor.label });
  const vectors = bytes / 16;
  // Invocations of a workgroup, and what each moves, as in the kernel.
  const groups = Math.ceil(vectors / (64 * 8));
  // Enough invocations to fill a large GPU, few enough that a CPU answers in a fraction of a second.
  const invocations = gpu.adapter.software ? 1 << 12 : 1 << 20;
  const rounds = 2048;
  const bind = (request: Parameters<typeof bindSequence>[1][number]) => bindSequence(gpu, [request], request.kernel);
  const copy = await bind({ kernel: 'bench/copy', slices: { input: sliceOf(source, bytes), output: sliceOf(target, bytes) }, params: { size: vectors }, workgroups: [Math.min(groups, 32768), Math.ceil(groups / 32768)] });
  const multiplyAdd = await bind({ kernel: 'bench/multiply_add', slices: { output: sliceOf(target, invocations * 4) }, params: { rounds, factor: 0.5 }, workgroups: [invocations / 64] });
  const wallRun = async (sequence: BoundSequence): Promise<void> => {
    await runSequence(gpu, sequence, 'ceiling');
    await gpu.finish();
  };
  const gpuRun = async (sequence: BoundSequence): Promise<number> => (await timeSequence(gpu, sequence, 'ceiling'))[0] / 1e6;
  const time = async (sequence: BoundSequence, options: BenchOptions): Promise<number> => (await measure(() => gpuRun(sequence), () => wallRun(sequence), gpu.timestamps, options)).milliseconds;
  const once = async (sequence: BoundSequence): Promise<number> => {
    if (gpu.timestamps) return gpuRun(sequence);
    const start = performance.now();
    await wallRun(sequence);
    return performance.now() - start;
  };
  const middle = async (sequence: BoundSequence, runs: number): Promise<number> => {
    const times: number[] = [];
    while (times.length < runs) times.push(await once(sequence));
    return median(times);
  };
  return {
    async measure(options = {}) {
      const [copyTime, multiplyAddTime] = [await time(copy, options), await time(multiplyAdd, options)];
      return { gigabytes: (2 * bytes) / copyTime / 1e6, gigaflops: (16 * rounds * invocations) / multiplyAddTime / 1e6, version: ceilingsVersion };
    },
    async sample(runs) {
      return { copy: await middle(copy, runs), multiplyAdd: await middle(multiplyAdd, runs) };
    },
    close() {
      for (const { uniforms } of [copy, multiplyAdd]) uniforms?.destroy();
      for (const unused of [source, target]) freeTensor(gpu, unused);
    },
  };
}

/** Measures the ceilings. */
export async function measureCeilings(gpu: Gpu, options: BenchOptions = {}): Promise<Ceilings> {
  const probe = await openCeilingProbe(gpu);
  try {
    return await probe.measure(options);
  } finally {
    probe.close();
  }
}

/** Share of what the adapter could reach on a case, from 0 to 1: the roofline. */
export function rooflineShare(result: BenchResult, ceilings: Ceilings): number {
  const atLeast = Math.max(result.flops / (ceilings.gigaflops * 1e6), result.bytes / (ceilings.gigabytes * 1e6));
  return atLeast / result.milliseconds;
}
