import { interquartileRange, medianSorted } from 'simple-statistics';
import { UserError } from '../../errors.ts';
import type { Gpu } from '../../gpu/device.ts';
import { gradients } from '../../ops/gradients.ts';
import { type KernelTime, Program } from '../../tensor/program.ts';
import { RandomSource } from '../../tensor/random.ts';
import { Recording, recordInto } from '../../tensor/recording.ts';
import { type Shape, type Tensor, asParameter, declaredTensor, freeTensor, readTensor, sizeOf, tensor } from '../../tensor/tensor.ts';
import type { BenchOptions } from '../bench.ts';
import { type SizeNames, tensorProblem } from '../shapes.ts';

/** A tensor that a computation starts from. */
export interface StudyInput {
  readonly name: string;
  readonly shape: Shape;
  /** Makes what it holds: not before it is known that the sizes can be run. */
  values(): Float32Array;
  /** Stays f32 when the study runs in f16. */
  readonly single?: boolean;
  /** Its gradient is computed in the backward pass. */
  readonly differentiable?: boolean;
}

/** One of the two ways to compute the same. */
export interface Side {
  readonly inputs: readonly StudyInput[];
  /** Records the computation; gradients start from the first result. Both sides give the same results in the same order. */
  build(...inputs: Tensor[]): Tensor[];
  /** Brings the gradients of the differentiable inputs into the form of the other side's; default: they are in it. */
  joinGradients?(gradients: readonly Float32Array[]): readonly Float32Array[];
}

/** A fused kernel beside the chain of single steps that it replaces. */
export interface FusionStudy {
  readonly name: string;
  /** What is in the kernel, and what the chain runs one after the other. */
  readonly fuses: string;
  /** What each number of a case's sizes is. */
  readonly sizeNames: readonly string[];
  readonly cases: readonly { readonly name: string; readonly sizes: readonly number[] }[];
  readonly types: readonly ('f32' | 'f16')[];
  /** Whether fusing changes the backward pass, too. */
  readonly backward: boolean;
  sides(...sizes: number[]): { readonly fused: Side; readonly unfused: Side };
}

/** The passes that are compared; without kernel times the backward pass can only be timed together with the forward one. */
export type Pass = 'forward' | 'backward' | 'forward + backward';

/** What one side takes. */
export interface SideResult {
  /** Median milliseconds of its kernels on the adapter's clock; of the wall clock where it has no timestamps. */
  readonly milliseconds: number;
  /** Interquartile range, in milliseconds. */
  readonly spread: number;
  readonly dispatches: number;
  /** Bytes read and written by the ops, scratch memory included. */
  readonly bytes: number;
  /** Device memory of the intermediates and results of all passes that run. */
  readonly memoryBytes: number;
}

export interface FusionResult {
  readonly study: string;
  readonly case: string;
  readonly sizes: readonly number[];
  readonly dtype: 'f32' | 'f16';
  readonly pass: Pass;
  readonly fused: SideResult;
  readonly unfused: SideResult;
  readonly rounds: number;
  /** Largest difference between the two sides' results, relative to the largest value. */
  readonly difference: number;
}

/** A case that could not be compared. */
export interface FusionFailure extends Pick<FusionResult, 'study' | 'case' | 'sizes' | 'dtype' | 'pass'> {
  /** Why, in words. */
  readonly reason: string;
}

/** Largest difference that is allowed (DESIGN, numbers). */
const tolerances = { f32: { forward: 1e-4, backward: 1e-3 }, f16: { forward: 1e-2, backward: 1e-2 } } as const;

const leastRounds = 5;
const warmUps = 2;

/** Seeded numbers in [low, high). */
export function uniformValues(shape: Shape, seed: number, low = -1, high = 1): Float32Array {
  const random = new RandomSource(seed);
  return Float32Array.from({ length: sizeOf(shape) }, () => random.uniform(low, high));
}

/** A recorded side with its inputs on the device. */
interface Recorded {
  readonly program: Program<readonly Tensor[]>;
  /** Values to compare. */
  results(): Promise<readonly Float32Array[]>;
  /** Whether an op or kernel at that place in the recording belongs to the pass. */
  counts(at: { readonly scope: string }): boolean;
  destroy(): void;
}

