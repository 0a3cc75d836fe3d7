import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type LayerPrompts, embedImage, imageTower, runImageTower } from '../../src/models/clip/image_tower.ts';
import { Program } from '../../src/tensor/program.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { readSplit } from '../../tools/dataset/split.ts';
import { Batches, drawBatch } from '../../tools/pretrain/batches.ts';
import { clipPretraining, smallClip } from '../../tools/pretrain/clip.ts';
import { CaptionedImages, pretrainingSubjects } from '../../tools/pretrain/images.ts';
import { pretrain } from '../../tools/pretrain/loop.ts';
import { channelPlan } from '../../tools/pretrain/start_values.ts';
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
  // There are 1000 seeds for each concept, and twice as many pictures without defect.
  assert.match((await errorOf(() => CaptionedImages.render(subjects, { ...options, perConcept: 501 }))).message, /--per-concept 501: more than 500 pictures/);
});

test('a batch depends on seed and step alone, whichever process draws it', async () => {
  for (const kind of ['pairs', 'any'] as const) {
    const options = { kind, count: 6, size: 24, seed: 4 };
    const batches = new Batches(images, options);
    try {
      // Not from the beginning, and not in order, as a run that goes on.
      for (const step of [2, 3, 1]) assert.equal(await batches.batch(step), drawBatch(images, options, step), `${kind}, step ${step}`);
    } finally {
      batches.close();
    }
    assert.not.equal(drawBatch(images, options, 1), drawBatch(images, options, 2));
  }
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
  for (const [layer, head, right, down] of [[3, 0, 2, 2], [3, 1, -2, -2], [4, 0, 1, -1], [8, 1, -2, 2]] as const) {
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
      const found = products.indexOf(Math.max(...products));
      const off = Math.max(Math.abs((found % grid) - x - right), Math.abs(Math.floor(found / grid) - y - down));
      assert.ok(off <= 1, `layer ${layer}, head ${head}: patch ${x}, ${y} looks at ${found % grid}, ${Math.floor(found / grid)}`);
    }
  }
  const last = await value('layer 5/qkv.weight');
  const { codeSize } = channelPlan(width);
  const from = (2 * width) / heads;
  let [same, all] = [0, 0];
  for (let c = codeSize; c < width; c++) for (let i = 0; i < width / heads; i++) [same, all] = [same + last[c * 3 * width + from + i] * last[c * 3 * width + width + from + i], all + last[c * 3 * width + from + i] ** 2];
  assert.ok(same > 0.9 * all, 'queries and keys of the last head are one projection');
  for (const parameter of training.parameters.values()) freeTensor(gpu, parameter);
});

