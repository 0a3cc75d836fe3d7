import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { exponentialScale } from '../../src/ops/exponential_scale.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { asParameter } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';

for (const [variant, shape] of [['workgroup', [1]], ['subgroup', [7, 11]], ['workgroup', [64, 68]], ['subgroup', [64, 68]]] as [string, number[]][]) {
  test(`exponential_scale [${shape.join(', ')}] ${variant}`, async () => {
    const [input, gradient] = [randomInput(shape, 1), randomInput(shape, 2)];
    const logScale = Math.fround(2.6);
    const [output, ofInput, ofScale] = await evaluate(
      [input, { values: [logScale], shape: [1] }, gradient],
      (x, s, g) => {
        const scaled = exponentialScale(asParameter(x), asParameter(s));
        const gradientOf = gradients([{ tensor: scaled, gradient: g }]);
        return [scaled, gradientOf(x)!, gradientOf(s)!];
      },
      { exponential_scale: variant, exponential_scale_parameter_backward: variant },
    );
    const scale = Math.exp(logScale);
    assertClose(output, Array.from(input.values, (value) => value * scale), 1e-6, 'exponential_scale');
    assertClose(ofInput, Array.from(gradient.values, (value) => value * scale), 1e-6, 'gradient of input');
    // Terms of both signs: relative to the sum of their magnitudes.
    const terms = Array.from(input.values, (value, i) => value * scale * gradient.values[i]);
    const magnitude = terms.reduce((sum, term) => sum + Math.abs(term), 0);
    assertClose([ofScale[0] / magnitude, 1], [terms.reduce((a, b) => a + b, 0) / magnitude, 1], 1e-6, 'gradient of log scale');
  });
}

test('exponential_scale gradients agree with central differences', async () => {
  await assertGradients([randomInput([3, 5], 1), { values: [0.7], shape: [1] }], (x, s) => exponentialScale(x, s));
});

test('exponential_scale names the operand of a wrong shape', async () => {
  let message = '';
  try {
    await evaluate([randomInput([3], 1), randomInput([2], 2)], (x, s) => exponentialScale(x, s));
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /exponential_scale: .*log scale f32\[2\]/);
});

test.run();
