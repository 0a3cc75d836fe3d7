import { test } from 'uvu';
import { gradients } from '../../src/ops/gradients.ts';
import { l2Normalize } from '../../src/ops/l2_normalize.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';

/** float64 reference of torch.nn.functional.normalize and of its gradient. */
function reference(input: ArrayLike<number>, gradient: ArrayLike<number>, width: number, epsilon: number): { output: Float64Array; inputGradient: Float64Array } {
  const output = new Float64Array(input.length);
  const inputGradient = new Float64Array(input.length);
  for (let start = 0; start < input.length; start += width) {
    let squares = 0;
    let product = 0;
    for (let i = start; i < start + width; i++) {
      squares += input[i] ** 2;
      product += input[i] * gradient[i];
    }
    const norm = Math.sqrt(squares);
    for (let i = start; i < start + width; i++) {
      output[i] = input[i] / Math.max(norm, epsilon);
      inputGradient[i] = norm > epsilon ? gradient[i] / norm - (input[i] * product) / norm ** 3 : gradient[i] / epsilon;
    }
  }
  return { output, inputGradient };
}

for (const variant of ['workgroup', 'subgroup']) {
  const variants = { l2_normalize: variant, l2_normalize_backward: variant };
  for (const [rows, width] of [[1, 1], [3, 7], [17, 128], [5, 129]]) {
    for (const [dtype, tolerance] of [['f32', 3e-6], ['f16', 2e-3]] as const) {
      test(`l2_normalize [${rows}, ${width}] ${dtype} ${variant}`, async () => {
        const input = randomInput([rows, width], 1, 2, dtype);
        const gradient = randomInput([rows, width], 2, 1, dtype);
        const [output, inputGradient] = await evaluate(
          [input, gradient],
          (x, g) => {
            const normalized = l2Normalize(asParameter(x));
            return [normalized, gradients([{ tensor: normalized, gradient: g }])(x)!];
          },
          variants,
        );
        const expected = reference(input.values, gradient.values, width, 1e-12);
        assertClose(output, expected.output, tolerance, 'l2_normalize');
        // A row of one element always becomes ±1: its gradient is zero but for rounding.
        if (width > 1) assertClose(inputGradient, expected.inputGradient, 2 * tolerance, 'gradient');
      });
    }
  }

  test(`l2_normalize divides by epsilon where a row is shorter, ${variant}`, async () => {
    const input = { values: [0, 0, 0, 0.03, 0.04, 0, 3, 4, 0], shape: [3, 3] };
    const gradient = randomInput([3, 3], 2);
    const [output, inputGradient] = await evaluate(
      [input, gradient],
      (x, g) => {
        const normalized = l2Normalize(asParameter(x), 0.1);
        return [normalized, gradients([{ tensor: normalized, gradient: g }])(x)!];
      },
      variants,
    );
    const expected = reference(input.values, gradient.values, 3, 0.1);
    assertClose(output, expected.output, 1e-6, 'l2_normalize');
    assertClose(inputGradient, expected.inputGradient, 1e-6, 'gradient');
  });
}

test('l2_normalize gradient agrees with central differences', async () => {
  await assertGradients([randomInput([2, 3, 17], 1)], (x) => l2Normalize(x));
});

test.run();