test('from the first step a patch that is like no other stands out, and prompts change nothing about that', async () => {
  const gpu = await testGpu();
  const training = await clipPretraining(gpu, images, join(work, 'odd'), 6, 2);
  const { width, imageSize: size, patchSize } = smallClip.vision;
  const grid = size / patchSize;
  const tower = imageTower(
    { ...smallClip, text: { ...smallClip.text, vocabulary: 1, endOfText: 0 } },
    new Map([...training.parameters].filter(([name]) => name.startsWith('image/')).map(([name, parameter]) => [name.slice('image/'.length), parameter])),
  );
  const random = new RandomSource(4);
  // Stripes across and stripes down in light that falls off, and one patch without stripes.
  const odd = { x: 10, y: 5 };
  const pixels = new Float32Array(3 * size * size);
  for (let i = 0; i < pixels.length; i++) {
    const [x, y] = [i % size, Math.floor(i / size) % size];
    const isOdd = Math.floor(x / patchSize) === odd.x && Math.floor(y / patchSize) === odd.y;
    pixels[i] = 0.3 * (x / size) + (isOdd ? 0 : Math.sin((2 * Math.PI * (x < size / 2 ? x + 0.3 * y : y)) / 8)) + random.normal(0, 0.05);
  }
  const image = tensor(gpu, pixels, [1, 3, size, size], 'f32');
  const tokens = tensor(gpu, Float32Array.from({ length: 10 * width }, () => random.normal(0, 1)), [1, 10, width], 'f32');
  const { codeSize, magnitudes } = channelPlan(width);
  const tapsWith = async (prompts?: LayerPrompts): Promise<Float32Array[]> => {
    const program = await Program.record(gpu, () => [...runImageTower(tower, embedImage(tower, image), [1, 2], prompts).taps], { label: 'start' });
    await program.run();
    const taps = [];
    for (const output of program.outputs) taps.push(await readTensor(gpu, output));
    program.destroy();
    return taps;
  };
  const magnitudesOf = (taps: Float32Array): number[] => Array.from({ length: grid * grid }, (_, patch) => [0, 1, 2].reduce((sum, i) => sum + taps[patch * width + magnitudes + i], 0));
  /** Root mean square of some of the channels. */
  const sizeOfChannels = (taps: Float32Array, first: number, count: number): number => Math.sqrt(taps.reduce((sum, value, i) => sum + (i % width >= first && i % width < first + count ? value ** 2 : 0), 0) / (grid * grid * count));
  const [before, compared] = await tapsWith();
  const [alone, prompted] = [magnitudesOf(compared), magnitudesOf((await tapsWith({ tokens, layers: new Set([2]), keep: true }))[1])];
  const place = odd.y * grid + odd.x;
  const others = alone.filter((_, patch) => patch !== place).sort((a, b) => a - b);
  assert.is(alone.indexOf(Math.max(...alone)), place);
  assert.ok(alone[place] > 2 * others[Math.floor(others.length / 2)], 'twice as large as is usual');
  for (const [patch, magnitude] of prompted.entries()) assert.ok(Math.abs(magnitude - alone[patch]) < 0.05 * alone[place], `patch ${patch}: ${magnitude} with prompts, ${alone[patch]} without`);
  // The code of the place counts for a quarter of what it did before patches were compared.
  const kept = sizeOfChannels(compared, 0, codeSize) / sizeOfChannels(before, 0, codeSize);
  assert.ok(kept > 0.15 && kept < 0.35, `${kept} of the code is left`);
  for (const parameter of [image, tokens, ...training.parameters.values()]) freeTensor(gpu, parameter);
});

test('an interrupted run goes on with the same bits', async () => {
  const gpu = await testGpu();
  const run = async (folder: string, failAt: number, batch = 6): Promise<Map<string, Float32Array>> => {
    const training = await clipPretraining(gpu, images, folder, batch, 2);
    let written = 0;
    const failing = { ...training, writeBatch: (step: number) => (++written === failAt ? Promise.reject(new Error('the power is gone')) : training.writeBatch(step)) };
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
  assert.match((await errorOf(() => run(parts, 0, 4))).message, /batch 6 instead of 4\. Choose another folder/);
  const resumed = await run(parts, 0);
  assert.ok(expected.size > 50);
  for (const [name, values] of expected) assert.equal(resumed.get(name), values, name);
  const losses = (folder: string): number[] => readFileSync(join(folder, 'log.jsonl'), 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { loss: number }).loss);
  assert.is(losses(whole).length, 3);
  assert.equal(losses(parts), losses(whole));
  assert.ok(existsSync(join(parts, 'loss.svg')));
});

