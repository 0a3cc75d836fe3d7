import { gradients } from '../../src/ops/gradients.ts';
import { Program } from '../../src/tensor/program.ts';
import { type Tensor, asParameter, freeTensor, readTensor, tensor, writeTensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { type TestInput, assertClose, randomValues, testGpu } from './gpu.ts';

/** What `assertGradients` may be told. */
export interface GradientOptions {
  /** Step of the central difference, absolute; choose it near (f32 epsilon)^(1/3) times the inputs' scale. */
  readonly step?: number;
  /** Allowed error relative to the largest gradient of the input. */
  readonly tolerance?: number;
  /** Which inputs to check; default: all of type f32. */
  readonly wanted?: readonly number[];
  /** At most so many elements of each input are perturbed, spread evenly; default 24. */
  readonly elements?: number;
  readonly variants?: Record<string, string>;
}

/**
 * Checks the recorded backward pass of `build` against central differences of its forward pass: the scalar is the sum
 * of all outputs times fixed random weights, formed in float64 on the host. Every element of each gradient must be
 * written (memory is NaN before the run), and the perturbed ones must agree.
 */
export async function assertGradients(inputs: readonly TestInput[], build: (...tensors: Tensor[]) => Tensor | Tensor[], options: GradientOptions = {}): Promise<void> {
  const { step = 1e-2, tolerance = 5e-3, elements = 24 } = options;
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: options.variants });
  const wanted = options.wanted ?? inputs.flatMap((input, i) => ((input.dtype ?? 'f32') === 'f32' ? [i] : []));
  const tensors = inputs.map(({ values, shape, dtype }, i) => {
    const made = tensor(gpu, values, shape, dtype ?? 'f32', `input ${i}`);
    return wanted.includes(i) ? asParameter(made) : made;
  });
  const seeds: Tensor[] = [];
  const forward = await Program.record(gpu, () => [build(...tensors)].flat(), { poison: true, label: 'forward' });
  const weights = forward.outputs.map((output, i) => randomValues(output.size, 1000 + i));
  const scalar = async (): Promise<number> => {
    await forward.run();
    let sum = 0;
    for (const [i, output] of forward.outputs.entries()) {
      const values = await readTensor(gpu, output);
      for (let j = 0; j < values.length; j++) sum += values[j] * weights[i][j];
    }
    return sum;
  };
  forward.outputs.forEach((output, i) => seeds.push(tensor(gpu, weights[i], output.shape, output.dtype, `seed ${i}`)));
  const backwardProgram = await Program.record(
    gpu,
    () => {
      const outputs = [build(...tensors)].flat();
      const gradientOf = gradients(outputs.map((output, i) => ({ tensor: output, gradient: seeds[i] })));
      return wanted.map((i) => {
        const gradient = gradientOf(tensors[i]);
        if (!gradient) throw new Error(`no gradient reaches input ${i}`);
        return gradient;
      });
    },
    { poison: true, label: 'backward' },
  );
  await backwardProgram.run();
  const analytic: Float32Array[] = [];
  for (const gradient of backwardProgram.outputs) analytic.push(await readTensor(gpu, gradient));
  for (const [k, i] of wanted.entries()) {
    if (analytic[k].some((value) => !Number.isFinite(value))) throw new Error(`gradient of input ${i} has elements that are not finite or were never written`);
    const values = Float32Array.from(inputs[i].values);
    const count = Math.min(elements, values.length);
    const expected: number[] = [];
    const got: number[] = [];
    for (let e = 0; e < count; e++) {
      const at = Math.floor((e * values.length) / count);
      const original = values[at];
      const sides: number[] = [];
      const reached: number[] = [];
      for (const sign of [1, -1]) {
        values[at] = original + sign * step;
        reached.push(values[at]);
        writeTensor(gpu, tensors[i], values);
        sides.push(await scalar());
      }
      values[at] = original;
      // The step that f32 really made, not the one asked for.
      expected.push((sides[0] - sides[1]) / (reached[0] - reached[1]));
      got.push(analytic[k][at]);
    }
    writeTensor(gpu, tensors[i], values);
    assertClose(got, expected, tolerance, `gradient of input ${i}`);
  }
  forward.destroy();
  backwardProgram.destroy();
  for (const unused of [...tensors, ...seeds]) freeTensor(gpu, unused);
}
