import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { contrastiveLoss } from '../../src/ops/contrastive_loss.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { l2Normalize } from '../../src/ops/l2_normalize.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';

/** float64 reference: CLIP's loss, and its gradients by image, text and log scale. */
function reference(image: ArrayLike<number>, text: ArrayLike<number>, width: number, logScale: number): { loss: number; gradients: [Float64Array, Float64Array, number] } {
  const batch = image.length / width;
  const scale = Math.exp(logScale);
  const logits = Array.from({ length: batch }, (_, i) => Array.from({ length: batch }, (_, j) => {
    let sum = 0;
    for (let c = 0; c < width; c++) sum += image[i * width + c] * text[j * width + c];
    return scale * sum;
  }));
  const logSum = (values: number[]): number => {
    const peak = Math.max(...values);
    return peak + Math.log(values.reduce((sum, value) => sum + Math.exp(value - peak), 0));
  };
  const rows = logits.map(logSum);
  const columns = logits.map((_, j) => logSum(logits.map((row) => row[j])));
  let loss = 0;
  const ofImage = new Float64Array(image.length);
  const ofText = new Float64Array(text.length);
  let ofScale = 0;
  for (let i = 0; i < batch; i++) {
    loss += (rows[i] + columns[i] - 2 * logits[i][i]) / (2 * batch);
    for (let j = 0; j < batch; j++) {
      const slope = (Math.exp(logits[i][j] - rows[i]) + Math.exp(logits[i][j] - columns[j]) - (i === j ? 2 : 0)) / (2 * batch);
      ofScale += slope * logits[i][j];
      for (let c = 0; c < width; c++) {
        ofImage[i * width + c] += slope * scale * text[j * width + c];
        ofText[j * width + c] += slope * scale * image[i * width + c];
      }
    }
  }
  return { loss, gradients: [ofImage, ofText, ofScale] };
}

for (const [batch, width, logScale] of [[2, 3, 0], [7, 16, 2.66], [37, 64, 4.6]]) {
  test(`contrastive_loss of ${batch} pairs of width ${width}, log scale ${logScale}`, async () => {
    const [image, text] = [1, 2].map((seed) => {
      const { values, shape } = randomInput([batch, width], seed);
      const lengths = Array.from({ length: batch }, (_, i) => Math.hypot(...Array.from(values).slice(i * width, (i + 1) * width)));
      return { values: Float32Array.from(values, (value, i) => value / lengths[Math.floor(i / width)]), shape };
    });
    const [loss, ...found] = await evaluate([image, text, { values: [logScale], shape: [1] }, { values: [0.7], shape: [1] }], (x, y, s, seed) => {
      for (const input of [x, y, s]) asParameter(input);
      const output = contrastiveLoss(x, y, s);
      const gradientOf = gradients([{ tensor: output, gradient: seed }]);
      return [output, gradientOf(x)!, gradientOf(y)!, gradientOf(s)!];
    });
    const expected = reference(image.values, text.values, width, Math.fround(logScale));
    assertClose(loss, [expected.loss], 1e-5, 'contrastive_loss');
    assertClose(found[0], expected.gradients[0].map((value) => 0.7 * value), 1e-4, 'gradient of image');
    assertClose(found[1], expected.gradients[1].map((value) => 0.7 * value), 1e-4, 'gradient of text');
    assertClose(found[2], [0.7 * expected.gradients[2]], 1e-4, 'gradient of log scale');
  });
}

test('contrastive_loss of one pair is zero', async () => {
  const [loss] = await evaluate([randomInput([1, 5], 1), randomInput([1, 5], 2), { values: [1], shape: [1] }], contrastiveLoss);
  assert.is(loss[0], 0);
});

test('contrastive_loss gradients agree with central differences', async () => {
  const inputs = [randomInput([4, 6], 1), randomInput([4, 6], 2), { values: [1.5], shape: [1] }];
  await assertGradients(inputs, (x, y, s) => contrastiveLoss(l2Normalize(x), l2Normalize(y), s));
});

test.run();
