import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { embedding } from '../../src/ops/embedding.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomInput } from '../support/gpu.ts';

/** Tokens with many repetitions, rows that nobody reads, and the first and the last row. */
function someIds(shape: number[], rows: number): TestInput & { values: number[] } {
  const count = shape.reduce((a, b) => a * b, 1);
  const values = Array.from({ length: count }, (_, i) => (i % 5 === 0 ? rows - 1 : (i * i * 7) % rows));
  return { values, shape, dtype: 'u32' };
}

for (const [batch, length, rows, width] of [[1, 1, 1, 1], [2, 5, 7, 3], [3, 76, 131, 36], [1, 77, 13, 8], [1, 67, 11, 129]]) {
  const ids = someIds([batch, length], rows);

  test(`embedding of [${batch}, ${length}] in [${rows}, ${width}]`, async () => {
    for (const dtype of ['f32', 'f16'] as const) {
      const table = randomInput([rows, width], 1, 1, dtype);
      const stored = dtype === 'f32' ? table.values : Float32Array.from(table.values, (value) => fromFloat16Bits(toFloat16Bits(value)));
      const [output] = await evaluate([ids, table], (i, t) => embedding(i, t));
      assert.equal([...output], ids.values.flatMap((id) => [...(stored as Float32Array).slice(id * width, (id + 1) * width)]));
    }
  });

  test(`embedding gradient of [${batch}, ${length}] in [${rows}, ${width}]`, async () => {
    for (const [dtype, tolerance] of [['f32', 1e-6], ['f16', 2e-3]] as const) {
      const gradient = randomInput([batch, length, width], 2, 1, dtype);
      const [found] = await evaluate([ids, randomInput([rows, width], 1, 1, dtype), gradient], (i, t, g) => {
        asParameter(t);
        return gradients([{ tensor: embedding(i, t), gradient: g }])(t)!;
      });
      const expected = new Float64Array(rows * width);
      for (let p = 0; p < batch * length; p++) for (let c = 0; c < width; c++) expected[ids.values[p] * width + c] += gradient.values[p * width + c];
      assertClose(found, expected, tolerance, 'gradient of table');
    }
  });
}

test('embedding gradient agrees with central differences', async () => {
  await assertGradients([someIds([2, 9], 5), randomInput([5, 4], 1)], (i, t) => embedding(i, t));
});

test('embedding names the operand of a wrong type', async () => {
  let message = '';
  try {
    await evaluate([randomInput([2, 3], 1), randomInput([7, 4], 2)], (i, t) => embedding(i, t));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /embedding: ids must be u32.*ids f32\[2, 3\]/);
});

test.run();
