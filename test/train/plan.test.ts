import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Gpu } from '../../src/gpu/device.ts';
import { openCheckpoint } from '../../src/io/safetensors.ts';
import { readClipSizes } from '../../src/models/clip/clip.ts';
import { clipConfigJson, vitLarge14 } from '../../src/models/clip/config.ts';
import { loadMfp } from '../../src/models/mfp/load.ts';
import { configOfResnetCheckpoint, resnet50 } from '../../src/models/resnet/config.ts';
import { type RunConfig, defaultRunConfig, mfpConfigOf, parseRunConfig } from '../../src/train/config.ts';
import { ExampleLoader } from '../../src/train/examples.ts';
import { MfpTrainer } from '../../src/train/mfp_trainer.ts';
import { planTraining } from '../../src/train/plan.ts';
import { command, scratchFolder } from '../support/command.ts';
import { errorOf } from '../support/errors.ts';
import { openGolden } from '../support/golden.ts';
import { testGpu } from '../support/gpu.ts';

/** Most device memory that one update of a small model has taken, on a device of its own. */
async function peakOfUpdate(clip: string, cnn: string, config: RunConfig): Promise<number> {
  const gpu = await Gpu.open();
  try {
    const { training, image } = config;
    const loaded = await loadMfp(gpu, { clip, cnn, config: mfpConfigOf(config), size: image.size, precision: training.precision, parameterPrecision: 'f32' });
    const trainer = await MfpTrainer.create(gpu, loaded, config);
    await ExampleLoader.create(gpu, [], loaded);
    const example = {
      name: 'black',
      className: 'plate',
      image: new Float32Array(3 * image.size ** 2),
      features: new Float32Array(loaded.sizes.cnnWidth),
      mask: new Float32Array(image.size ** 2),
      label: 0 as const,
    };
    await trainer.update(Array.from({ length: training.batch }, () => example), 1, 1e-3);
    loaded.destroy();
    return gpu.memory.peak;
  } finally {
    gpu.close();
  }
}

for (const [what, changes] of [
  ['as the paper has it, with resized positions', { image: { size: 49 }, sp: { stages: [1, 2] } }],
  ['recomputation', { training: { recompute: true } }],
  ['16-bit storage and recomputation, batch 2', { training: { precision: 'f16', recompute: true, batch: 2 } }],
  ['no image in the texts, no mask prompting', { i2tp: { enabled: false }, mp: { enabled: false } }],
] as const) {
  test(`the planned memory is what an update takes, to the byte: ${what}`, async () => {
    const golden = await openGolden('default');
    await golden.file.close();
    const clip = await readClipSizes(golden.clip);
    const checkpoint = await openCheckpoint(golden.cnn);
    const cnn = configOfResnetCheckpoint(checkpoint);
    await checkpoint.close();
    const config = parseRunConfig({ image: { size: clip.vision.imageSize }, cnn: { size: 32 }, ...changes }, 'test');
    const { total, dispatches, ...parts } = await planTraining(await testGpu(), { clip, cnn, clipName: golden.clip }, config);
    const sum = (['weights', 'trained', 'inputs', 'intermediates', 'others'] as const).reduce((bytes, part) => bytes + parts[part], 0);
    assert.is(sum, total);
    assert.ok(dispatches > 100);
    assert.is(await peakOfUpdate(golden.clip, golden.cnn, config), total);
  });
}

test('ViT-L/14 with 518 × 518 images and ResNet-50 trains in 20 GB, and with recomputation and 16-bit storage in 8 GB', async () => {
  const gpu = await testGpu();
  const before = gpu.memory.allocated;
  const planned = async (training: Partial<RunConfig['training']>): Promise<{ total: number; weights: number; trained: number }> =>
    planTraining(gpu, { clip: vitLarge14, cnn: resnet50, clipName: 'ViT-L/14' }, { ...defaultRunConfig, training: { ...defaultRunConfig.training, ...training } });
  const single = await planned({});
  assert.ok(single.total < 20e9, `${single.total} bytes in f32`);
  const half = await planned({ precision: 'f16', recompute: true });
  assert.ok(half.total < 8e9, `${half.total} bytes in f16`);
  // 428 million parameters of CLIP less its token embedding, and ResNet-50 without its classifier: nothing is left out.
  assert.ok(single.weights > 4 * (389e6 + 23e6) && single.weights < 4 * (392e6 + 24e6), `${single.weights} bytes of weights`);
  assert.is(gpu.memory.allocated, before);
});

test('a size that the patches do not divide is refused', async () => {
  const { message } = await errorOf(async () => planTraining(await testGpu(), { clip: vitLarge14, cnn: resnet50, clipName: 'some/clip' }, { ...defaultRunConfig, image: { size: 500 } }));
  assert.match(message, /image size 500 is not a multiple of 14, the patch size of some\/clip/);
});

test('the command needs no weights', async () => {
  const folder = join(scratchFolder(), 'clip');
  mkdirSync(folder);
  const small = { ...vitLarge14, vision: { ...vitLarge14.vision, width: 64, mlpWidth: 256, heads: 2, layers: 4 }, text: { ...vitLarge14.text, width: 48, heads: 2, mlpWidth: 96, layers: 2 } };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(clipConfigJson(small)));
  const { code, output, errors } = await command(['plan', '--clip', folder, '--size', '56', '--batch', '2']);
  assert.is(code, 0, errors);
  assert.match(output, /Training with 2 images of 56 × 56 a pass on /);
  const rows = output.split('\n').filter((line) => /^\| f(32|16) /.test(line));
  assert.equal(rows.map((row) => row.split('|').slice(1, 3).map((cell) => cell.trim())), [['f32', 'no'], ['f32', 'yes'], ['f16', 'no'], ['f16', 'yes']]);
  for (const row of rows) assert.match(row, /(\d[\d.]* (kB|MB|GB) +\| +){6}\d+ \|/);
  const missing = await command(['plan', '--clip', join(folder, 'nothing')]);
  assert.is(missing.code, 1);
  assert.match(missing.errors, /nothing/);
});

test.run();
