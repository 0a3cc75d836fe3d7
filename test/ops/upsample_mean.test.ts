import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gradients } from '../../src/ops/gradients.ts';
import { upsampleMean } from '../../src/ops/upsample_mean.ts';
import { Program } from '../../src/tensor/program.ts';
import { asParameter, freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { assertClose, evaluate, randomInput, testGpu } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

/** float64 reference: torch.nn.functional.interpolate (bilinear, align_corners = false), then the mean over the stages. */
function reference(maps: ArrayLike<number>, [batch, stages, rows, columns]: readonly number[], height: number, width: number): Float64Array {
  const place = (i: number, to: number, from: number): [number, number, number] => {
    const exact = Math.max(((i + 0.5) * from) / to - 0.5, 0);
    const first = Math.min(Math.floor(exact), from - 1);
    return [first, Math.min(first + 1, from - 1), exact - first];
  };
  const output = new Float64Array(batch * height * width);
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < height; y++) {
      const [top, bottom, down] = place(y, height, rows);
      for (let x = 0; x < width; x++) {
        const [left, right, across] = place(x, width, columns);
        for (let s = 0; s < stages; s++) {
          const at = (row: number, column: number): number => maps[((b * stages + s) * rows + row) * columns + column];
          const upper = at(top, left) * (1 - across) + at(top, right) * across;
          const lower = at(bottom, left) * (1 - across) + at(bottom, right) * across;
          output[(b * height + y) * width + x] += (upper * (1 - down) + lower * down) / stages;
        }
      }
    }
  }
  return output;
}

// Larger, smaller, the same, one cell, one pixel; strips that end early, source rows that are skipped.
const cases = [
  [1, 1, 1, 1, 1, 1],
  [2, 3, 1, 1, 5, 7],
  [1, 4, 5, 7, 5, 7],
  [2, 4, 4, 3, 57, 67],
  [1, 2, 37, 36, 111, 130],
  [1, 3, 13, 11, 5, 3],
  [2, 1, 29, 40, 9, 1],
] as const;

for (const [batch, stages, rows, columns, height, width] of cases) {
  for (const [dtype, tolerance] of [['f32', 1e-6], ['f16', 1e-3]] as const) {
    test(`upsample_mean of ${batch} x ${stages} maps ${rows}x${columns} to ${height}x${width} ${dtype}`, async () => {
      const maps = randomInput([batch, stages, rows * columns], 1, 1, dtype);
      const [output] = await evaluate([maps], (x) => upsampleMean(x, { rows, columns, height, width }));
      assertClose(output, reference(maps.values, [batch, stages, rows, columns], height, width), tolerance, 'upsample_mean');
    });
  }

  test(`gradient of upsample_mean of ${batch} x ${stages} maps ${rows}x${columns} to ${height}x${width}`, async () => {
    await assertGradients([randomInput([batch, stages, rows * columns], 2)], (x) => upsampleMean(x, { rows, columns, height, width }), { step: 0.05, elements: 30, tolerance: 1e-3 });
  });
}

test('upsample_mean gives f16 maps f16 gradients that agree with the f32 ones', async () => {
  const gpu = await testGpu();
  const results: Float32Array[] = [];
  for (const dtype of ['f32', 'f16'] as const) {
    const maps = asParameter(tensor(gpu, randomInput([1, 2, 12], 1).values, [1, 2, 12], dtype));
    const seed = tensor(gpu, randomInput([1, 20, 17], 2).values, [1, 20, 17]);
    const program = await Program.record(
      gpu,
      () => gradients([{ tensor: upsampleMean(maps, { rows: 4, columns: 3, height: 20, width: 17 }), gradient: seed }])(maps),
      { poison: true },
    );
    await program.run();
    assert.is(program.outputs!.dtype, dtype);
    results.push(await readTensor(gpu, program.outputs!));
    program.destroy();
    for (const unused of [maps, seed]) freeTensor(gpu, unused);
  }
  assertClose(results[1], results[0], 1e-3, 'gradient');
});

test('upsample_mean names maps of another grid', async () => {
  let message = '';
  try {
    await evaluate([randomInput([1, 2, 12], 1)], (x) => upsampleMean(x, { rows: 3, columns: 5, height: 8, width: 8 }));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /upsample_mean: maps must be \[batch, stages, 3 x 5 cells\]; got maps f32\[1, 2, 12\]/);
});

test.run();
