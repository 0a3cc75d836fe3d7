import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { neighbourhoodPool, neighbourhoodPoolBackwardOp, neighbourhoodPoolOp } from '../../src/ops/neighbourhood_pool.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

/** float64 reference: equations 8 to 10 cell by cell. */
function reference(input: ArrayLike<number>, [batch, rows, columns, width]: readonly number[], size: number): Float64Array {
  const output = new Float64Array(input.length);
  const radius = (size - 1) / 2;
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        for (let d = 0; d < width; d++) {
          let sum = 0;
          let count = 0;
          for (let v = y - radius; v <= y + radius; v++) {
            for (let u = x - radius; u <= x + radius; u++) {
              if (v < 0 || v >= rows || u < 0 || u >= columns) continue;
              sum += input[((b * rows + v) * columns + u) * width + d];
              count++;
            }
          }
          output[((b * rows + y) * columns + x) * width + d] = sum / count;
        }
      }
    }
  }
  return output;
}

const variants = neighbourhoodPoolOp.variants.map((variant) => variant.name);

for (const [batch, rows, columns, width, size] of [[1, 1, 1, 1, 3], [1, 2, 2, 3, 5], [2, 5, 7, 13, 3], [2, 9, 4, 8, 5], [1, 4, 4, 64, 1], [1, 13, 11, 68, 3], [1, 6, 17, 1, 7]]) {
  for (const variant of variants) {
    for (const [dtype, tolerance] of [['f32', 1e-6], ['f16', 1e-3]] as const) {
      test(`neighbourhood_pool ${size}x${size} of [${batch}, ${rows}x${columns}, ${width}] ${dtype} ${variant}`, async () => {
        const tokens = randomInput([batch, rows * columns, width], 1, 1, dtype);
        const [output] = await evaluate([tokens], (x) => neighbourhoodPool(x, { rows, columns, size }), { neighbourhood_pool: variant });
        assertClose(output, reference(tokens.values, [batch, rows, columns, width], size), tolerance, 'neighbourhood_pool');
      });
    }
  }
}

for (const variant of variants) {
  test(`gradient of neighbourhood_pool ${variant}`, async () => {
    const forced = { variants: { neighbourhood_pool: variant, neighbourhood_pool_backward: variant } };
    await assertGradients([randomInput([2, 6 * 5, 4], 1)], (x) => neighbourhoodPool(x, { rows: 6, columns: 5, size: 3 }), { ...forced, elements: 60 });
    await assertGradients([randomInput([1, 3 * 4, 3], 2)], (x) => neighbourhoodPool(x, { rows: 3, columns: 4, size: 5 }), { ...forced, elements: 36 });
    await assertGradients([randomInput([1, 1, 3], 3)], (x) => neighbourhoodPool(x, { rows: 1, columns: 1, size: 3 }), forced);
  });
}

test('neighbourhood_pool refuses another grid and an even neighbourhood', async () => {
  const attempt = async (rows: number, size: number): Promise<string> => {
    try {
      await evaluate([randomInput([1, 12, 4], 1)], (x) => neighbourhoodPool(x, { rows, columns: 4, size }));
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt(4, 3), /neighbourhood_pool: tokens must be \[batch, 4 x 4 patches, width\]; got tokens f32\[1, 12, 4\]/);
  assert.match(await attempt(3, 2), /neighbourhood_pool: the neighbourhood must be an odd number of patches wide, not 2/);
  const gradient = { shape: [1, 12, 4], dtype: 'f32' } as const;
  const ofGradient = (rows: number, size: number) => () => neighbourhoodPoolBackwardOp.outputs([gradient], { rows, columns: 4, size });
  assert.throws(ofGradient(4, 3), /neighbourhood_pool_backward: output gradient must be \[batch, 4 x 4 patches, width\]; got output gradient f32\[1, 12, 4\]/);
  assert.throws(ofGradient(3, 4), /neighbourhood_pool_backward: the neighbourhood must be an odd number of patches wide, not 4/);
  assert.equal(ofGradient(3, 3)(), [gradient]);
});

test.run();
