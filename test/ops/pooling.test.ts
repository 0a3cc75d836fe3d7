import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { globalAveragePool } from '../../src/ops/global_average_pool.ts';
import { maxPool } from '../../src/ops/max_pool.ts';
import { errorOf } from '../support/errors.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

/** float64 reference of torch.nn.functional.max_pool2d, channels last. */
function maxReference(values: ArrayLike<number>, [batch, height, width, channels]: number[], size: number, stride: number, padding: number): number[] {
  const output: number[] = [];
  const along = (length: number): number => Math.floor((length + 2 * padding - size) / stride) + 1;
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < along(height); y++) {
      for (let x = 0; x < along(width); x++) {
        for (let c = 0; c < channels; c++) {
          let most = Number.NEGATIVE_INFINITY;
          for (let wy = y * stride - padding; wy < y * stride - padding + size; wy++) {
            for (let wx = x * stride - padding; wx < x * stride - padding + size; wx++) {
              if (wy >= 0 && wy < height && wx >= 0 && wx < width) most = Math.max(most, values[((b * height + wy) * width + wx) * channels + c]);
            }
          }
          output.push(most);
        }
      }
    }
  }
  return output;
}

for (const [shape, size, stride, padding] of [
  [[1, 1, 1, 1], 3, 2, 1],
  [[2, 7, 5, 3], 3, 2, 1],
  [[1, 8, 11, 65], 3, 2, 1],
  [[1, 6, 6, 4], 2, 2, 0],
  [[2, 5, 7, 2], 3, 1, 1],
] as [number[], number, number, number][]) {
  for (const dtype of ['f32', 'f16'] as const) {
    test(`max_pool ${size}/${stride} of [${shape.join(', ')}] ${dtype}`, async () => {
      const input = randomInput(shape, 1, 1, dtype);
      const [output] = await evaluate([input], (x) => maxPool(x, { size, stride, padding }));
      assertClose(output, maxReference(input.values, shape, size, stride, padding), dtype === 'f32' ? 0 : 1e-3, 'max_pool');
    });
  }
}

test('max_pool refuses a stride that stands still', async () => {
  assert.match((await errorOf(() => evaluate([randomInput([1, 4, 4, 1], 1)], (x) => maxPool(x, { size: 2, stride: 0, padding: 0 })))).message, /max_pool: the stride must be at least 1, not 0/);
});

test('gradients of max_pool', async () => {
  // Values far enough apart that no step of the difference changes the order.
  const distinct = (shape: number[]) => {
    const count = shape.reduce((a, b) => a * b);
    return { values: Float32Array.from({ length: count }, (_, i) => (((i * 37) % count) - count / 2) * 0.1), shape };
  };
  await assertGradients([distinct([2, 7, 5, 3])], (x) => maxPool(x, { size: 3, stride: 2, padding: 1 }));
  await assertGradients([distinct([1, 6, 6, 2])], (x) => maxPool(x, { size: 2, stride: 2, padding: 0 }));
  await assertGradients([distinct([1, 5, 4, 2])], (x) => maxPool(x, { size: 3, stride: 1, padding: 1 }));
});

for (const shape of [[1, 1, 1, 1], [2, 3, 5, 7], [1, 7, 7, 129]]) {
  for (const [dtype, tolerance] of [['f32', 1e-6], ['f16', 2e-3]] as const) {
    test(`global_average_pool of [${shape.join(', ')}] ${dtype}`, async () => {
      const [batch, height, width, channels] = shape;
      const input = randomInput(shape, 2, 1, dtype);
      const expected = new Float64Array(batch * channels);
      for (let i = 0; i < input.values.length; i++) expected[Math.floor(i / (height * width * channels)) * channels + (i % channels)] += input.values[i] / (height * width);
      const [output] = await evaluate([input], (x) => globalAveragePool(x));
      assertClose(output, expected, tolerance, 'global_average_pool');
    });
  }
}

test('gradients of global_average_pool', () => assertGradients([randomInput([2, 3, 5, 7], 3)], (x) => globalAveragePool(x)));

test.run();
