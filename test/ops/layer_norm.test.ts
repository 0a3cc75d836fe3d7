import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { layerNorm } from '../../src/ops/layer_norm.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';

/** float64 reference of torch.nn.functional.layer_norm. */
function reference(input: ArrayLike<number>, weight: ArrayLike<number>, bias: ArrayLike<number>, epsilon: number): Float64Array {
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

for (const [rows, width] of [[1, 1], [1, 7], [3, 127], [5, 128], [2, 129], [7, 1024]]) {
  for (const [dtype, tolerance] of [['f32', 1e-5], ['f16', 2e-3]] as const) {
    test(`layer_norm [${rows}, ${width}] ${dtype}`, async () => {
      const input = randomInput([rows, width], 1, 3, dtype);
      const weight = randomInput([width], 2, 1, dtype);
      const bias = randomInput([width], 3, 1, dtype);
      const [output] = await evaluate([input, weight, bias], (x, w, b) => layerNorm(x, w, b));
      assertClose(output, reference(input.values, weight.values, bias.values, 1e-5), tolerance, 'layer_norm');
    });
  }
}

test('layer_norm keeps its digits when the mean is far from zero', async () => {
  const input = randomInput([2, 300], 1);
  const shifted = Float32Array.from(input.values, (value) => value + 1000);
  const weight = { values: new Float32Array(300).fill(1), shape: [300] };
  const bias = { values: new Float32Array(300), shape: [300] };
  const [output] = await evaluate([{ values: shifted, shape: [2, 300] }, weight, bias], (x, w, b) => layerNorm(x, w, b));
  assertClose(output, reference(shifted, weight.values, bias.values, 1e-5), 1e-4, 'layer_norm');
});

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
