import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { focalLoss } from '../../src/ops/focal_loss.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomValues } from '../support/gpu.ts';

/** float64 reference of the focal loss of AnomalyCLIP and APRIL-GAN on two channels, and of its gradient. */
function reference(p: ArrayLike<number>, m: ArrayLike<number>, gamma: number): { loss: number; gradient: Float64Array } {
  const smooth = 1e-5;
  const clamp = (value: number): number => Math.min(Math.max(value, smooth), 1 - smooth);
  const gradient = new Float64Array(p.length);
  let loss = 0;
  for (let i = 0; i < p.length; i++) {
    const [abnormal, normal] = [clamp(m[i]), clamp(1 - m[i])];
    const pt = abnormal * p[i] + normal * (1 - p[i]) + smooth;
    // 1 - pt can come out as -1e-17.
    const rest = Math.max(0, 1 - pt);
    loss -= (rest ** gamma * Math.log(pt)) / p.length;
    const slope = (gamma > 0 && rest > 0 ? gamma * rest ** (gamma - 1) * Math.log(pt) : 0) - rest ** gamma / pt;
    gradient[i] = (slope * (abnormal - normal)) / p.length;
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

async function lossAndGradient(p: TestInput, m: TestInput, gamma: number, upstream: number, variants?: Record<string, string>): Promise<{ loss: Float32Array; gradient: Float32Array }> {
  const [loss, gradient] = await evaluate(
    [p, m, { values: [upstream], shape: [1] }],
    (probability, mask, seed) => {
      const output = focalLoss(asParameter(probability), mask, { gamma });
      return [output, gradients([{ tensor: output, gradient: seed }])(probability)!];
    },
    variants,
  );
  return { loss, gradient };
}

for (const variant of ['workgroup', 'subgroup']) {
  for (const [shape, gamma] of [[[1, 1, 1], 2], [[2, 7, 11], 2], [[1, 37, 41], 0.5], [[3, 16, 16], 0], [[1, 64, 80], 3.5]] as [number[], number][]) {
    test(`focal_loss [${shape.join(', ')}] gamma ${gamma} ${variant}`, async () => {
      const [p, m] = [probabilities(shape, 1), masks(shape, 2)];
      const { loss, gradient } = await lossAndGradient(p, m, gamma, -1.7, { focal_loss: variant });
      const expected = reference(p.values, m.values, gamma);
      assertClose(loss, [expected.loss], 3e-6, 'focal_loss');
      assertClose(gradient, expected.gradient.map((value) => -1.7 * value), 5e-6, 'gradient');
    });
  }
}

test('focal_loss is stable at 0 and 1', async () => {
  const p = { values: [0, 1, 0, 1, 1e-30, 1 - 2 ** -24], shape: [1, 2, 3] };
  const m = { values: [0, 0, 1, 1, 1, 1], shape: [1, 2, 3] };
  for (const gamma of [0, 0.5, 1, 2]) {
    const { loss, gradient } = await lossAndGradient(p, m, gamma, 1);
    const expected = reference(p.values, m.values, gamma);
    assertClose(loss, [expected.loss], 1e-6, `focal_loss gamma ${gamma}`);
    assertClose(gradient, expected.gradient, 1e-6, `gradient gamma ${gamma}`);
  }
});

test('focal_loss keeps its digits on a map that is nearly right', async () => {
  const shape = [1, 30, 30];
  const m = masks(shape, 3);
  const p = { values: Array.from(m.values, (value, i) => Math.fround(value ? 1 - 1e-3 * (1 + (i % 7)) : 1e-3 * (1 + (i % 5)))), shape };
  const { loss, gradient } = await lossAndGradient(p, m, 2, 1);
  const expected = reference(p.values, m.values, 2);
  assert.ok(expected.loss < 1e-6);
  assertClose(loss, [expected.loss], 1e-5, 'focal_loss');
  assertClose(gradient, expected.gradient, 1e-5, 'gradient');
});

test('focal_loss gradient agrees with central differences', async () => {
  const p = { values: Array.from(probabilities([2, 3, 5], 4).values, (value) => 0.1 + 0.8 * value), shape: [2, 3, 5] };
  await assertGradients([p, masks([2, 3, 5], 5)], (probability, mask) => focalLoss(probability, mask), { wanted: [0] });
});

test('focal_loss names the operand of a wrong shape', async () => {
  let message = '';
  try {
    await evaluate([probabilities([1, 4, 4], 1), masks([1, 4, 5], 2)], (p, m) => focalLoss(p, m));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /focal_loss: .*mask f32\[1, 4, 5\]/);
});

test.run();
