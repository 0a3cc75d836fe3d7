import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { diceLoss } from '../../src/ops/dice_loss.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomValues } from '../support/gpu.ts';

/** float64 reference: dice on both channels, smooth 1, mean over the images; and its gradient. */
function reference(p: ArrayLike<number>, m: ArrayLike<number>, images: number): { loss: number; gradient: Float64Array } {
  const pixels = p.length / images;
  const gradient = new Float64Array(p.length);
  let loss = 0;
  for (let image = 0; image < images; image++) {
    for (const channel of [1, -1]) {
      const of = (value: number): number => (channel > 0 ? value : 1 - value);
      let both = 0;
      let area = 0;
      for (let i = image * pixels; i < (image + 1) * pixels; i++) {
        both += of(p[i]) * of(m[i]);
        area += of(p[i]) + of(m[i]);
      }
      loss += (1 - (2 * both + 1) / (area + 1)) / images;
      for (let i = image * pixels; i < (image + 1) * pixels; i++) {
        gradient[i] += (channel * ((2 * both + 1) / (area + 1) ** 2 - (2 * of(m[i])) / (area + 1))) / images;
      }
    }
  }
  return { loss, gradient };
}

function probabilities(shape: number[], seed: number): TestInput {
  const values = randomValues(shape.reduce((a, b) => a * b, 1), seed);
  return { values: values.map((value) => Math.fround(1 / (1 + Math.exp(-2 * value)))), shape };
}

function masks(shape: number[], seed: number): TestInput {
  const values = randomValues(shape.reduce((a, b) => a * b, 1), seed);
  return { values: values.map((value) => (value > 0.5 ? 1 : 0)), shape };
}

async function lossAndGradient(p: TestInput, m: TestInput, upstream: number, variants?: Record<string, string>): Promise<{ loss: Float32Array; gradient: Float32Array }> {
  const [loss, gradient] = await evaluate(
    [p, m, { values: [upstream], shape: [1] }],
    (probability, mask, seed) => {
      const output = diceLoss(asParameter(probability), mask);
      return [output, gradients([{ tensor: output, gradient: seed }])(probability)!];
    },
    variants,
  );
  return { loss, gradient };
}

for (const variant of ['workgroup', 'subgroup']) {
  for (const shape of [[1, 1, 1], [2, 7, 11], [3, 64, 80], [1, 53, 59]]) {
    test(`dice_loss [${shape.join(', ')}] ${variant}`, async () => {
      const [p, m] = [probabilities(shape, 1), masks(shape, 2)];
      const { loss, gradient } = await lossAndGradient(p, m, -1.7, { dice_loss: variant });
      const expected = reference(p.values, m.values, shape[0]);
      assertClose(loss, [expected.loss], 2e-6, 'dice_loss');
      assertClose(gradient, expected.gradient.map((value) => -1.7 * value), 5e-6, 'gradient');
    });
  }
}

test('dice_loss is stable at 0 and 1, and exact on a perfect map', async () => {
  const whole = [0, 0, 1, 1, 0, 1];
  for (const mask of [whole, whole.map((value) => 1 - value), whole.map(() => 0), whole.map(() => 1)]) {
    const [p, m] = [{ values: whole, shape: [1, 2, 3] }, { values: mask, shape: [1, 2, 3] }];
    const { loss, gradient } = await lossAndGradient(p, m, 1);
    const expected = reference(whole, mask, 1);
    if (mask === whole) assert.is(loss[0], 0);
    else assertClose(loss, [expected.loss], 1e-6, 'dice_loss');
    assertClose(gradient, expected.gradient, 1e-6, 'gradient');
  }
});

test('dice_loss keeps its digits on a large map that is nearly right', async () => {
  const shape = [1, 300, 301];
  const m = masks(shape, 3);
  const p = { values: Array.from(m.values, (value, i) => Math.fround(value ? 1 - 1e-5 * (1 + (i % 7)) : 1e-5 * (1 + (i % 5)))), shape };
  const { loss } = await lossAndGradient(p, m, 1);
  assertClose(loss, [reference(p.values, m.values, 1).loss], 1e-4, 'dice_loss');
});

test('dice_loss gradient agrees with central differences', async () => {
  await assertGradients([probabilities([2, 3, 5], 4), masks([2, 3, 5], 5)], (probability, mask) => diceLoss(probability, mask), { wanted: [0], step: 5e-2 });
});

test('dice_loss names the operand of a wrong shape', async () => {
  let message = '';
  try {
    await evaluate([probabilities([1, 4, 4], 1), masks([2, 4, 4], 2)], (p, m) => diceLoss(p, m));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /dice_loss: .*mask f32\[2, 4, 4\]/);
});

test.run();
