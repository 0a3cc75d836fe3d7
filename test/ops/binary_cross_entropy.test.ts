import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { binaryCrossEntropy } from '../../src/ops/binary_cross_entropy.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomInput, randomValues } from '../support/gpu.ts';

/** float64 reference of torch.nn.BCELoss and of its gradient. */
function reference(p: ArrayLike<number>, y: ArrayLike<number>): { loss: number; gradient: Float64Array } {
  const gradient = new Float64Array(p.length);
  let loss = 0;
  for (let i = 0; i < p.length; i++) {
    loss -= (y[i] * Math.max(Math.log(p[i]), -100) + (1 - y[i]) * Math.max(Math.log1p(-p[i]), -100)) / p.length;
    gradient[i] = (p[i] - y[i]) / Math.max(p[i] * (1 - p[i]), 1e-12) / p.length;
  }
  return { loss, gradient };
}

async function lossAndGradient(p: TestInput, y: TestInput, upstream: number, variants?: Record<string, string>): Promise<{ loss: Float32Array; gradient: Float32Array }> {
  const [loss, gradient] = await evaluate(
    [p, y, { values: [upstream], shape: [1] }],
    (score, label, seed) => {
      const output = binaryCrossEntropy(asParameter(score), label);
      return [output, gradients([{ tensor: output, gradient: seed }])(score)!];
    },
    variants,
  );
  return { loss, gradient };
}

function scores(count: number, seed: number): TestInput {
  return { values: randomValues(count, seed).map((value) => 1 / (1 + Math.exp(-2 * value))), shape: [count] };
}

for (const variant of ['workgroup', 'subgroup']) {
  for (const count of [1, 7, 129, 300]) {
    test(`binary_cross_entropy [${count}] ${variant}`, async () => {
      const p = scores(count, count);
      const y = { values: Array.from({ length: count }, (_, i) => i % 2), shape: [count] };
      const { loss, gradient } = await lossAndGradient(p, y, 2.5, { binary_cross_entropy: variant });
      const expected = reference(p.values, y.values);
      assertClose(loss, [expected.loss], 1e-6, 'binary_cross_entropy');
      assertClose(gradient, expected.gradient.map((value) => 2.5 * value), 1e-6, 'gradient');
    });
  }
}

test('binary_cross_entropy is stable at 0 and 1, one score at a time', async () => {
  for (const p of [0, 1, 1e-7, 1 - 2 ** -24, 0.999, 1e-3, 1e-30]) {
    for (const y of [0, 1]) {
      const score = { values: [Math.fround(p)], shape: [1] };
      const { loss, gradient } = await lossAndGradient(score, { values: [y], shape: [1] }, 1);
      const expected = reference(score.values, [y]);
      if (expected.loss === 0) assert.is(loss[0], 0);
      else assertClose(loss, [expected.loss], 1e-6, `loss at ${p} of label ${y}`);
      if (expected.gradient[0] === 0) assert.is(Math.abs(gradient[0]), 0);
      else assertClose(gradient, expected.gradient, 1e-6, `gradient at ${p} of label ${y}`);
    }
  }
});

test('binary_cross_entropy gradient agrees with central differences', async () => {
  const p = { values: Array.from(scores(9, 3).values, (value) => 0.2 + 0.6 * value), shape: [9] };
  await assertGradients([p, { values: [0, 1, 1, 0, 1, 0, 0, 1, 1], shape: [9] }], (score, label) => binaryCrossEntropy(score, label), { wanted: [0] });
});

test('binary_cross_entropy names the operand of a wrong shape', async () => {
  let message = '';
  try {
    await evaluate([randomInput([4], 1), randomInput([5], 2)], (p, y) => binaryCrossEntropy(p, y));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /binary_cross_entropy: .*label f32\[5\]/);
});

test.run();
