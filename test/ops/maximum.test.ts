import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gradients } from '../../src/ops/gradients.ts';
import { maximum, maximumOp } from '../../src/ops/maximum.ts';
import { fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';
import { Program } from '../../src/tensor/program.ts';
import { asParameter, freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { evaluate, randomInput, randomValues, testGpu } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

const variants = maximumOp.variants.map((variant) => variant.name);

/** Gradient of `maximum` for seeds 1, 2, 3, ... of the rows. */
async function gradientOf(values: ArrayLike<number>, shape: readonly number[], dtype: 'f32' | 'f16', variant: string): Promise<Float32Array> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: { maximum: variant, maximum_backward: variant } });
  const input = asParameter(tensor(gpu, values, shape, dtype));
  const seed = tensor(gpu, Array.from({ length: shape[0] }, (_, i) => i + 1), [shape[0]]);
  const program = await Program.record(gpu, () => gradients([{ tensor: maximum(input), gradient: seed }])(input), { poison: true });
  await program.run();
  const result = await readTensor(gpu, program.outputs!);
  program.destroy();
  for (const unused of [input, seed]) freeTensor(gpu, unused);
  return result;
}

// One chunk and several, with and without four elements at a time, the last chunk of one item.
for (const shape of [[1, 1], [3, 1, 2], [2, 7, 5], [4, 512], [1, 513], [3, 31, 33], [2, 43, 49], [2, 2052]]) {
  const size = shape.slice(1).reduce((a, b) => a * b, 1);
  for (const variant of variants) {
    for (const dtype of ['f32', 'f16'] as const) {
      test(`maximum of [${shape.join(', ')}] ${dtype} ${variant}`, async () => {
        // All negative, so that a zero from anywhere else would be seen.
        const values = randomValues(shape[0] * size, 1).map((value) => -5 - value);
        const stored = values.map((value) => (dtype === 'f16' ? fromFloat16Bits(toFloat16Bits(value)) : value));
        const largest = Array.from({ length: shape[0] }, (_, row) => stored.slice(row * size, (row + 1) * size).reduce((a, b) => Math.max(a, b)));
        const [output] = await evaluate([{ values, shape, dtype }], (x) => maximum(x), { maximum: variant });
        assert.equal([...output], largest);

        const ties = largest.map((value, row) => stored.slice(row * size, (row + 1) * size).filter((other) => other === value).length);
        const expected = [...stored].map((value, i) => {
          const row = Math.floor(i / size);
          const share = Math.fround((row + 1) / ties[row]);
          return value === largest[row] ? (dtype === 'f16' ? fromFloat16Bits(toFloat16Bits(share)) : share) : 0;
        });
        assert.equal([...(await gradientOf(values, shape, dtype, variant))], expected);
      });
    }
  }
}

for (const variant of variants) {
  test(`maximum shares its gradient evenly between ties ${variant}`, async () => {
    const size = 5000;
    const values = new Float32Array(2 * size);
    for (const at of [3, 2100, 4097, 4999]) values[at] = 7;
    // The second row is all ties.
    values.fill(-1, size);
    const gradient = await gradientOf(values, [2, 50, 100], 'f32', variant);
    for (let i = 0; i < size; i++) assert.is(gradient[i], [3, 2100, 4097, 4999].includes(i) ? 0.25 : 0);
    for (let i = size; i < 2 * size; i++) assert.ok(Math.abs(gradient[i] - 2 / size) < 1e-9);
  });
}

test('gradient of maximum against central differences', async () => {
  await assertGradients([randomInput([3, 4, 5], 1)], (x) => maximum(x), { step: 1e-3, elements: 60 });
});

test('maximum names an input without a batch', async () => {
  let message = '';
  try {
    await evaluate([randomInput([7], 1)], (x) => maximum(x));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /maximum: input must be \[batch, \.\.\.\]; got input f32\[7\]/);
});

test.run();
