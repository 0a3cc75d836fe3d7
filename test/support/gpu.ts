import { Gpu } from '../../src/gpu/device.ts';
import type { DType } from '../../src/tensor/dtype.ts';
import { Program } from '../../src/tensor/program.ts';
import { type Shape, type Tensor, freeTensor, readTensor, sizeOf, tensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';

let shared: Promise<Gpu> | undefined;

/** The device that all tests of a process share. */
export function testGpu(): Promise<Gpu> {
  shared ??= Gpu.open();
  return shared;
}

/** Seeded standard-normal-like numbers (sum of uniforms): the same in every run. */
export function randomValues(count: number, seed = 1, scale = 1): Float32Array {
  let state = (seed * 2654435761) >>> 0;
  const uniform = (): number => {
    state = (Math.imul(state ^ (state >>> 15), 2246822519) + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 13), 3266489917) >>> 0;
    mixed = (mixed ^ (mixed >>> 16)) >>> 0;
    return mixed / 2 ** 32;
  };
  return Float32Array.from({ length: count }, () => (uniform() + uniform() + uniform() - 1.5) * 2 * scale);
}

/** A value for an op under test. */
export interface TestInput {
  readonly values: ArrayLike<number>;
  readonly shape: Shape;
  readonly dtype?: DType;
}

/** A random input of a shape. */
export function randomInput(shape: Shape, seed: number, scale = 1, dtype: DType = 'f32'): TestInput {
  return { values: randomValues(sizeOf(shape), seed, scale), shape, dtype };
}

/**
 * Records `build` over the given inputs, runs it once and returns its outputs as f32.
 * All memory that the ops write is NaN before the run, so an element that nobody writes is seen.
 *
 * @param variants forces a variant per op, for example `{ gemm: 'subgroup' }`
 */
export async function evaluate(inputs: readonly TestInput[], build: (...tensors: Tensor[]) => Tensor | Tensor[], variants?: Record<string, string>): Promise<Float32Array[]> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: variants });
  const tensors = inputs.map(({ values, shape, dtype }, i) => tensor(gpu, values, shape, dtype ?? 'f32', `input ${i}`));
  const program = await Program.record(gpu, () => [build(...tensors)].flat(), { poison: true, label: 'test' });
  await program.run();
  const results: Float32Array[] = [];
  for (const output of program.outputs) results.push(await readTensor(gpu, output));
  program.destroy();
  for (const input of tensors) freeTensor(gpu, input);
  return results;
}

/**
 * Fails unless every element is within `tolerance` of the reference, relative to the reference's largest magnitude.
 * NaN and infinity never pass.
 */
export function assertClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  if (actual.length !== expected.length) throw new Error(`${what}: ${actual.length} elements, expected ${expected.length}`);
  let scale = 0;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  let worst = 0;
  let at = -1;
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i] - expected[i]);
    if (!(error <= worst)) {
      worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
      at = i;
      if (worst === Number.POSITIVE_INFINITY) break;
    }
  }
  if (worst > tolerance * scale) {
    throw new Error(`${what}: element ${at} is ${actual[at]}, expected ${expected[at]} (error ${(worst / scale).toExponential(2)} of the largest value, allowed ${tolerance})`);
  }
}
