import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { loadMfp } from '../../src/models/mfp/load.ts';
import { mfpForward, mfpText } from '../../src/models/mfp/mfp.ts';
import { cast } from '../../src/ops/cast.ts';
import { Program } from '../../src/tensor/program.ts';
import { type Tensor, freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { goldenNames, openGolden } from '../support/golden.ts';
import { assertClose, testGpu } from '../support/gpu.ts';

/** Runs a golden's inputs through the whole model and compares everything that both compute. */
async function compare(name: string, precision: 'f32' | 'f16', tolerance: number, variants?: Record<string, string>): Promise<void> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: variants });
  const golden = await openGolden(name);
  const loaded = await loadMfp(gpu, { clip: golden.clip, cnn: golden.cnn, mfp: golden.mfp, precision });
  const { model, cnn } = loaded;
  const input = async (key: string): Promise<Tensor> => tensor(gpu, await golden.values(key), golden.shape(key), 'f32', key);
  const image = await input('input.image');
  const cnnImage = await input('input.cnn_image');
  const batch = image.shape[0];
  const { embeddings, endOfText } = await loaded.prompts('[OBJ]');
  const tokens = tensor(gpu, embeddings, [2, loaded.sizes.context, loaded.sizes.textWidth], precision, 'tokens');
  const texts = model.config.i2tp.enabled ? batch : 1;
  const ends = tensor(gpu, Array.from({ length: texts }, () => endOfText).flat(), [2 * texts], 'u32', 'ends');
  const program = await Program.record(
    gpu,
    () => {
      const features = cnn!.features(cast(cnnImage, precision));
      const text = mfpText(model, tokens, ends, features);
      return { features, ...mfpForward(model, cast(image, precision), features, text) };
    },
    { poison: true, label: name },
  );
  await program.run();
  const { features, text, coarseTaps, taps, adapted, coarseMap, map, score } = program.outputs;
  const last = model.config.mp.enabled ? 'pass2' : 'pass1';
  const pairs: [string, Tensor][] = [
    ['cnn.features', features],
    ['text.features', text],
    ...coarseTaps.map((tap, i): [string, Tensor] => [`pass1.tap.${i + 1}`, tap]),
    ...taps.map((tap, i): [string, Tensor] => [`${last}.tap.${i + 1}`, tap]),
    ...adapted.map((tap, i): [string, Tensor] => [`${last}.adapter.${model.config.map.stages[i]}`, tap]),
    ['map.coarse', coarseMap],
    ['map.final', map],
    ['score', score],
  ];
  for (const [key, output] of pairs) {
    assert.equal(output.size, (await golden.values(key)).length, `${name} ${key} has another size`);
    assertClose(await readTensor(gpu, output), await golden.values(key), tolerance, `${name} ${key}`);
  }
  program.destroy();
  for (const unused of [image, cnnImage, tokens, ends]) freeTensor(gpu, unused);
  loaded.destroy();
  await golden.file.close();
}

for (const name of goldenNames) {
  test(`MFP-CLIP agrees with PyTorch: ${name}, f32`, () => compare(name, 'f32', 1e-4));
  test(`MFP-CLIP agrees with PyTorch: ${name}, f16 storage`, () => compare(name, 'f16', 1e-2));
}

test.run();
