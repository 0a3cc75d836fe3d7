import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { accumulate } from '../../src/ops/accumulate.ts';
import { adam, adamConstants } from '../../src/ops/adam.ts';
import { Program } from '../../src/tensor/program.ts';
import { type Tensor, asParameter, freeTensor, readTensor, tensor, writeTensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { goldenFolder } from '../support/golden.ts';
import { assertClose, randomInput, randomValues, testGpu } from '../support/gpu.ts';

interface Settings {
  readonly decoupled: boolean;
  readonly learningRate: number;
  readonly weightDecay: number;
}

const fixed = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/** The loop of torch.optim.Adam and AdamW (single tensor, no amsgrad) in float64. */
class Reference {
  readonly parameter: Float64Array;
  readonly first: Float64Array;
  readonly second: Float64Array;
  step = 0;

  constructor(values: ArrayLike<number>) {
    this.parameter = Float64Array.from(values);
    this.first = new Float64Array(values.length);
    this.second = new Float64Array(values.length);
  }

  update(gradient: ArrayLike<number>, scale: number, { decoupled, learningRate, weightDecay }: Settings): void {
    this.step++;
    const { beta1, beta2, epsilon } = fixed;
    for (let i = 0; i < this.parameter.length; i++) {
      let g = gradient[i] * scale;
      if (decoupled) this.parameter[i] *= 1 - learningRate * weightDecay;
      else g += weightDecay * this.parameter[i];
      this.first[i] = beta1 * this.first[i] + (1 - beta1) * g;
      this.second[i] = beta2 * this.second[i] + (1 - beta2) * g * g;
      const denominator = Math.sqrt(this.second[i]) / Math.sqrt(1 - beta2 ** this.step) + epsilon;
      this.parameter[i] -= ((learningRate / (1 - beta1 ** this.step)) * this.first[i]) / denominator;
    }
  }
}

/** Parameter, moments and everything else that a recorded step reads. */
async function recordAdam(values: ArrayLike<number>, decoupled: boolean, variant: string): Promise<{ tensors: Record<string, Tensor>; program: Program<undefined>; destroy(): void }> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: { adam: variant } });
  const size = values.length;
  const tensors = {
    parameter: asParameter(tensor(gpu, values, [size], 'f32', 'parameter')),
    gradient: tensor(gpu, new Float32Array(size), [size], 'f32', 'gradient'),
    first: tensor(gpu, new Float32Array(size), [size], 'f32', 'first moment'),
    second: tensor(gpu, new Float32Array(size), [size], 'f32', 'second moment'),
    constants: tensor(gpu, new Float32Array(8), [8], 'f32', 'constants'),
    scale: tensor(gpu, [1], [1], 'f32', 'scale'),
  };
  const { parameter, gradient, first, second, constants, scale } = tensors;
  const program = await Program.record(gpu, () => adam(parameter, gradient, first, second, constants, scale, { decoupled }) as undefined, { poison: true, label: 'adam' });
  return {
    tensors,
    program,
    destroy() {
      program.destroy();
      for (const unused of Object.values(tensors)) freeTensor(gpu, unused);
    },
  };
}

for (const variant of ['workgroup', 'subgroup']) {
  for (const [size, decoupled, weightDecay] of [[1, false, 0], [4099, false, 0], [1028, false, 0.1], [1031, true, 0.1], [2052, true, 0.01]] as const) {
    test(`ten steps of ${decoupled ? 'AdamW' : 'Adam'}, decay ${weightDecay}, [${size}] ${variant}`, async () => {
      const gpu = await testGpu();
      // Small, so that their own rounding hides nothing of the steps.
      const values = randomValues(size, 1, 1e-2);
      const reference = new Reference(values);
      const { tensors, program, destroy } = await recordAdam(values, decoupled, variant);
      for (let step = 1; step <= 10; step++) {
        // Gradients over many orders of magnitude, some of them zero.
        const gradient = randomValues(size, 10 + step).map((value, i) => (i % 11 === 5 ? 0 : value * 10 ** -(i % 9)));
        const settings = { decoupled, learningRate: 1e-2 / step, weightDecay };
        const scale = 1 / 2 ** step;
        writeTensor(gpu, tensors.gradient, gradient);
        writeTensor(gpu, tensors.constants, adamConstants({ ...fixed, ...settings, step }));
        writeTensor(gpu, tensors.scale, [scale]);
        await program.run();
        reference.update(gradient, scale, settings);
      }
      const parameter = await readTensor(gpu, tensors.parameter);
      assertClose(parameter, reference.parameter, 1e-6, 'parameter');
      assertClose(parameter.map((value, i) => value - values[i]), reference.parameter.map((value, i) => value - values[i]), 1e-5, 'change of the parameter');
      assertClose(await readTensor(gpu, tensors.first), reference.first, 1e-6, 'first moment');
      assertClose(await readTensor(gpu, tensors.second), reference.second, 1e-6, 'second moment');
      destroy();
    });
  }
}

