import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { crossEntropy } from '../../src/ops/cross_entropy.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomInput } from '../support/gpu.ts';

/** float64 reference of torch.nn.functional.cross_entropy and of its gradient. */
function reference(logits: ArrayLike<number>, classes: number, target: (row: number) => number): { loss: number; gradient: Float64Array } {
  const rows = logits.length / classes;
  const gradient = new Float64Array(logits.length);
  let loss = 0;
  for (let row = 0; row < rows; row++) {
    const line = Array.from({ length: classes }, (_, c) => logits[row * classes + c]);
    const peak = Math.max(...line);
    const sum = line.reduce((total, value) => total + Math.exp(value - peak), 0);
    loss += (peak + Math.log(sum) - line[target(row)]) / rows;
    line.forEach((value, c) => {
      gradient[row * classes + c] = (Math.exp(value - peak) / sum - (c === target(row) ? 1 : 0)) / rows;
    });
  }
  return { loss, gradient };
}

async function lossAndGradient(logits: TestInput, target: TestInput | undefined, upstream: number, variants?: Record<string, string>): Promise<Float32Array[]> {
  return evaluate(
    [logits, { values: [upstream], shape: [1] }, ...(target ? [target] : [])],
    (x, seed, labels) => {
      const loss = crossEntropy(asParameter(x), labels);
      return [loss, gradients([{ tensor: loss, gradient: seed }])(x)!];
    },
    variants,
  );
}

for (const variant of ['workgroup', 'subgroup']) {
  for (const [rows, classes] of [[1, 1], [3, 7], [17, 128], [5, 129], [130, 4]]) {
    test(`cross_entropy [${rows}, ${classes}] ${variant}`, async () => {
      const logits = randomInput([rows, classes], 1, 4);
      const labels = Array.from({ length: rows }, (_, row) => (row * 5 + 2) % classes);
      for (const target of [{ values: labels, shape: [rows], dtype: 'u32' as const }, undefined]) {
        const [loss, gradient] = await lossAndGradient(logits, target, 1.5, { cross_entropy: variant });
        const expected = reference(logits.values, classes, (row) => (target ? labels[row] : row % classes));
        if (classes === 1) {
          assert.equal([loss[0], gradient[0]], [0, 0]);
        } else {
          assertClose(loss, [expected.loss], 2e-6, 'cross_entropy');
          assertClose(gradient, expected.gradient.map((value) => 1.5 * value), 5e-6, 'gradient');
        }
      }
    });
  }
}

test('cross_entropy does not overflow', async () => {
  const logits = { values: [1000, -1000, 0, -1000, -1001, -1002], shape: [2, 3] };
  const [loss, gradient] = await lossAndGradient(logits, { values: [1, 2], shape: [2], dtype: 'u32' }, 1);
  const expected = reference(logits.values, 3, (row) => row + 1);
  assertClose(loss, [expected.loss], 1e-6, 'cross_entropy');
  assertClose(gradient, expected.gradient, 1e-6, 'gradient');
});

test('cross_entropy keeps the digits of its gradient among large logits', async () => {
  const logits = { values: Float32Array.from({ length: 2 * 37 }, (_, i) => (i < 37 ? 1e4 : -1e6) + (i % 37) / 16), shape: [2, 37] };
  const [, gradient] = await lossAndGradient(logits, { values: [1, 36], shape: [2], dtype: 'u32' }, 1);
  assertClose(gradient, reference(logits.values, 37, (row) => [1, 36][row]).gradient, 1e-6, 'gradient');
});

test('cross_entropy gradient agrees with central differences', async () => {
  await assertGradients([randomInput([3, 5], 1), { values: [4, 0, 2], shape: [3], dtype: 'u32' }], (logits, target) => crossEntropy(logits, target));
});

test('cross_entropy names the operand of a wrong shape', async () => {
  let message = '';
  try {
    await evaluate([randomInput([4, 3], 1), { values: [1, 2], shape: [2], dtype: 'u32' }], (x, t) => crossEntropy(x, t));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /cross_entropy: .*target u32\[2\]/);
});

test.run();
