import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseMfpConfig } from '../../src/models/mfp/config.ts';
import { loadMfp } from '../../src/models/mfp/load.ts';
import { storedMfp } from '../../src/models/mfp/parameters.ts';
import { freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { Program } from '../../src/tensor/program.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { type RunConfig, defaultRunConfig } from '../../src/train/config.ts';
import { MfpTrainer, type TrainingExample } from '../../src/train/mfp_trainer.ts';
import { type Golden, goldenNames, openGolden } from '../support/golden.ts';
import { assertClose, testGpu } from '../support/gpu.ts';

/** A golden's model and batch, ready to train. */
async function prepare(golden: Golden, changes: Partial<RunConfig['training']> = {}, optimizer: Partial<RunConfig['optimizer']> = {}): Promise<{ trainer: MfpTrainer; examples: TrainingExample[]; stored: (values: (name: string) => Float32Array) => Map<string, Float32Array>; parameters: () => Promise<Map<string, Float32Array>>; destroy: () => void }> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default' });
  const precision = changes.precision ?? 'f32';
  const loaded = await loadMfp(gpu, { clip: golden.clip, cnn: golden.cnn, mfp: golden.mfp, precision, parameterPrecision: 'f32' });
  const [batch, , size] = golden.shape('input.image');
  const config: RunConfig = { ...defaultRunConfig, ...parseMfpConfig(loaded.model.config, 'golden'), optimizer: { ...defaultRunConfig.optimizer, ...optimizer }, training: { ...defaultRunConfig.training, batch, ...changes } };
  const trainer = await MfpTrainer.create(gpu, loaded, config);
  // The CNN is frozen: its features come in from outside.
  const cnnImage = tensor(gpu, await golden.values('input.cnn_image'), golden.shape('input.cnn_image'), 'f32', 'CNN image');
  const cnnInput = precision === 'f32' ? cnnImage : undefined;
  const features = cnnInput ? await Program.record(gpu, () => loaded.cnn!.features(cnnInput)).then(async (program) => {
    await program.run();
    const values = await readTensor(gpu, program.outputs);
    program.destroy();
    return values;
  }) : await golden.values('cnn.features');
  freeTensor(gpu, cnnImage);
  const images = await golden.values('input.image');
  const masks = await golden.values('input.mask');
  const labels = await golden.values('input.label');
  const examples = Array.from({ length: batch }, (_, i): TrainingExample => ({
    name: `image ${i}`,
    className: '[OBJ]',
    image: images.slice(i * 3 * size * size, (i + 1) * 3 * size * size),
    features: features.slice((i * features.length) / batch, ((i + 1) * features.length) / batch),
    mask: masks.slice(i * size * size, (i + 1) * size * size),
    label: labels[i] as 0 | 1,
  }));
  const read = async (tensors: ReadonlyMap<string, Parameters<typeof readTensor>[1]>): Promise<Map<string, Float32Array>> => {
    const result = new Map<string, Float32Array>();
    for (const [name, value] of tensors) result.set(name, await readTensor(gpu, value));
    return result;
  };
  return {
    trainer,
    examples,
    stored: (values) => new Map(storedMfp(loaded.model.config, loaded.sizes, values).map(({ name, data }) => [name, data])),
    parameters: () => read(loaded.model.parameters),
    destroy() {
      trainer.destroy();
      loaded.destroy();
    },
  };
}

/** Gradients of one forward and backward pass, in the file's layout. */
async function gradientsOf(golden: Golden, changes: Partial<RunConfig['training']>): Promise<{ gradients: Map<string, Float32Array>; plannedBytes: number }> {
  const gpu = await testGpu();
  const { trainer, examples, stored, destroy } = await prepare(golden, changes);
  await trainer.computeGradients(examples, 1);
  const values = new Map<string, Float32Array>();
  for (const [name, gradient] of trainer.optimizer.gradients) values.set(name, (await readTensor(gpu, gradient)).map((value) => value / trainer.lossScale.scale));
  const result = { gradients: stored((name) => values.get(name)!), plannedBytes: trainer.plannedBytes };
  destroy();
  return result;
}

