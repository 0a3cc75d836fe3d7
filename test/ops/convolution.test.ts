import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { convolution, convolutionBackwardInputOp, convolutionBackwardWeightOp, convolutionOp } from '../../src/ops/convolution.ts';
import { transpose } from '../../src/ops/transpose.ts';
import { apply } from '../../src/tensor/recording.ts';
import { type Tensor, sizeOf } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomInput } from '../support/gpu.ts';

interface Case {
  readonly input: readonly [number, number, number, number];
  readonly window: readonly [number, number];
  readonly columns: number;
  readonly stride: number;
  readonly padding: number;
}

const cases: Case[] = [
  { input: [1, 1, 1, 1], window: [3, 3], columns: 1, stride: 1, padding: 1 },
  { input: [1, 5, 7, 3], window: [3, 3], columns: 5, stride: 1, padding: 1 },
  { input: [1, 13, 11, 3], window: [7, 7], columns: 20, stride: 2, padding: 3 },
  { input: [2, 9, 8, 4], window: [3, 3], columns: 33, stride: 2, padding: 1 },
  { input: [2, 6, 5, 17], window: [1, 1], columns: 9, stride: 2, padding: 0 },
  { input: [1, 12, 12, 5], window: [3, 3], columns: 67, stride: 1, padding: 1 },
  { input: [1, 7, 8, 3], window: [2, 3], columns: 4, stride: 3, padding: 1 },
  // Sums long enough to be cut into slices: by lines of the window, inside one, and over positions.
  { input: [1, 3, 4, 130], window: [3, 3], columns: 36, stride: 1, padding: 0 },
  { input: [1, 3, 3, 790], window: [1, 1], columns: 3, stride: 2, padding: 1 },
  { input: [3, 23, 19, 2], window: [3, 3], columns: 5, stride: 1, padding: 1 },
];

function nameOf({ input, window, columns, stride, padding }: Case): string {
  return `[${input.join(', ')}] ${window.join('x')} to ${columns}, stride ${stride}, padding ${padding}`;
}

function outputShape({ input, window, columns, stride, padding }: Case): number[] {
  const side = (size: number, span: number): number => Math.floor((size + 2 * padding - span) / stride) + 1;
  return [input[0], side(input[1], window[0]), side(input[2], window[1]), columns];
}

function weightShape({ input, window, columns }: Case): number[] {
  return [...window, input[3], columns];
}

/** Calls `visit` with the flat indices of each input, weight and output element that are multiplied and added. */
function forEachProduct(given: Case, visit: (input: number, weight: number, output: number) => void): void {
  const [, height, width, channels] = given.input;
  const [batch, outHeight, outWidth, columns] = outputShape(given);
  for (let b = 0; b < batch; b++) {
    for (let oy = 0; oy < outHeight; oy++) {
      for (let ox = 0; ox < outWidth; ox++) {
        for (let ky = 0; ky < given.window[0]; ky++) {
          for (let kx = 0; kx < given.window[1]; kx++) {
            const y = oy * given.stride + ky - given.padding;
            const x = ox * given.stride + kx - given.padding;
            if (y < 0 || y >= height || x < 0 || x >= width) continue;
            for (let c = 0; c < channels; c++) {
              for (let n = 0; n < columns; n++) {
                visit(((b * height + y) * width + x) * channels + c, ((ky * given.window[1] + kx) * channels + c) * columns + n, ((b * outHeight + oy) * outWidth + ox) * columns + n);
              }
            }
          }
        }
      }
    }
  }
}

/** float64 reference of torch.nn.functional.conv2d with bias, residual and ReLU. */
function reference(given: Case, input: TestInput, weight: TestInput, bias?: TestInput, residual?: TestInput, relu = false): Float64Array {
  const output = new Float64Array(sizeOf(outputShape(given)));
  forEachProduct(given, (i, w, o) => {
    output[o] += input.values[i] * weight.values[w];
  });
  return output.map((sum, i) => {
    const value = sum + (bias ? bias.values[i % given.columns] : 0) + (residual ? residual.values[i] : 0);
    return relu ? Math.max(0, value) : value;
  });
}

/**
 * Which cases a variant is tested on. Compiling is what takes time on a software adapter, so what differs from another
 * variant in one constant, or from another type in the storage alone, is tested once, forward.
 */
function casesFor(variant: string, dtype: string, backward = false): readonly Case[] {
  if (dtype === 'f16') return variant === 'tall' || (backward && variant === 'tiled') ? [] : [cases[3]];
  if (variant === 'tall') return backward ? [] : [cases[3], cases[5]];
  return cases;
}