test('close-ups show some of the defect, and train the image tower alone, with the positions of a square', async () => {
  const random = new RandomSource(7);
  for (let round = 0; round < 10; round++) {
    // More than two of each category.
    const batch = images.pairs(random, 14, 24, 'close-up');
    const perCategory = subjects.map(({ category }) => batch.filter(({ concept }) => images.concepts[concept].category === category).length);
    assert.equal(perCategory.sort(), [4, 4, 6]);
    for (const [i, { pixels, mask, concept }] of batch.entries()) {
      assert.is(pixels.length, 3 * 24 * 24);
      assert.is(images.concepts[concept].defect === 'good', i % 2 === 0);
      assert.is(mask.some((share) => share > 0), i % 2 === 1);
    }
  }
  const gpu = await testGpu();
  const folder = join(work, 'close-ups');
  const training = await clipPretraining(gpu, images, folder, 6, 2, { cut: 'close-up' });
  const position = training.parameters.get('image/position')!;
  const before = await readTensor(gpu, position);
  const values = async (): Promise<Map<string, Float32Array>> => new Map(await Promise.all([...training.parameters].map(async ([name, parameter]) => [name, await readTensor(gpu, parameter)] as const)));
  const start = await values();
  await pretrain(gpu, training, { out: folder, steps: 1, seed: 2, optimizer: { kind: 'adamw', learningRate: 1e-3, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0, clipNorm: 1 }, warmupSteps: 0, saveEvery: 1, measureEvery: 1 });
  // What no loss depends on would only decay.
  for (const [name, value] of await values()) assert.not.equal(value, start.get(name), name);
  assert.not.ok([...training.parameters.keys()].some((name) => /text|token|logit_scale|projection|joint/.test(name)));
  assert.ok(training.parameters.has('image/layer 8/fc2.weight'));
  const after = await readTensor(gpu, position);
  const { width, imageSize, patchSize } = smallClip.vision;
  const grid = imageSize / patchSize;
  const changed = Array.from({ length: 1 + grid * grid }, (_, row) => row).filter((row) => before.slice(row * width, (row + 1) * width).some((value, i) => value !== after[row * width + i]));
  assert.is(changed[0], 0, 'the class token has a position, too');
  const patches = changed.slice(1).map((row) => row - 1);
  const side = Math.sqrt(patches.length);
  assert.ok(side < grid && patches.length === side ** 2, `${patches.length} patches`);
  assert.equal(patches, Array.from({ length: side * side }, (_, i) => patches[0] + Math.floor(i / side) * grid + (i % side)));
  assert.ok((patches[0] % grid) + side <= grid, 'no row of the square goes round the edge');
  for (const parameter of training.parameters.values()) freeTensor(gpu, parameter);
});

test('a CLIP that was written is gone on from', async () => {
  const gpu = await testGpu();
  const folder = join(work, 'written');
  const first = await clipPretraining(gpu, images, join(work, 'first'), 6, 2);
  await first.save(folder, {});
  const second = await clipPretraining(gpu, images, join(work, 'second'), 6, 3, { from: folder });
  for (const [name, parameter] of first.parameters) {
    // The Linears of the second loss are thrown away.
    if (name.startsWith('locate')) continue;
    const [before, after] = [await readTensor(gpu, parameter), await readTensor(gpu, second.parameters.get(name)!)];
    for (const [i, value] of before.entries()) assert.ok(Math.abs(after[i] - value) <= 2 ** -11 * Math.abs(value) + 1e-7, `${name}: ${value} became ${after[i]}`);
  }
  for (const parameter of [...first.parameters.values(), ...second.parameters.values()]) freeTensor(gpu, parameter);
  assert.match((await errorOf(() => clipPretraining(gpu, images, join(work, 'third'), 6, 3, { from: join(work, 'nowhere') }))).message, /--from: .*nowhere.*an earlier run/);
});

test('a batch that cannot be made of pairs is refused', async () => {
  const gpu = await testGpu();
  const refused = async (batch: number, cut: 'whole' | 'close-up'): Promise<string> => (await errorOf(() => clipPretraining(gpu, images, join(work, 'refused'), batch, 1, { cut }))).message;
  for (const cut of ['whole', 'close-up'] as const) assert.match(await refused(5, cut), /--batch 5: it must be even/);
  assert.match(await refused(8, 'whole'), /--batch 8: it can be at most 6 for whole pictures/);
});

test.after(() => rmSync(work, { recursive: true }));
test.run();
