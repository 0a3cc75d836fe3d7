import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { add } from '../../src/ops/add.ts';
import { cast } from '../../src/ops/cast.ts';
import { concatenate } from '../../src/ops/concatenate.ts';
import { gatherRows } from '../../src/ops/gather_rows.ts';
import { repeatRows } from '../../src/ops/repeat_rows.ts';
import { slice } from '../../src/ops/slice.ts';
import { sumRows } from '../../src/ops/sum_rows.ts';
import { transpose, transposeOp } from '../../src/ops/transpose.ts';
import { fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';
import { assertGradients } from '../support/gradients.ts';
import { assertClose, evaluate, randomInput, testGpu } from '../support/gpu.ts';

/** Element-by-element reference: reads `at(outer, index along axis, inner)`. */
function gather(outer: number, length: number, inner: number, at: (o: number, i: number, c: number) => number): number[] {
  const result: number[] = [];
  for (let o = 0; o < outer; o++) for (let i = 0; i < length; i++) for (let c = 0; c < inner; c++) result.push(at(o, i, c));
  return result;
}

for (const [outer, na, nb, inner] of [[1, 1, 1, 1], [3, 5, 2, 7], [2, 17, 13, 65]]) {
  test(`concatenate [${outer}, ${na} + ${nb}, ${inner}]`, async () => {
    const a = randomInput([outer, na, inner], 1);
    const b = randomInput([outer, nb, inner], 2);
    const [output] = await evaluate([a, b], (x, y) => concatenate(x, y, 1));
    assert.equal([...output], gather(outer, na + nb, inner, (o, i, c) => (i < na ? a.values[(o * na + i) * inner + c] : b.values[(o * nb + i - na) * inner + c])));
  });

  test(`concatenate shares b over the outer axis [${outer}, ${na} + ${nb}, ${inner}]`, async () => {
    const a = randomInput([outer, na, inner], 1);
    const b = randomInput([1, nb, inner], 2);
    const [output] = await evaluate([a, b], (x, y) => concatenate(x, y, 1));
    assert.equal([...output], gather(outer, na + nb, inner, (o, i, c) => (i < na ? a.values[(o * na + i) * inner + c] : b.values[(i - na) * inner + c])));
  });

  test(`slice takes ${nb} from ${na} of [${outer}, ${na + nb}, ${inner}]`, async () => {
    const whole = randomInput([outer, na + nb, inner], 3);
    const [output] = await evaluate([whole], (x) => slice(x, 1, na, nb));
    assert.equal([...output], gather(outer, nb, inner, (o, i, c) => whole.values[(o * (na + nb) + na + i) * inner + c]));
  });

  test(`add repeats b over a's outer axes [${outer}, ${na}, ${inner}], and of whole vectors`, async () => {
    for (const [width, variants] of [[inner, ['elementwise']], [4 * inner, ['vectors', 'elementwise']]] as const) {
      const a = randomInput([outer, na, width], 4);
      const b = randomInput([na, width], 5);
      for (const variant of variants) {
        const [output] = await evaluate([a, b], (x, y) => add(x, y), { add: variant });
        assertClose(output, gather(outer, na, width, (o, i, c) => a.values[(o * na + i) * width + c] + b.values[i * width + c]), 1e-7, `add ${variant}`);
      }
    }
  });

  test(`sum_rows [${outer}, ${na}, ${inner}]`, async () => {
    const a = randomInput([outer, na, inner], 6);
    const [sum] = await evaluate([a], (x) => sumRows(x));
    const expected = new Float64Array(outer * inner);
    for (let i = 0; i < a.values.length; i++) expected[Math.floor(i / (na * inner)) * inner + (i % inner)] += a.values[i];
    assertClose(sum, expected, 1e-6, 'sum_rows');
  });

  test(`repeat_rows [${outer}, ${inner}] ${nb} times`, async () => {
    const a = randomInput([outer, inner], 7);
    const [rows] = await evaluate([a], (x) => repeatRows(x, nb));
    assert.equal([...rows], gather(outer, nb, inner, (o, _i, c) => a.values[o * inner + c]));
  });

  for (const { name } of transposeOp.variants) {
    test(`transpose [${outer}, ${na}, ${inner}] ${name}`, async () => {
      const a = randomInput([outer, na, inner], 8);
      const [swapped] = await evaluate([a], (x) => transpose(x), { transpose: name });
      assert.equal([...swapped], gather(outer, inner, na, (o, c, i) => a.values[(o * na + i) * inner + c]));
    });
  }

  test(`gather_rows [${outer}, ${na}, ${inner}]`, async () => {
    const a = randomInput([outer, na, inner], 9);
    const rows = Array.from({ length: outer }, (_, o) => (o * 7 + 3) % na);
    const [output] = await evaluate([a, { values: rows, shape: [outer], dtype: 'u32' }], (x, index) => gatherRows(x, index));
    assert.equal([...output], gather(outer, 1, inner, (o, _i, c) => a.values[(o * na + rows[o]) * inner + c]));
  });
}

for (const [outer, rows, width] of [[1, 65, 3], [3, 64 * 3 + 1, 67]] as const) {
  for (const dtype of ['f32', 'f16'] as const) {
    test(`sum_rows [${outer}, ${rows}, ${width}] in slices, ${dtype}`, async () => {
      if (dtype === 'f16' && !(await testGpu()).f16) return;
      const a = randomInput([outer, rows, width], 6, 1, dtype);
      const [sum] = await evaluate([a], (x) => sumRows(x), { sum_rows: 'sliced' });
      const expected = new Float64Array(outer * width);
      for (let i = 0; i < a.values.length; i++) expected[Math.floor(i / (rows * width)) * width + (i % width)] += a.values[i];
      assertClose(sum, expected, dtype === 'f16' ? 1e-3 : 1e-6, 'sum_rows');
    });
  }
}

test('gradients of the data movement ops', async () => {
  await assertGradients([randomInput([3, 5, 7], 1), randomInput([3, 2, 7], 2)], (a, b) => concatenate(a, b, 1));
  await assertGradients([randomInput([3, 5, 7], 1), randomInput([1, 2, 7], 2)], (a, b) => concatenate(a, b, 1));
  await assertGradients([randomInput([3, 5, 7], 3)], (a) => slice(a, 1, 2, 2));
  await assertGradients([randomInput([3, 5, 7], 4), randomInput([5, 7], 5)], (a, b) => add(a, b));
  await assertGradients([randomInput([3, 5, 7], 6)], (a) => sumRows(a));
  await assertGradients([randomInput([3, 7], 7)], (a) => repeatRows(a, 5));
  await assertGradients([randomInput([3, 5, 7], 8)], (a) => transpose(a));
  await assertGradients([randomInput([3, 5, 7], 9), { values: [4, 0, 2], shape: [3], dtype: 'u32' }], (a, index) => gatherRows(a, index));
});

test('cast rounds to f16 as IEEE 754 says, and back', async () => {
  const values = Float32Array.from([0, 1, -1, 0.1, 65504, 65519, 1 / 3, 6.1e-5, 2049, 2051, -2.5]);
  const [output] = await evaluate([{ values, shape: [values.length] }], (x) => cast(cast(x, 'f16'), 'f32'));
  assert.equal([...output], [...values].map((value) => fromFloat16Bits(toFloat16Bits(value))));
});

test('shape errors name the op, the operand and its shape', async () => {
  const attempt = async (build: Parameters<typeof evaluate>[1], ...shapes: number[][]): Promise<string> => {
    try {
      await evaluate(shapes.map((shape, i) => randomInput(shape, i)), build);
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt((a, b) => concatenate(a, b, 1), [2, 3, 4], [2, 3, 5]), /concatenate: .*b f32\[2, 3, 5\]/);
  assert.match(await attempt((a) => slice(a, 1, 2, 2), [2, 3]), /slice: cannot take 2 from 2 along axis 1; got input f32\[2, 3\]/);
  assert.match(await attempt((a, b) => add(a, b), [2, 3], [2]), /add: .*b f32\[2\]/);
});

test.run();
