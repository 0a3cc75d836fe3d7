import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { RandomSource } from '../../src/tensor/random.ts';
import { freeTensor, readTensor } from '../../src/tensor/tensor.ts';
import { readSplit } from '../../tools/dataset/split.ts';
import { clipPretraining, smallClip } from '../../tools/pretrain/clip.ts';
import { CaptionedImages, pretrainingSubjects } from '../../tools/pretrain/images.ts';
import { pretrain } from '../../tools/pretrain/loop.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

const test = suite('pretraining');
const work = mkdtempSync(join(tmpdir(), 'mfp-clip-test-'));
const subjects = pretrainingSubjects().filter(({ category }) => ['wood', 'button', 'gear'].includes(category.name));
const options = { perConcept: 1, size: 40, seed: 3, work };
const images = await CaptionedImages.render(subjects, options);

test('sees nothing that is held out for zero-shot tests', () => {
  const { zeroShot } = readSplit();
  const all = pretrainingSubjects();
  assert.is(all.length, readSplit().pretraining.categories.length);
  for (const { category, defects } of all) {
    assert.not.ok(zeroShot.categories.includes(category.name), category.name);
    assert.ok(defects.length > 0, category.name);
    for (const defect of defects) assert.not.ok(zeroShot.defects.includes(defect), `${category.name}/${defect}`);
  }
});

test('a pool that was rendered before is read, and is the same', async () => {
  const pools = (): string[] => readdirSync(work).filter((name) => name.endsWith('.bin'));
  assert.is(pools().length, 1);
  const again = await CaptionedImages.render(subjects, options);
  assert.is(pools().length, 1);
  assert.equal(again.any(new RandomSource(5), 8, 24), images.any(new RandomSource(5), 8, 24));
});

test('pairs show each category once without and once with a defect, and say so', () => {
  const random = new RandomSource(1);
  for (let round = 0; round < 20; round++) {
    const batch = images.pairs(random, 6, 40);
    const shown = batch.map(({ concept }) => images.concepts[concept]);
    for (let i = 0; i < 6; i += 2) {
      assert.is(shown[i].category, shown[i + 1].category);
      assert.is(shown[i].defect, 'good');
      assert.is.not(shown[i + 1].defect, 'good');
    }
    assert.is(new Set(shown.map(({ category }) => category)).size, 3);
    assert.is(new Set(batch.map(({ caption }) => caption)).size, 6);
    for (const { pixels, mask, caption, concept } of batch) {
      assert.is(pixels.length, 3 * 40 * 40);
      // All of the defect is in the picture, and it is large enough to be learned from.
      assert.is(mask.some((share) => share > 0.5), images.concepts[concept].defect !== 'good', caption);
      assert.ok(mask.every((share) => share >= 0 && share <= 1.000001));
      assert.ok(new Set(pixels).size > 8, 'a picture is not flat');
      assert.ok(caption.includes(images.concepts[concept].category.name), caption);
    }
  }
});

test('heads start where they should look, and the last ones at what looks alike', async () => {
  const gpu = await testGpu();
  const training = await clipPretraining(gpu, images, join(work, 'start'), 6, 2);
  const value = async (name: string): Promise<Float32Array> => readTensor(gpu, training.parameters.get(`image/${name}`)!);
  const { width, heads, imageSize, patchSize } = smallClip.vision;
  const grid = imageSize / patchSize;
  const position = await value('position');
  for (const [layer, head, right, down] of [[1, 0, 0, 1], [1, 1, 1, 0], [3, 0, 2, 2], [8, 1, -2, 2]] as const) {
    const weight = await value(`layer ${layer}/qkv.weight`);
    // Queries and keys of the positions alone.
    const project = (patch: number, first: number): number[] =>
      Array.from({ length: width / heads }, (_, i) => {
        let sum = 0;
        for (let c = 0; c < width; c++) sum += position[(1 + patch) * width + c] * weight[c * 3 * width + first + i];
        return sum;
      });
    const keys = Array.from({ length: grid * grid }, (_, patch) => project(patch, width + (head * width) / heads));
    for (const [x, y] of [[2, 2], [7, 9], [13, 5]] as const) {
      const query = project(y * grid + x, (head * width) / heads);
      const products = keys.map((key) => key.reduce((sum, k, i) => sum + k * query[i], 0));
      assert.is(products.indexOf(Math.max(...products)), (y + down) * grid + x + right, `layer ${layer}, head ${head}, patch ${x}, ${y}`);
    }
  }
  const last = await value('layer 5/qkv.weight');
  const [from, start] = [(2 * width) / heads, width / heads];
  let [same, all] = [0, 0];
  for (let c = start; c < width; c++) for (let i = 0; i < width / heads; i++) [same, all] = [same + last[c * 3 * width + from + i] * last[c * 3 * width + width + from + i], all + last[c * 3 * width + from + i] ** 2];
  assert.ok(same > 0.9 * all, 'queries and keys of the last head are one projection');
  for (const parameter of training.parameters.values()) freeTensor(gpu, parameter);
});

test('an interrupted run goes on with the same bits', async () => {
  const gpu = await testGpu();
  const run = async (folder: string, failAt: number): Promise<Map<string, Float32Array>> => {
    const training = await clipPretraining(gpu, images, folder, 6, 2);
    let written = 0;
    const failing = { ...training, writeBatch: (random: RandomSource) => (++written === failAt ? Promise.reject(new Error('the power is gone')) : training.writeBatch(random)) };
    try {
      await pretrain(gpu, failing, { out: folder, steps: 3, seed: 2, optimizer: { kind: 'adamw', learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.05, clipNorm: 1 }, warmupSteps: 1, saveEvery: 2, measureEvery: 1 });
      const values = new Map<string, Float32Array>();
      for (const [name, parameter] of training.parameters) values.set(name, await readTensor(gpu, parameter));
      return values;
    } finally {
      for (const parameter of training.parameters.values()) freeTensor(gpu, parameter);
    }
  };
  const [whole, parts] = [join(work, 'whole'), join(work, 'parts')];
  const expected = await run(whole, 0);
  assert.match((await errorOf(() => run(parts, 3))).message, /the power is gone/);
  const resumed = await run(parts, 0);
  assert.ok(expected.size > 50);
  for (const [name, values] of expected) assert.equal(resumed.get(name), values, name);
  const losses = (folder: string): number[] => readFileSync(join(folder, 'log.jsonl'), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { loss: number }).loss);
  assert.is(losses(whole).length, 3);
  assert.equal(losses(parts), losses(whole));
  assert.ok(existsSync(join(parts, 'loss.svg')));
});

test('a batch that cannot be made of pairs is refused', async () => {
  const gpu = await testGpu();
  for (const batch of [5, 8]) assert.match((await errorOf(() => clipPretraining(gpu, images, join(work, 'refused'), batch, 1))).message, /even, and at most 6/);
});

test.after(() => rmSync(work, { recursive: true }));
test.run();
