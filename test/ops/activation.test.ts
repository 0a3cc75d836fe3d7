import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Activation, activate } from '../../src/ops/activation.ts';
import { assertGradients } from '../support/gradients.ts';
import { assertClose, evaluate, randomInput, testGpu } from '../support/gpu.ts';

const references: Record<Exclude<Activation, 'none'>, (x: number) => number> = {
  quick_gelu: (x) => x / (1 + Math.exp(-1.702 * x)),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
  relu: (x) => Math.max(x, 0),
};

for (const [kind, formula] of Object.entries(references) as [Exclude<Activation, 'none'>, (x: number) => number][]) {
  test(`${kind} against float64`, async () => {
    const { f16 } = await testGpu();
    for (const [dtype, tolerance] of [['f32', 1e-6], ['f16', 1e-3]] as const) {
      if (dtype === 'f16' && !f16) continue;
      for (const shape of [[1], [3, 67], [2, 64]]) {
        const input = randomInput(shape, 5, 2, dtype);
        const [output] = await evaluate([input], (x) => activate(x, kind));
        assertClose(output, Float64Array.from(input.values, formula), tolerance, `${kind} [${shape.join(', ')}] ${dtype}`);
      }
    }
  });

  test(`${kind} far from zero stays finite`, async () => {
    const values = [-1e30, -200, 200, 1e30];
    const [output] = await evaluate([{ values, shape: [4] }], (x) => activate(x, kind));
    assertClose(output, values.map(formula).map((value) => value || 0), 1e-6, kind);
  });

  test(`${kind} gradient`, async () => {
    // No value within a step of the kink at zero.
    const input = randomInput([5, 13], 6, 2);
    const values = Float32Array.from(input.values, (value) => (Math.abs(value) < 0.05 ? 0.3 : value));
    await assertGradients([{ ...input, values }], (x) => activate(x, kind), { elements: 65 });
  });
}

test("'none' costs nothing", async () => {
  await evaluate([randomInput([3], 1)], (x) => {
    assert.is(activate(x, 'none'), x);
    return activate(x, 'relu');
  });
});

test.run();
