import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { maskMultiply } from '../../src/ops/mask_multiply.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

for (const [batch, channels, height, width] of [[1, 3, 1, 1], [2, 3, 7, 5], [1, 1, 13, 4], [3, 3, 17, 16], [2, 2, 19, 14]]) {
  for (const [dtype, tolerance] of [['f32', 1e-7], ['f16', 1e-3]] as const) {
    test(`mask_multiply [${batch}, ${channels}, ${height}, ${width}] ${dtype}`, async () => {
      const image = randomInput([batch, channels, height, width], 1, 1, dtype);
      const mask = randomInput([batch, height, width], 2);
      const [output] = await evaluate([image, mask], (x, m) => maskMultiply(x, m));
      const pixels = height * width;
      const expected = Float64Array.from(image.values, (value, i) => value * mask.values[Math.floor(i / (channels * pixels)) * pixels + (i % pixels)]);
      assertClose(output, expected, tolerance, 'mask_multiply');
    });
  }
}

test('gradients of mask_multiply', async () => {
  await assertGradients([randomInput([2, 3, 3, 5], 1), randomInput([2, 3, 5], 2)], (x, m) => maskMultiply(x, m));
  await assertGradients([randomInput([2, 3, 4, 6], 3), randomInput([2, 4, 6], 4)], (x, m) => maskMultiply(x, m));
});

test('mask_multiply names a mask of another size or type', async () => {
  const attempt = async (mask: number[], dtype: 'f32' | 'f16'): Promise<string> => {
    try {
      await evaluate([randomInput([2, 3, 4, 6], 1), randomInput(mask, 2, 1, dtype)], (x, m) => maskMultiply(x, m));
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt([2, 6, 4], 'f32'), /mask_multiply: .*mask f32\[2, 6, 4\]/);
  assert.match(await attempt([1, 4, 6], 'f32'), /mask_multiply: .*mask f32\[1, 4, 6\]/);
  assert.match(await attempt([2, 4, 6], 'f16'), /mask_multiply: .*mask f16\[2, 4, 6\]/);
});

test.run();
