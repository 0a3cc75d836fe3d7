import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { cosineSoftmax, cosineSoftmaxOp } from '../../src/ops/cosine_softmax.ts';
import { fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';
import { type TestInput, assertClose, evaluate, randomInput, randomValues } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

/** float64 reference: torch.nn.functional.normalize, products with both texts, softmax, abnormal channel. */
function reference(patches: TestInput, text: TestInput, temperature: number): Float64Array {
  const [batch, count, width] = patches.shape;
  const row = (from: TestInput, start: number): number[] => {
    const values = Array.from({ length: width }, (_, i) => (from.dtype === 'f16' ? fromFloat16Bits(toFloat16Bits(from.values[start + i])) : from.values[start + i]));
    const length = Math.max(Math.hypot(...values), 1e-12);
    return values.map((value) => value / length);
  };
  const dot = (a: number[], b: number[]): number => a.reduce((sum, value, i) => sum + value * b[i], 0);
  return Float64Array.from({ length: batch * count }, (_, p) => {
    const t = Math.floor(p / count) % text.shape[0];
    const x = row(patches, p * width);
    const normal = temperature * dot(x, row(text, 2 * t * width));
    const abnormal = temperature * dot(x, row(text, (2 * t + 1) * width));
    const largest = Math.max(normal, abnormal);
    return Math.exp(abnormal - largest) / (Math.exp(normal - largest) + Math.exp(abnormal - largest));
  });
}

const variants = cosineSoftmaxOp.variants.map((variant) => variant.name);

for (const [batch, count, width, textBatch] of [[1, 1, 1, 1], [2, 5, 7, 2], [3, 67, 64, 1], [1, 13, 130, 1], [2, 31, 768, 2]]) {
  for (const variant of variants) {
    for (const [dtype, tolerance] of [['f32', 1e-5], ['f16', 1e-5]] as const) {
      test(`cosine_softmax [${batch}, ${count}, ${width}] with ${textBatch} texts ${dtype} ${variant}`, async () => {
        const patches = randomInput([batch, count, width], 1, 1, dtype);
        const text = randomInput([textBatch, 2, width], 2, 1, dtype);
        for (const temperature of [1, 20]) {
          const [output] = await evaluate([patches, text], (x, t) => cosineSoftmax(x, t, { temperature }), { cosine_softmax: variant });
          // The reference starts from the rounded inputs and the output is f32, so f16 storage costs nothing here.
          assertClose(output, reference(patches, text, temperature), tolerance, 'cosine_softmax');
        }
      });
    }
  }
}

test('cosine_softmax at saturation, of zero patches and of zero text', async () => {
  const width = 8;
  const along = Array.from({ length: width }, (_, i) => Math.sin(i + 1));
  const text = { values: [...along.map((value) => -value), ...along], shape: [1, 2, width] };
  const patches = { values: [...along, ...along.map((value) => -3 * value), ...new Array(width).fill(0)], shape: [1, 3, width] };
  for (const variant of variants) {
    const [output] = await evaluate([patches, text], (x, t) => cosineSoftmax(x, t, { temperature: 100 }), { cosine_softmax: variant });
    assert.is(output[0], 1);
    // exp(-200) lies far below the smallest f32.
    assert.is(output[1], 0);
    assert.is(output[2], 0.5);
    const [flat] = await evaluate([patches, { values: new Array(2 * width).fill(0), shape: [1, 2, width] }], (x, t) => cosineSoftmax(x, t, { temperature: 100 }), { cosine_softmax: variant });
    assert.equal([...flat], [0.5, 0.5, 0.5]);
  }
});

for (const variant of variants) {
  test(`gradients of cosine_softmax ${variant}`, async () => {
    const options = { variants: { cosine_softmax: variant }, step: 3e-3 };
    await assertGradients([randomInput([2, 5, 12], 1), randomInput([2, 2, 12], 2)], (x, t) => cosineSoftmax(x, t, { temperature: 3 }), options);
    // More rows than one chunk of the texts' gradient, a text that two images share, a width that four does not divide.
    await assertGradients([randomInput([2, 35, 7], 3), randomInput([1, 2, 7], 4)], (x, t) => cosineSoftmax(x, t, { temperature: 3 }), options);
  });
}

test('gradients of cosine_softmax stay finite at zero patches and zero text', async () => {
  const patches = { values: randomValues(10, 1).map((value, i) => (i < 5 ? 0 : value)), shape: [1, 2, 5] };
  // Lengths are below 1e-12 here and the quotient is x / 1e-12: only that the gradients are written and finite is asked.
  const text = { values: [...new Array(5).fill(0), ...randomValues(5, 2)], shape: [1, 2, 5] };
  await assertGradients([patches, text], (x, t) => cosineSoftmax(x, t, { temperature: 1 }), { elements: 0 });
});

test('cosine_softmax names the operand of a wrong shape', async () => {
  const attempt = async (patches: number[], text: number[]): Promise<string> => {
    try {
      await evaluate([randomInput(patches, 1), randomInput(text, 2)], (x, t) => cosineSoftmax(x, t, { temperature: 1 }));
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt([2, 3, 8], [3, 2, 8]), /cosine_softmax: .*text f32\[3, 2, 8\]/);
  assert.match(await attempt([2, 3, 8], [2, 2, 7]), /cosine_softmax: .*text f32\[2, 2, 7\]/);
  assert.match(await attempt([2, 3, 8], [2, 3, 8]), /cosine_softmax: .*text f32\[2, 3, 8\]/);
});

test.run();