for (const name of goldenNames) {
  test(`gradients of every trained tensor agree with PyTorch: ${name}`, async () => {
    const golden = await openGolden(name);
    const { gradients } = await gradientsOf(golden, {});
    const expected = golden.keys('grad.');
    assert.equal([...gradients.keys()].sort(), expected.map((key) => key.slice('grad.'.length)).sort());
    let largest = 0;
    for (const key of expected) for (const value of await golden.values(key)) largest = Math.max(largest, Math.abs(value));
    for (const key of expected) {
      const gradient = gradients.get(key.slice('grad.'.length))!;
      const values = await golden.values(key);
      // Gradients that are zero in exact arithmetic are rounding noise here: small beside all others.
      if (values.every((value) => value === 0)) assert.ok(gradient.every((value) => Math.abs(value) < 1e-5 * largest), `${key} is not zero`);
      else assertClose(gradient, values, 1e-3, `${name} ${key}`);
    }
    await golden.file.close();
  });

  test(`ten steps of Adam stay with PyTorch's: ${name}`, async () => {
    const golden = await openGolden(name);
    const { trainer, examples, stored, parameters, destroy } = await prepare(golden);
    const losses: number[] = [];
    for (let step = 1; step <= 10; step++) losses.push((await trainer.update(examples, step, 1e-3)).losses.total);
    assertClose(losses, await golden.values('adam.losses'), 1e-4, `${name} losses`);
    const values = await parameters();
    const trained = stored((parameter) => values.get(parameter)!);
    for (const key of golden.keys('adam10.')) assertClose(trained.get(key.slice('adam10.'.length))!, await golden.values(key), 1e-3, `${name} ${key}`);
    destroy();
    await golden.file.close();
  });
}

test('recomputation changes no bit of the gradients and needs less memory', async () => {
  const golden = await openGolden('default');
  const kept = await gradientsOf(golden, {});
  const recomputed = await gradientsOf(golden, { recompute: true });
  for (const [name, gradient] of kept.gradients) assert.equal([...recomputed.gradients.get(name)!], [...gradient], name);
  assert.ok(recomputed.plannedBytes < kept.plannedBytes, `${recomputed.plannedBytes} bytes with recomputation, ${kept.plannedBytes} without`);
  await golden.file.close();
});

test('gradients with 16-bit storage point where those of PyTorch do', async () => {
  const golden = await openGolden('default');
  const { gradients } = await gradientsOf(golden, { precision: 'f16' });
  // A pre-activation near zero can fall on the other side of LeakyReLU's bend in 16 bits, which moves single elements by
  // their own size; over all tensors together that must not show.
  let [difference, whole] = [0, 0];
  for (const key of golden.keys('grad.')) {
    const gradient = gradients.get(key.slice('grad.'.length))!;
    (await golden.values(key)).forEach((value, i) => {
      difference += (gradient[i] - value) ** 2;
      whole += value ** 2;
    });
  }
  assert.ok(Math.sqrt(difference / whole) < 5e-2, `relative error ${Math.sqrt(difference / whole)}`);
  await golden.file.close();
});

test('accumulation over two passes gives the gradient of the mean', async () => {
  const golden = await openGolden('default');
  const once = await gradientsOf(golden, {});
  const { trainer, examples, stored, destroy } = await prepare(golden, { accumulation: 2 });
  const gpu = await testGpu();
  await trainer.computeGradients([...examples, ...examples], 1);
  const values = new Map<string, Float32Array>();
  for (const [name, gradient] of trainer.optimizer.gradients) values.set(name, await readTensor(gpu, gradient));
  const twice = stored((name) => values.get(name)!);
  for (const [name, gradient] of once.gradients) assertClose(twice.get(name)!, gradient, 1e-5, name);
  destroy();
  await golden.file.close();
});

test('mask prompting learns at its own rate', async () => {
  const golden = await openGolden('default');
  /** What the first step adds to each parameter. */
  const firstStep = async (maskPromptFactor: number): Promise<Map<string, Float32Array>> => {
    const { trainer, examples, parameters, destroy } = await prepare(golden, {}, { maskPromptFactor });
    const before = await parameters();
    await trainer.update(examples, 1, 1e-3);
    const after = await parameters();
    destroy();
    return new Map([...after].map(([name, values]) => [name, values.map((value, i) => value - before.get(name)![i])]));
  };
  const [same, slower] = [await firstStep(1), await firstStep(0.25)];
  assert.ok([...same.keys()].some((name) => name.startsWith('mp.')));
  for (const [name, changes] of same) {
    if (!name.startsWith('mp.')) assert.equal(slower.get(name), changes, name);
    else assertClose(slower.get(name)!, changes.map((change) => 0.25 * change), 1e-3, name);
    assert.ok(changes.some((change) => change !== 0), name);
  }
  await golden.file.close();
});

test('a loss that is not a number names the step and the image, and changes nothing', async () => {
  const golden = await openGolden('default');
  const { trainer, examples, parameters, destroy } = await prepare(golden);
  const before = await parameters();
  const broken = { ...examples[0], name: 'broken.png', image: examples[0].image.map(() => Number.NaN) };
  let message = '';
  try {
    await trainer.update([broken], 7, 1e-3);
  } catch (error) {
    message = (error as Error).message;
  }
  assert.match(message, /step 7/);
  assert.match(message, /broken\.png/);
  for (const [name, values] of await parameters()) assert.equal([...values], [...before.get(name)!], name);
  destroy();
  await golden.file.close();
});

test.run();