/** Makes a tensor of a side: on the device with its values, or declared only. */
type MakeStudyTensor = (values: () => Float32Array, shape: Shape, dtype: 'f32' | 'f16', name: string) => Tensor;

/**
 * Makes the inputs of a side.
 *
 * @returns what records its results, or in a backward pass the gradients of its differentiable inputs
 */
function prepareSide(side: Side, dtype: 'f32' | 'f16', pass: Pass, label: string, make: MakeStudyTensor): () => readonly Tensor[] {
  const forward = pass === 'forward';
  const inputs = side.inputs.map(({ name, shape, values, single, differentiable }) => {
    const made = make(values, shape, single ? 'f32' : dtype, name);
    return differentiable && !forward ? asParameter(made) : made;
  });
  return () => {
    const outputs = side.build(...inputs);
    if (forward) return outputs;
    const { shape, dtype: type } = outputs[0];
    const seed = make(() => uniformValues(shape, 97), shape, type as 'f32' | 'f16', 'output gradient');
    const gradientOf = gradients([{ tensor: outputs[0], gradient: seed }]);
    return inputs.filter((input) => input.requiresGradient).map((input) => {
      const gradient = gradientOf(input);
      if (!gradient) throw new Error(`${label}: no gradient reaches ${input.label}`);
      return gradient;
    });
  };
}

async function record(gpu: Gpu, side: Side, dtype: 'f32' | 'f16', pass: Pass, label: string): Promise<Recorded> {
  const owned: Tensor[] = [];
  const destroy = (): void => {
    for (const unused of owned) freeTensor(gpu, unused);
  };
  try {
    const build = prepareSide(side, dtype, pass, label, (values, shape, type, name) => {
      const made = tensor(gpu, values(), shape, type, name);
      owned.push(made);
      return made;
    });
    const program = await Program.record(gpu, build, { label });
    return {
      program,
      async results() {
        const values: Float32Array[] = [];
        for (const output of program.outputs) values.push(await readTensor(gpu, output));
        return pass === 'forward' || !side.joinGradients ? values : side.joinGradients(values);
      },
      counts: ({ scope }) => pass !== 'backward' || scope.split('/').includes('backward'),
      destroy() {
        program.destroy();
        destroy();
      },
    };
  } catch (error) {
    destroy();
    throw error;
  }
}

/** Largest difference of two lists of results, relative to the largest value of each pair; infinite where one is not a number. */
function largestDifference(actual: readonly Float32Array[], expected: readonly Float32Array[]): number {
  if (actual.length !== expected.length) throw new Error(`one side has ${actual.length} results, the other ${expected.length}`);
  let worst = 0;
  expected.forEach((values, r) => {
    if (actual[r].length !== values.length) throw new Error(`result ${r} has ${actual[r].length} elements on one side, ${values.length} on the other`);
    let largest = 0;
    let error = 0;
    values.forEach((value, i) => {
      largest = Math.max(largest, Math.abs(value));
      const difference = Math.abs(actual[r][i] - value);
      error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, difference);
    });
    if (error > 0) worst = Math.max(worst, error / largest);
  });
  return worst;
}

/** The pass that is compared on a device. @param backward the backward one is wanted, and not the forward one */
export function passOf({ timestamps }: Gpu, backward: boolean): Pass {
  return !backward ? 'forward' : timestamps ? 'backward' : 'forward + backward';
}

/** What the numbers of a study's sizes are; the example is its last case. */
export function sizeNamesOfStudy({ sizeNames, cases }: FusionStudy): SizeNames {
  return { names: sizeNames, example: cases.at(-1)!.sizes };
}

/**
 * Records both sides of a study on tensors without memory: sizes that make no sense, or too much for the adapter, are known before
 * a number is made. What variants need as scratch memory is not looked at.
 *
 * @param sizes one number for each of the study's `sizeNames`
 * @param largestBinding bytes that the adapter can bind at once: no tensor may be larger
 * @throws UserError with what a shape rule objects to, or the tensor that does not fit
 */
