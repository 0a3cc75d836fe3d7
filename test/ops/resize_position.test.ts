import { test } from 'uvu';
import { resizePosition } from '../../src/ops/resize_position.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

/** float64 reference: torch's bicubic with A = -0.75, written as a sum over all inputs of one axis after the other. */
function reference(values: ArrayLike<number>, from: number, to: number, width: number): Float64Array {
  const cubic = (d: number): number => {
    const x = Math.abs(d);
    const a = -0.75;
    return x <= 1 ? (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1 : x < 2 ? a * (x ** 3 - 5 * x ** 2 + 8 * x - 4) : 0;
  };
  const weights = Array.from({ length: to }, (_, out) => {
    const position = ((out + 0.5) * from) / to - 0.5;
    const row = new Array<number>(from).fill(0);
    for (let tap = Math.floor(position) - 1; tap <= Math.floor(position) + 2; tap++) row[Math.min(from - 1, Math.max(0, tap))] += cubic(position - tap);
    return row;
  });
  const output = new Float64Array((1 + to * to) * width);
  for (let c = 0; c < width; c++) {
    output[c] = values[c];
    for (let y = 0; y < to; y++) {
      for (let x = 0; x < to; x++) {
        let sum = 0;
        for (let sy = 0; sy < from; sy++) for (let sx = 0; sx < from; sx++) sum += weights[y][sy] * weights[x][sx] * values[(1 + sy * from + sx) * width + c];
        output[(1 + y * to + x) * width + c] = sum;
      }
    }
  }
  return output;
}

for (const [from, to, width] of [[1, 1, 1], [1, 5, 3], [7, 1, 2], [3, 5, 65], [7, 4, 13], [5, 5, 7], [2, 11, 129]]) {
  for (const [dtype, tolerance] of [['f32', 1e-5], ['f16', 2e-3]] as const) {
    test(`resize_position ${from} to ${to}, width ${width}, ${dtype}`, async () => {
      const input = randomInput([1 + from * from, width], 1, 1, dtype);
      const [output] = await evaluate([input], (x) => resizePosition(x, { from, to }));
      assertClose(output, reference(input.values, from, to, width), tolerance, 'resize_position');
    });
  }
}

test('gradients of resize_position', async () => {
  await assertGradients([randomInput([10, 3], 1)], (x) => resizePosition(x, { from: 3, to: 7 }));
  await assertGradients([randomInput([26, 2], 2)], (x) => resizePosition(x, { from: 5, to: 2 }));
});

test.run();