for (const kind of ['adam', 'adamw']) {
  test(`ten steps of ${kind} stay with PyTorch's`, async () => {
    const gpu = await testGpu();
    const golden = await openSafetensors(join(goldenFolder, 'ops.safetensors'));
    const { rate, beta1, beta2, epsilon, weight_decay: weightDecay } = JSON.parse(golden.metadata.parameters)[kind] as Record<string, number>;
    const [initial, gradients, parameters] = await Promise.all(['initial', 'gradients', 'parameters'].map((name) => golden.readFloat32(`${kind}.${name}`)));
    const size = initial.length;
    const decoupled = kind === 'adamw';
    const { tensors, program, destroy } = await recordAdam(initial, decoupled, 'workgroup');
    for (let step = 1; step <= gradients.length / size; step++) {
      writeTensor(gpu, tensors.gradient, gradients.subarray((step - 1) * size, step * size));
      writeTensor(gpu, tensors.constants, adamConstants({ step, learningRate: rate, beta1, beta2, epsilon, weightDecay, decoupled }));
      await program.run();
      const found = await readTensor(gpu, tensors.parameter);
      assertClose(found, parameters.subarray((step - 1) * size, step * size), 1e-6, `parameter after step ${step}`);
    }
    assertClose(await readTensor(gpu, tensors.first), await golden.readFloat32(`${kind}.first_moment`), 1e-6, 'first moment');
    assertClose(await readTensor(gpu, tensors.second), await golden.readFloat32(`${kind}.second_moment`), 1e-6, 'second moment');
    destroy();
  });
}

test('adam leaves everything as it was when the scale is 0 or not finite', async () => {
  const gpu = await testGpu();
  const values = randomValues(37, 1);
  for (const decoupled of [false, true]) {
    const { tensors, program, destroy } = await recordAdam(values, decoupled, 'workgroup');
    const moments = randomValues(37, 2).map(Math.abs);
    writeTensor(gpu, tensors.first, moments);
    writeTensor(gpu, tensors.second, moments);
    writeTensor(gpu, tensors.gradient, randomValues(37, 3).fill(Number.NaN, 3, 5));
    writeTensor(gpu, tensors.constants, adamConstants({ ...fixed, decoupled, learningRate: 1, weightDecay: 0.5, step: 1 }));
    for (const scale of [0, Number.NaN, Number.POSITIVE_INFINITY]) {
      writeTensor(gpu, tensors.scale, [scale]);
      await program.run();
      assert.equal(await readTensor(gpu, tensors.parameter), values);
      assert.equal(await readTensor(gpu, tensors.first), moments);
      assert.equal(await readTensor(gpu, tensors.second), moments);
    }
    destroy();
  }
});

test('adam names the operand of a wrong size', async () => {
  const gpu = await testGpu();
  const tensors = [[4], [5], [4], [4], [8], [1]].map((shape, i) => tensor(gpu, randomInput(shape, i).values, shape));
  let message = '';
  try {
    await Program.record(gpu, () => adam(tensors[0], tensors[1], tensors[2], tensors[3], tensors[4], tensors[5], { decoupled: false }) as undefined);
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /adam: .*gradient f32\[5\]/);
  for (const unused of tensors) freeTensor(gpu, unused);
});

test('accumulate adds in place, run after run', async () => {
  const gpu = await testGpu();
  for (const [variant, size] of [['workgroup', 1], ['subgroup', 4099], ['workgroup', 2052]] as const) {
    configureVariants(gpu, { mode: 'default', forced: { accumulate: variant } });
    const values = randomValues(size, 1);
    const gradient = randomValues(size, 2);
    const [sum, addend] = [tensor(gpu, values, [size]), tensor(gpu, gradient, [size])];
    const program = await Program.record(gpu, () => accumulate(sum, addend) as undefined, { label: 'accumulate' });
    await program.run();
    await program.run();
    assert.equal(await readTensor(gpu, sum), values.map((value, i) => Math.fround(Math.fround(value + gradient[i]) + gradient[i])));
    program.destroy();
    for (const unused of [sum, addend]) freeTensor(gpu, unused);
  }
});

test.run();