export function checkStudy(study: FusionStudy, sizes: readonly number[], dtype: 'f32' | 'f16', pass: Pass, largestBinding: number): void {
  const sides = study.sides(...sizes);
  for (const [name, whose] of [['fused', ''], ['unfused', ' of the chain']] as const) {
    const check = (made: Tensor | undefined): void => {
      const problem = made && tensorProblem(made, largestBinding, whose);
      if (problem) throw new UserError(problem);
    };
    const build = prepareSide(sides[name], dtype, pass, study.name, (_values, shape, type, label) => {
      const made = declaredTensor(shape, type, label);
      check(made);
      return made;
    });
    const recording = new Recording();
    try {
      recordInto(recording, build);
    } catch (error) {
      throw new UserError((error as Error).message);
    }
    for (const { outputs } of recording.ops) outputs.forEach(check);
  }
}

/**
 * Compares both sides of a study: first their results, then, in turns, their times.
 *
 * @param backward compare the backward pass and not the forward one
 * @throws Error when the results differ by more than DESIGN allows: the times would be those of two computations
 * @throws UserError when the sizes make no sense (`checkStudy`) or memory does not suffice
 */
export async function runStudy(
  gpu: Gpu,
  study: FusionStudy,
  given: { readonly name: string; readonly sizes: readonly number[] },
  dtype: 'f32' | 'f16',
  backward: boolean,
  { runs = 50, seconds = 2 }: BenchOptions = {},
): Promise<FusionResult> {
  // A device that an earlier case lost: nothing needs to be made for this one.
  gpu.check();
  const pass = passOf(gpu, backward);
  checkStudy(study, given.sizes, dtype, pass, gpu.device.limits.maxStorageBufferBindingSize);
  const sides = study.sides(...given.sizes);
  const recorded: Recorded[] = [];
  try {
    for (const name of ['fused', 'unfused'] as const) recorded.push(await record(gpu, sides[name], dtype, pass, `${name} ${study.name} ${given.name} ${dtype} ${pass}`));
    const [fused, unfused] = recorded;
    // Once, before anything else runs: some computations change their inputs.
    for (const { program } of recorded) await program.run();
    const difference = largestDifference(await fused.results(), await unfused.results());
    const tolerance = tolerances[dtype][backward ? 'backward' : 'forward'];
    if (!(difference <= tolerance)) throw new Error(`the kernel and the chain differ by ${difference.toExponential(1)} of the largest value, allowed are ${tolerance}`);
    const once = async ({ program, counts }: Recorded): Promise<number> => {
      if (gpu.timestamps) return (await program.time()).reduce((sum, kernel: KernelTime) => sum + (counts(kernel) ? kernel.nanoseconds : 0), 0) / 1e6;
      const start = performance.now();
      await program.run();
      await gpu.finish();
      return performance.now() - start;
    };
    for (let round = 0; round < warmUps; round++) for (const side of recorded) await once(side);
    const times = recorded.map((): number[] => []);
    const start = performance.now();
    while (times[0].length < leastRounds || (times[0].length < runs && performance.now() - start < seconds * 1000)) {
      for (const [i, side] of recorded.entries()) times[i].push(await once(side));
    }
    const [fusedResult, unfusedResult] = recorded.map(({ program, counts }, i): SideResult => {
      const sorted = times[i].sort((a, b) => a - b);
      const ops = program.ops.filter(counts);
      return {
        milliseconds: medianSorted(sorted),
        spread: interquartileRange(sorted),
        dispatches: ops.reduce((sum, { kernels }) => sum + kernels.length, 0),
        bytes: ops.reduce((sum, { cost }) => sum + cost.bytes, 0),
        memoryBytes: program.memory.bytes,
      };
    });
    return { study: study.name, case: given.name, sizes: given.sizes, dtype, pass, fused: fusedResult, unfused: unfusedResult, rounds: times[0].length, difference };
  } finally {
    for (const side of recorded) side.destroy();
  }
}
