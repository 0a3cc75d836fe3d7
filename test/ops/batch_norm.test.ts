import { test } from 'uvu';
import { batchNorm } from '../../src/ops/batch_norm.ts';
import { fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

for (const shape of [[1, 2, 1, 1], [2, 3, 5, 7], [3, 13, 11, 65], [1, 1, 129, 3]]) {
  for (const [dtype, tolerance] of [['f32', 1e-5], ['f16', 4e-3]] as const) {
    test(`batch_norm of [${shape.join(', ')}] ${dtype}`, async () => {
      const channels = shape[3];
      const raw = randomInput(shape, 1, 2, dtype);
      // The reference starts from what 16 bits hold.
      const input = { ...raw, values: dtype === 'f16' ? Float32Array.from(raw.values, (value) => fromFloat16Bits(toFloat16Bits(value))) : raw.values };
      const weight = randomInput([channels], 2, 1, dtype);
      const bias = randomInput([channels], 3, 1, dtype);
      const positions = input.values.length / channels;
      const [mean, variance] = [new Float64Array(channels), new Float64Array(channels)];
      for (let i = 0; i < input.values.length; i++) mean[i % channels] += input.values[i] / positions;
      for (let i = 0; i < input.values.length; i++) variance[i % channels] += (input.values[i] - mean[i % channels]) ** 2 / positions;
      const expected = Float64Array.from(input.values, (value, i) => ((value - mean[i % channels]) / Math.sqrt(variance[i % channels] + 1e-5)) * weight.values[i % channels] + bias.values[i % channels]);
      const results = await evaluate([input, weight, bias], (x, w, b) => Object.values(batchNorm(x, w, b)));
      assertClose(results[0], expected, tolerance, 'output');
      assertClose(results[1], mean, 1e-5, 'mean');
      assertClose(results[2], variance, 1e-5, 'variance');
    });
  }
}

test('batch_norm keeps its digits when the mean is far from zero', async () => {
  const input = randomInput([1, 20, 20, 2], 1);
  const shifted = { values: Float32Array.from(input.values, (value) => value + 1000), shape: input.shape };
  const [, , variance] = await evaluate([shifted, { values: [1, 1], shape: [2] }, { values: [0, 0], shape: [2] }], (x, w, b) => Object.values(batchNorm(x, w, b)));
  const expected = [0, 1].map((c) => {
    const values = [...shifted.values].filter((_, i) => i % 2 === c);
    const mean = values.reduce((a, b) => a + b) / values.length;
    return values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  });
  assertClose(variance, expected, 1e-3, 'variance');
});

test('batch_norm takes more positions than a dispatch has workgroups of the usual chunk', async () => {
  const positions = 65535 * 128 + 1;
  const input = { values: Float32Array.from({ length: positions }, (_, i) => i % 5), shape: [1, positions, 1, 1] };
  const [, mean, variance] = await evaluate([input, { values: [1], shape: [1] }, { values: [0], shape: [1] }], (x, w, b) => Object.values(batchNorm(x, w, b)));
  assertClose(mean, [2], 1e-6, 'mean');
  assertClose(variance, [2], 1e-6, 'variance');
});

test('gradients of batch_norm', async () => {
  await assertGradients([randomInput([2, 3, 5, 7], 1), randomInput([7], 2), randomInput([7], 3)], (x, w, b) => batchNorm(x, w, b).output);
  await assertGradients([randomInput([1, 13, 11, 2], 4), randomInput([2], 5), randomInput([2], 6)], (x, w, b) => batchNorm(x, w, b).output);
});

test.run();