for (const variant of convolutionOp.variants.map(({ name }) => name)) {
  for (const [dtype, tolerance] of [['f32', 2e-6], ['f16', 2e-3]] as const) {
    test(`convolution ${variant} ${dtype}`, async () => {
      for (const given of casesFor(variant, dtype)) {
        const input = randomInput(given.input, 1, 1, dtype);
        const weight = randomInput(weightShape(given), 2, 1, dtype);
        const bias = randomInput([given.columns], 3, 1, dtype);
        const residual = randomInput(outputShape(given), 4, 1, dtype);
        const [output] = await evaluate([input, weight, bias, residual], (x, w, b, r) => convolution(x, w, { ...given, bias: b, residual: r, activation: 'relu' }), { convolution: variant });
        assertClose(output, reference(given, input, weight, bias, residual, true), tolerance, nameOf(given));
      }
    });

    test(`convolution_backward_input ${variant} ${dtype}`, async () => {
      for (const given of casesFor(variant, dtype, true)) {
        const gradient = randomInput(outputShape(given), 1, 1, dtype);
        const weight = randomInput(weightShape(given), 2, 1, dtype);
        const [output] = await evaluate([gradient, weight], (g, w) => apply(convolutionBackwardInputOp, [g, transpose(w)], { ...given }), { convolution_backward_input: variant });
        const expected = new Float64Array(sizeOf(given.input));
        forEachProduct(given, (i, w, o) => {
          expected[i] += gradient.values[o] * weight.values[w];
        });
        assertClose(output, expected, tolerance, nameOf(given));
      }
    });

    test(`convolution_backward_weight ${variant} ${dtype}`, async () => {
      for (const given of casesFor(variant, dtype, true)) {
        const input = randomInput(given.input, 1, 1, dtype);
        const gradient = randomInput(outputShape(given), 2, 1, dtype);
        const [output] = await evaluate([input, gradient], (x, g) => apply(convolutionBackwardWeightOp, [x, g], { ...given, weight: weightShape(given) }), { convolution_backward_weight: variant });
        const expected = new Float64Array(sizeOf(weightShape(given)));
        forEachProduct(given, (i, w, o) => {
          expected[w] += input.values[i] * gradient.values[o];
        });
        assertClose(output, expected, tolerance, nameOf(given));
      }
    });
  }
}

test('convolution without bias, residual and activation', async () => {
  const given = cases[1];
  const [input, weight] = [randomInput(given.input, 1), randomInput(weightShape(given), 2)];
  const [output] = await evaluate([input, weight], (x, w) => convolution(x, w, given));
  assertClose(output, reference(given, input, weight), 2e-6, 'convolution');
});

test('a convolution that reads every pixel once is a matrix product', async () => {
  const given: Case = { input: [2, 5, 3, 19], window: [1, 1], columns: 11, stride: 1, padding: 0 };
  const inputs = [randomInput(given.input, 1), randomInput(weightShape(given), 2), randomInput([11], 3), randomInput(outputShape(given), 4)];
  const [output] = await evaluate(inputs, (x, w, b, r) => convolution(x, w, { bias: b, residual: r, activation: 'relu' }));
  assertClose(output, reference(given, inputs[0], inputs[1], inputs[2], inputs[3], true), 2e-6, 'convolution');
  await assertGradients(inputs, (x, w, b, r) => convolution(x, w, { bias: b, residual: r }));
});

test('gradients of convolution', async () => {
  for (const given of [cases[1], cases[3], cases[4], cases[6]]) {
    const inputs = [randomInput(given.input, 1), randomInput(weightShape(given), 2), randomInput([given.columns], 3), randomInput(outputShape(given), 4)];
    await assertGradients(inputs, (x, w, b, r) => convolution(x, w, { ...given, bias: b, residual: r }));
  }
});

test('the gradient passes a ReLU behind a convolution', async () => {
  const given = cases[1];
  await assertGradients([randomInput(given.input, 1), randomInput(weightShape(given), 2)], (x, w) => convolution(x, w, { ...given, activation: 'relu' }), { step: 2e-3, tolerance: 2e-2 });
});

test('convolution names the operand of a wrong shape', async () => {
  const attempt = async (build: (...tensors: Tensor[]) => Tensor, ...shapes: number[][]): Promise<string> => {
    try {
      await evaluate(shapes.map((shape, i) => randomInput(shape, i)), build);
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt((x, w) => convolution(x, w), [1, 4, 4, 3], [3, 3, 4, 8]), /convolution: .*weight f32\[3, 3, 4, 8\]/);
  assert.match(await attempt((x, w) => convolution(x, w), [1, 4, 4, 3], [1, 1, 4, 8]), /convolution: .*weight f32\[1, 1, 4, 8\]/);
  assert.match(await attempt((x, w) => convolution(x, w), [1, 2, 4, 3], [3, 3, 3, 8]), /convolution: the window must fit/);
  assert.match(await attempt((x, w, b) => convolution(x, w, { bias: b }), [1, 4, 4, 3], [3, 3, 3, 8], [7]), /bias must be f32\[8\]/);
  assert.match(await attempt((x, w, r) => convolution(x, w, { residual: r }), [1, 4, 4, 3], [3, 3, 3, 8], [1, 4, 4, 8]), /residual must be f32\[1, 2, 2, 8\]/);
  assert.match(await attempt((x, w) => convolution(x, w, { stride: 0 }), [1, 4, 4, 3], [3, 3, 3, 8]), /stride must be/);
});

test.run();
