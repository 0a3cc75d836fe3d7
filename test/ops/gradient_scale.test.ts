import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { adam, adamConstants } from '../../src/ops/adam.ts';
import { gradientScale } from '../../src/ops/gradient_scale.ts';
import { sumSquares } from '../../src/ops/sum_squares.ts';
import { Program } from '../../src/tensor/program.ts';
import { freeTensor, readTensor, tensor, writeTensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { assertClose, randomValues, testGpu } from '../support/gpu.ts';

/** Scale, norm and flag for gradients of the given sizes; what torch.nn.utils.clip_grad_norm_ would make of them. */
async function scaleOf(gradients: readonly Float32Array[], lossScale: number, largest: number, variant: string): Promise<{ output: Float32Array; norms: Float32Array }> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: { sum_squares: variant, gradient_scale: variant } });
  const norms = tensor(gpu, new Float32Array(gradients.length).fill(Number.NaN), [gradients.length]);
  const limits = tensor(gpu, [lossScale, largest], [2]);
  const tensors = gradients.map((values) => tensor(gpu, values, [values.length]));
  const program = await Program.record(
    gpu,
    () => {
      tensors.forEach((gradient, i) => sumSquares(gradient, norms, i));
      return gradientScale(norms, limits);
    },
    { poison: true, label: 'clip' },
  );
  await program.run();
  const result = { output: await readTensor(gpu, program.outputs), norms: await readTensor(gpu, norms) };
  program.destroy();
  for (const unused of [norms, limits, ...tensors]) freeTensor(gpu, unused);
  return result;
}

const sizes = [1, 7, 1024, 4099, 20000];
const gradients = sizes.map((size, i) => randomValues(size, i + 1, 10 ** (i - 3)));
const squares = gradients.map((values) => values.reduce((sum, value) => sum + value ** 2, 0));

for (const variant of ['workgroup', 'subgroup']) {
  test(`sum_squares and gradient_scale, ${variant}`, async () => {
    for (const lossScale of [1, 1024]) {
      const norm = Math.sqrt(squares.reduce((a, b) => a + b, 0)) / lossScale;
      for (const largest of [0, norm / 3, norm * 3]) {
        const { output, norms } = await scaleOf(gradients, lossScale, largest, variant);
        norms.forEach((value, i) => assertClose([value], [squares[i]], 1e-6, `squares of ${sizes[i]}`));
        const factor = largest > 0 ? Math.min(1, largest / (norm + 1e-6)) : 1;
        assertClose([output[0]], [factor / lossScale], 1e-6, 'scale');
        assertClose([output[1]], [norm], 1e-6, 'norm');
        assert.is(output[2], 1);
      }
    }
  });

  test(`gradient_scale of gradients that are zero, ${variant}`, async () => {
    const { output } = await scaleOf([new Float32Array(5)], 1, 1, variant);
    assert.equal([...output], [1, 0, 1]);
  });

  test(`gradient_scale is 0 when a gradient is not finite or its square overflows, ${variant}`, async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e30]) {
      const spoiled = gradients.map((values, i) => (i === 3 ? Float32Array.from(values).fill(bad, 4000, 4001) : values));
      const { output } = await scaleOf(spoiled, 8, 1, variant);
      assert.is(output[0], 0);
      assert.is(output[2], 0);
    }
  });
}

test('a recorded update skips the overflowed step and makes the next one', async () => {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default' });
  const size = 131;
  const start = randomValues(size, 1);
  const [parameter, gradient] = [tensor(gpu, start, [size]), tensor(gpu, start, [size])];
  const [first, second] = [tensor(gpu, new Float32Array(size), [size]), tensor(gpu, new Float32Array(size), [size])];
  const [constants, norms, limits] = [tensor(gpu, new Float32Array(8), [8]), tensor(gpu, [0], [1]), tensor(gpu, [0, 0], [2])];
  const program = await Program.record(
    gpu,
    () => {
      sumSquares(gradient, norms, 0);
      const scale = gradientScale(norms, limits);
      adam(parameter, gradient, first, second, constants, scale, { decoupled: false });
      return scale;
    },
    { poison: true, label: 'update' },
  );
  writeTensor(gpu, constants, adamConstants({ step: 1, learningRate: 0.1, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, decoupled: false }));
  writeTensor(gpu, limits, [2 ** 16, 0]);
  writeTensor(gpu, gradient, randomValues(size, 2).fill(Number.POSITIVE_INFINITY, 130));
  await program.run();
  assert.is((await readTensor(gpu, program.outputs))[2], 0);
  assert.equal(await readTensor(gpu, parameter), start);
  assert.equal(await readTensor(gpu, second), new Float32Array(size));
  const values = randomValues(size, 2).map((value) => value * 2 ** 15);
  writeTensor(gpu, limits, [2 ** 15, 0]);
  writeTensor(gpu, gradient, values);
  await program.run();
  assert.is((await readTensor(gpu, program.outputs))[2], 1);
  // Adam's first step is the learning rate in the direction against the gradient.
  assertClose(await readTensor(gpu, parameter), start.map((value, i) => value - 0.1 * Math.sign(values[i])), 1e-5, 'parameter');
  program.destroy();
  for (const unused of [parameter, gradient, first, second, constants, norms, limits]) freeTensor(gpu, unused);
});

test.run();
