import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { layerNorm } from '../../src/ops/layer_norm.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomInput } from '../support/gpu.ts';

const epsilon = 1e-5;

/** float64 reference of torch.nn.functional.layer_norm. */
function reference(input: ArrayLike<number>, weight: ArrayLike<number>, bias: ArrayLike<number>): Float64Array {
  const width = weight.length;
  const output = new Float64Array(input.length);
  for (let start = 0; start < input.length; start += width) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += input[start + i] / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (input[start + i] - mean) ** 2 / width;
    for (let i = 0; i < width; i++) output[start + i] = ((input[start + i] - mean) / Math.sqrt(variance + epsilon)) * weight[i] + bias[i];
  }
  return output;
}

/** float64 reference of its gradients. */
function referenceGradients(input: ArrayLike<number>, weight: ArrayLike<number>, gradient: ArrayLike<number>): Float64Array[] {
  const width = weight.length;
  const ofInput = new Float64Array(input.length);
  const ofWeight = new Float64Array(width);
  const ofBias = new Float64Array(width);
  const normal = reference(input, new Float64Array(width).fill(1), new Float64Array(width));
  for (let start = 0; start < input.length; start += width) {
    let mean = 0;
    for (let i = 0; i < width; i++) mean += input[start + i] / width;
    let variance = 0;
    for (let i = 0; i < width; i++) variance += (input[start + i] - mean) ** 2 / width;
    let flat = 0;
    let correlated = 0;
    for (let i = 0; i < width; i++) {
      const h = gradient[start + i] * weight[i];
      flat += h / width;
      correlated += (h * normal[start + i]) / width;
      ofWeight[i] += gradient[start + i] * normal[start + i];
      ofBias[i] += gradient[start + i];
    }
    for (let i = 0; i < width; i++) ofInput[start + i] = (gradient[start + i] * weight[i] - flat - normal[start + i] * correlated) / Math.sqrt(variance + epsilon);
  }
  return [ofInput, ofWeight, ofBias];
}

for (const variant of ['workgroup', 'subgroup']) {
  const variants = { layer_norm: variant, layer_norm_backward: variant, layer_norm_parameter_backward: variant };
  for (const [rows, width] of [[1, 1], [1, 7], [3, 127], [5, 128], [2, 129], [67, 36], [7, 1024]]) {
    for (const [dtype, tolerance] of [['f32', 1e-5], ['f16', 2e-3]] as const) {
      test(`layer_norm [${rows}, ${width}] ${dtype} ${variant}`, async () => {
        const input = randomInput([rows, width], 1, 3, dtype);
        const weight = randomInput([width], 2, 1, dtype);
        const bias = randomInput([width], 3, 1, dtype);
        const [output] = await evaluate([input, weight, bias], (x, w, b) => layerNorm(x, w, b), variants);
        assertClose(output, reference(input.values, weight.values, bias.values), tolerance, 'layer_norm');
      });
    }
  }

  for (const width of [7, 96, 1024]) {
    test(`layer_norm of rows far from zero, width ${width} ${variant}`, async () => {
      const ones = { values: new Float32Array(width).fill(1), shape: [width] };
      const zeros = { values: new Float32Array(width), shape: [width] };
      const rows = [100.3, 1000.7, 12345.678, -60000.1];
      // Of equal values nothing is left, whatever the last digit of their mean.
      const flat = { values: Float32Array.from({ length: rows.length * width }, (_, i) => rows[Math.floor(i / width)]), shape: [rows.length, width] };
      const gradient = randomInput([rows.length, width], 4);
      const run = (input: TestInput): Promise<Float32Array[]> =>
        evaluate(
          [input, ones, zeros, gradient],
          (x, w, b, seed) => {
            for (const parameter of [x, w, b]) asParameter(parameter);
            const output = layerNorm(x, w, b);
            const gradientOf = gradients([{ tensor: output, gradient: seed }]);
            return [output, gradientOf(x)!, gradientOf(w)!];
          },
          variants,
        );
      const [output, ofInput, ofWeight] = await run(flat);
      const expected = referenceGradients(flat.values, ones.values, gradient.values);
      assertClose(output, new Float64Array(flat.values.length), 1e-5, 'equal values');
      assertClose(ofInput, expected[0], 1e-5, 'gradient of equal values');
      assertClose(ofWeight, new Float64Array(width), 1e-5, 'gradient of the weight');
      const noise = randomInput([rows.length, width], 5);
      const far = { values: Float32Array.from(noise.values, (value, i) => value + rows[Math.floor(i / width)]), shape: noise.shape };
      const [spread, spreadGradient] = await run(far);
      assertClose(spread, reference(far.values, ones.values, zeros.values), 1e-5, 'values far from zero');
      assertClose(spreadGradient, referenceGradients(far.values, ones.values, gradient.values)[0], 1e-5, 'gradient far from zero');
    });
  }

  for (const [rows, width] of [[1, 5], [3, 128], [67, 36], [33, 131]]) {
    for (const [dtype, tolerance] of [['f32', 2e-5], ['f16', 4e-3]] as const) {
      test(`layer_norm gradients [${rows}, ${width}] ${dtype} ${variant}`, async () => {
        const inputs = [randomInput([rows, width], 1, 3, dtype), randomInput([width], 2, 1, dtype), randomInput([width], 3, 1, dtype), randomInput([rows, width], 4, 1, dtype)];
        const found = await evaluate(
          inputs,
          (x, w, b, gradient) => {
            for (const parameter of [x, w, b]) asParameter(parameter);
            const gradientOf = gradients([{ tensor: layerNorm(x, w, b), gradient }]);
            return [gradientOf(x)!, gradientOf(w)!, gradientOf(b)!];
          },
          variants,
        );
        const expected = referenceGradients(inputs[0].values, inputs[1].values, inputs[3].values);
        ['input', 'weight', 'bias'].forEach((name, i) => assertClose(found[i], expected[i], tolerance, `gradient of ${name}`));
      });
    }
  }

  test(`layer_norm gradients agree with central differences, ${variant}`, async () => {
    await assertGradients([randomInput([2, 3, 37], 1), randomInput([37], 2), randomInput([37], 3)], (x, w, b) => layerNorm(x, w, b), { variants });
  });

  test(`layer_norm keeps its digits when the mean is far from zero, ${variant}`, async () => {
    const input = randomInput([2, 300], 1);
    const shifted = Float32Array.from(input.values, (value) => value + 1000);
    const weight = { values: new Float32Array(300).fill(1), shape: [300] };
    const bias = { values: new Float32Array(300), shape: [300] };
    const [output] = await evaluate([{ values: shifted, shape: [2, 300] }, weight, bias], (x, w, b) => layerNorm(x, w, b), variants);
    assertClose(output, reference(shifted, weight.values, bias.values), 1e-4, 'layer_norm');
  });
}

test('layer_norm names the operand of a wrong shape', async () => {
  let message = '';
  try {
    await evaluate([randomInput([2, 8], 1), randomInput([7], 2), randomInput([8], 3)], (x, w, b) => layerNorm(x, w, b));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /layer_norm: .*weight f32\[7\]/);
});

test.run();
