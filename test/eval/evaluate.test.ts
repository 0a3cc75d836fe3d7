import { copyFileSync, existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Dataset, openDataset } from '../../src/data/dataset.ts';
import { readImage, readMask } from '../../src/data/image.ts';
import { type ShardOptions, evaluateModel, evaluateShard, mapPath } from '../../src/eval/evaluate.ts';
import { aupro, rankScores, rankingMetrics } from '../../src/eval/ranking.ts';
import { regionAreas } from '../../src/eval/regions.ts';
import { type EvaluationResults, mergeStates, meanMetrics } from '../../src/eval/results.ts';
import { EvaluationState } from '../../src/eval/state.ts';
import { resultNotes, resultsCsv, resultsJson, resultsMarkdown, resultsTable, writeResults } from '../../src/eval/tables.ts';
import { readNpy } from '../../src/io/npy.ts';
import { writeSafetensors } from '../../src/io/safetensors.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';
import { PictureMaps, makeDataset, pictureMap } from './synthetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-evaluate-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const size = 20;
const data = openDataset(makeDataset(join(folder, 'data'), { size, classes: { bottle: [5, 6], metal_nut: [3, 4], screw: [4, 0], tile: [0, 3] } }));
const gpu = await testGpu();
const detector = new PictureMaps(gpu, size);

let states = 0;
const newState = (): string => join(folder, `state-${states++}`, 'shard.safetensors');

/** Evaluates one shard into a file and closes it. */
async function shardFile(options: ShardOptions & { index?: number; count?: number } = {}, dataset: Dataset = data): Promise<string> {
  const file = options.state ?? newState();
  const { state } = await evaluateShard(detector, dataset, { batch: 2, shard: { index: options.index ?? 1, count: options.count ?? 1 }, ...options, state: file });
  await state.close();
  return file;
}

async function shardFiles(count: number, options: ShardOptions = {}): Promise<string[]> {
  const files: string[] = [];
  for (let index = 1; index <= count; index++) files.push(await shardFile({ ...options, index, count }));
  return files;
}

/** The metrics of a class by reading everything at once and sorting it. */
async function expectedMetrics(name: string): Promise<Record<string, number | null>> {
  const own = data.samples.filter((sample) => sample.class === name);
  const [scores, maps, areas]: [number[], number[][], number[][]] = [[], [], []];
  for (const { image, mask } of own) {
    const map = pictureMap(await readImage(image));
    scores.push(Math.max(...map));
    maps.push(Array.from(map));
    areas.push(Array.from(mask === undefined ? new Uint32Array(map.length) : regionAreas((await readMask(mask)).values, size, size).areas));
  }
  const split = (values: readonly number[], labels: readonly number[]) => {
    const positive = Array.from(values.keys()).filter((i) => labels[i]).sort((a, b) => values[a] - values[b]);
    return { positive, positives: Float32Array.from(positive, (i) => values[i]), negatives: Float32Array.from(values.filter((_, i) => !labels[i])).sort() };
  };
  const image = split(scores, own.map(({ label }) => label));
  const pixel = split(maps.flat(), areas.flat());
  const imageMetrics = rankingMetrics(rankScores(image.positives, image.negatives));
  const pixelMetrics = rankingMetrics(rankScores(pixel.positives, pixel.negatives));
  const allAreas = areas.flat();
  return {
    imageAuroc: imageMetrics?.auroc ?? null,
    imageAveragePrecision: imageMetrics?.averagePrecision ?? null,
    imageF1Max: imageMetrics?.f1Max ?? null,
    pixelAuroc: pixelMetrics?.auroc ?? null,
    pixelAveragePrecision: pixelMetrics?.averagePrecision ?? null,
    pixelF1Max: pixelMetrics?.f1Max ?? null,
    aupro: aupro(rankScores(pixel.positives, pixel.negatives, Float64Array.from(pixel.positive, (i) => 1 / allAreas[i]))) ?? null,
  };
}

const single: { streamed: EvaluationResults; exact: EvaluationResults } = {
  streamed: await mergeStates([await shardFile()]),
  exact: await mergeStates([await shardFile({ exact: true })]),
};

for (const kind of ['streamed', 'exact'] as const) {
  for (const name of data.classes) {
    test(`${kind} metrics of ${name} are those of everything sorted at once`, async () => {
      const { metrics } = single[kind].classes.find((found) => found.class === name)!;
      for (const [key, expected] of Object.entries(await expectedMetrics(name))) {
        const value = metrics[key as keyof typeof metrics];
        if (expected === null) assert.is(value, null, key);
        else assert.ok(Math.abs(value! - expected) <= (kind === 'exact' || key.startsWith('image') ? 1e-12 : 1e-4), `${key} is ${value}, expected ${expected}`);
      }
    });
  }
}

test('classes without normal or without abnormal images are undefined where that matters, and left out of the mean', () => {
  const [bottle, nut, screw, tile] = single.streamed.classes;
  assert.ok(Object.values(screw.metrics).every((value) => value === null));
  assert.is(tile.metrics.imageAuroc, null);
  assert.type(tile.metrics.pixelAuroc, 'number');
  assert.is(single.streamed.mean.imageAuroc, (bottle.metrics.imageAuroc! + nut.metrics.imageAuroc!) / 2);
  assert.is(single.streamed.mean.pixelAuroc, (bottle.metrics.pixelAuroc! + nut.metrics.pixelAuroc! + tile.metrics.pixelAuroc!) / 3);
  assert.is(meanMetrics([screw]).aupro, null);
});

test('results tell everything that a report needs', () => {
  const [bottle, , screw] = single.streamed.classes;
  assert.equal([bottle.normalImages, bottle.abnormalImages, bottle.defects], [5, 6, { bent: 3, cut: 3, good: 5 }]);
  assert.ok(bottle.regions >= 7 && bottle.regions <= 12, `${bottle.regions} regions`);
  assert.is(single.streamed.classes[1].words, 'metal nut');
  assert.is(bottle.images.length, 11);
  assert.equal(bottle.images[0].file, 'bottle/test/bent/005.png');
  assert.equal(bottle.images[0].mask, 'bottle/ground_truth/bent/005_mask.png');
  assert.ok(bottle.images.every(({ label, pixelAuroc, mask }) => (label === 1) === (pixelAuroc !== null) && (label === 1) === (mask !== null)));
  for (const curve of Object.values(bottle.curves)) assert.ok(curve.length > 2);
  assert.is(bottle.curves.pro.at(-1)![0], 0.3);
  for (const curve of Object.values(screw.curves)) assert.equal(curve, []);
  const count = (parts: readonly number[]): number => parts.reduce((sum, part) => sum + part, 0);
  assert.is(count(bottle.distributions.pixel.normal) + count(bottle.distributions.pixel.abnormal), 11 * size * size);
  assert.is(count(bottle.distributions.image.abnormal), 6);
  assert.is(bottle.f1Thresholds.image === null, false);
  assert.ok(detector.asked.includes('metal nut'));
});

test('tables, CSV and Markdown', () => {
  const { streamed } = single;
  const table = resultsTable(streamed).split('\n');
  assert.match(table[0], /^\| class +\| normal \| abnormal \| I-AUROC \| +I-AP \| I-F1max \| P-AUROC \| P-AP \| P-F1max \| AUPRO \|$/);
  assert.match(table[4], /^\| screw +\| +4 \| +0 \|( +– \|){7}$/);
  assert.match(table[6], /^\| mean +\| +12 \| +13 \|/);
  // The stand-in's maps have few different scores, each in a bin of its own: nothing is lost.
  assert.is(streamed.classes[0].pixelBins, null);
  assert.equal(resultNotes(streamed).length, 1);
  const close = { ...streamed, classes: streamed.classes.slice(0, 2).map((found) => ({ ...found, pixelBins: found.class === 'bottle' ? 57 : 5000 })) };
  assert.match(resultNotes(close).join(), /^Pixel scores so close that they share few bins \(bottle: 57\): .*--exact/);
  const markdown = resultsMarkdown(streamed);
  assert.match(markdown, /–: not defined/);
  assert.match(markdown, /25 images in the layout of MVTec/);
  assert.match(resultsMarkdown(single.exact), /exact, from all pixels sorted/);
  const csv = resultsCsv(streamed).trim().split('\n').map((line) => line.split(','));
  assert.equal(csv[0], ['class', 'normal', 'abnormal', 'regions', 'I-AUROC', 'I-AP', 'I-F1max', 'P-AUROC', 'P-AP', 'P-F1max', 'AUPRO']);
  assert.is(Number(csv[1][4]), streamed.classes[0].metrics.imageAuroc);
  assert.equal(csv[3].slice(0, 5), ['screw', '4', '0', '0', '']);
  assert.equal(csv.map((row) => row.length), [11, 11, 11, 11, 11, 11]);
  assert.equal(JSON.parse(resultsJson(streamed)), JSON.parse(JSON.stringify(streamed)));
});

for (const exact of [false, true]) {
  test(`1, 2, 3, 7 and 26 shards give the same bytes, in any order${exact ? ', exact' : ''}`, async () => {
    const expected = resultsJson(exact ? single.exact : single.streamed);
    for (const count of [1, 2, 3, 7, 26]) {
      const files = await shardFiles(count, { exact });
      assert.is(resultsJson(await mergeStates(files.reverse())), expected, `${count} shards`);
    }
  });

  test(`an evaluation that is stopped after any image goes on to the same bytes${exact ? ', exact' : ''}`, async () => {
    const expected = resultsJson(exact ? single.exact : single.streamed);
    const state = newState();
    let runs = 0;
    let done = 0;
    while (done < data.samples.length) {
      const stop = new AbortController();
      const evaluation = await evaluateShard(detector, data, { batch: 2, exact, state, signal: stop.signal, onImage: () => stop.abort(), onStart: (start) => assert.is(start.done, done) });
      assert.ok(evaluation.state.images.length > done);
      done = evaluation.state.images.length;
      await evaluation.state.close();
      if (++runs === 3) {
        // Killed between two writes of the state: pixels that no state knows of, and half a file.
        if (exact) writeFileSync(state.replace('.safetensors', '.pixels'), Buffer.alloc(1000), { flag: 'a' });
        writeFileSync(join(state, '..', '.shard.safetensors.123.abc.tmp'), 'half');
      }
    }
    assert.ok(runs > 8);
    assert.is(resultsJson(await mergeStates([state])), expected);
    // Nothing is left to do.
    await shardFile({ state, exact, onImage: () => assert.unreachable() });
  });
}

test('the state is written while it runs', async () => {
  const state = newState();
  const sizes = new Set<number>();
  await shardFile({ state, saveSeconds: 0, onImage: () => void (existsSync(state) && sizes.add(statSync(state).size)) });
  assert.ok(sizes.size > 5, `${sizes.size} different states`);
});

test('batches of any size give the same results', async () => {
  for (const batch of [1, 3, 16]) assert.is(resultsJson(await evaluateModel(detector, data, { batch })), resultsJson(single.streamed));
});

test('a part of the classes', async () => {
  const part = openDataset(data.root, { classes: ['metal_nut'] });
  const results = await evaluateModel(detector, part);
  assert.equal(results.classes.map((found) => found.class), ['metal_nut']);
  assert.equal(results.classes[0].metrics, single.streamed.classes[1].metrics);
});

test('maps are kept as NumPy arrays', async () => {
  const maps = join(folder, 'maps');
  await shardFile({ maps });
  assert.is(readdirSync(maps, { recursive: true }).filter((name) => String(name).endsWith('.npy')).length, data.samples.length);
  const { shape, data: values } = await readNpy(mapPath(maps, single.streamed.classes.map((found) => ({ class: found.class, defect: found.images[0].defect, file: found.images[0].file }))[0]));
  assert.equal(shape, [size, size]);
  assert.equal(values, pictureMap(await readImage(data.samples[0].image)));
});

test('maps that are missing or would be one file are an error', async () => {
  const maps = join(folder, 'late-maps');
  const state = newState();
  await shardFile({ state });
  assert.match((await errorOf(() => shardFile({ state, maps }))).message, /--maps: 25 images that are done have no map in .*late-maps\. Choose another --out, or delete .*shard\.safetensors/);
  const [first, ...others] = data.samples;
  const twin = { ...first, image: first.image.replace(/\.png$/, '.jpg') };
  writeFileSync(twin.image, readFileSync(first.image));
  assert.match((await errorOf(() => evaluateShard(detector, { ...data, samples: [first, twin, ...others] }, { maps }))).message, /--maps: the maps of .*\.png and of .*\.jpg would both be .*\.npy/);
  rmSync(twin.image);
});

test('an image that cannot be used stops the evaluation with its name, and what was done is kept', async () => {
  const broken = makeDataset(join(folder, 'broken'), { size, classes: { bottle: [2, 4] } });
  const sound = openDataset(broken);
  const bad = sound.samples[3].mask!;
  const original = readFileSync(bad);
  truncateSync(bad, 40);
  const dataset = openDataset(broken);
  const state = newState();
  const error = await errorOf(() => evaluateShard(detector, dataset, { state }));
  assert.match(error.message, /_mask.png: the PNG file is truncated/);
  assert.match(error.message, /mfp-clip check/);
  const kept = await EvaluationState.read(state);
  assert.is(kept.images.length, 3);
  await kept.close();
  assert.not.ok(existsSync(join(state, '..', 'results.json')));
  // Another size in bytes is another data set, so the repaired one begins again unless it is as it was.
  writeFileSync(bad, original);
  assert.match((await errorOf(() => evaluateShard(detector, openDataset(broken), { state }))).message, /is the state of another evaluation: another data set, or other classes of it. Choose another --out, or delete that file/);
  truncateSync(bad, 40);
});

test('maps that are not numbers are an error, streamed and exact', async () => {
  for (const exact of [false, true]) {
    const source = new PictureMaps(gpu, size);
    const nan: typeof source.run = async (images, className) => {
      const outputs = await source.run(images, className);
      gpu.write(outputs.map.storage.buffer!, new Uint8Array(Float32Array.of(Number.NaN).buffer), 64);
      return outputs;
    };
    const error = await errorOf(() => evaluateModel({ gpu, size, loaded: source.loaded, run: nan }, data, { exact }));
    assert.match(error.message, exact ? /the map of .*000.png|the map of .*005.png has values that are not numbers/ : /pixels of the maps of bottle\/.* are not numbers/);
    source.destroy();
  }
});

test('merging refuses what does not belong together', async () => {
  const [one, two, three] = await shardFiles(3);
  const message = async (files: readonly string[]): Promise<string> => (await errorOf(() => mergeStates(files))).message.replaceAll(folder, '');
  assert.match(await message([one, three]), /8 of 25 images are missing: there is no state of shard 2\/3$/);
  assert.match(await message([one, two, two]), /overlap: both have the image bottle\/test\/.*\. Give each part once/);
  assert.match(await message([one, await shardFile({ index: 2, count: 2 }), three]), /overlap/);
  assert.match(await message([one, two, await shardFile({ index: 3, count: 3, exact: true })]), /does not belong to .*: only one of them with --exact/);
  const other = openDataset(data.root, { classes: ['bottle'] });
  assert.match(await message([one, await shardFile({ index: 2, count: 3 }, other)]), /another data set, or other classes of it/);
  const files = { clip: '0', cnn: null, mfp: '1' };
  const ofModel = async (index: number, changed: Partial<typeof files>): Promise<string> => shardFile({ index, count: 2, files: { ...files, ...changed } });
  assert.match(await message([await ofModel(1, {}), await ofModel(2, { mfp: '2' })]), /another trained model \(--mfp\)$/);
  assert.match(await message([await ofModel(1, {}), await ofModel(2, { clip: '2' })]), /another CLIP \(--clip\)$/);
  assert.is((await mergeStates([await ofModel(1, {}), await ofModel(2, {})])).classes.length, 4);
  const stop = new AbortController();
  const unfinished = await shardFile({ index: 2, count: 3, signal: stop.signal, onImage: () => stop.abort() });
  assert.match(await message([one, unfinished, three]), /6 of 25 images are missing: .*shard.safetensors has 2 of its 8. Run the command of that part again: it goes on where it stopped/);
  assert.match(await message([]), /there are no states/);
});

test('a state of another shard, or what is no state, is refused', async () => {
  const state = await shardFile({ index: 1, count: 2 });
  assert.match((await errorOf(() => shardFile({ state, index: 2, count: 2 }))).message, /is the state of another evaluation: shard 1\/2/);
  const none = newState();
  await writeSafetensors(none, [], { training: '{}' });
  assert.match((await errorOf(() => mergeStates([none]))).message, /is not the state of an evaluation: its metadata has no "evaluation"/);
  for (const evaluation of ['{', 'null', '{"format":2}', '{"format":1}', '{"format":1,"identity":{},"shard":{},"images":[],"regions":{}}']) {
    await writeSafetensors(none, [], { evaluation });
    assert.match((await errorOf(() => mergeStates([none]))).message, /is not valid JSON|was written by another version|is damaged/);
  }
});

test('damaged counts and pixels are refused', async () => {
  const state = await shardFile();
  const copy = newState();
  await shardFile({ state: copy, signal: AbortSignal.abort() });
  copyFileSync(state, copy);
  truncateSync(copy, statSync(state).size - 8);
  assert.match((await errorOf(() => mergeStates([copy]))).message, /shard.safetensors/);
  const bytes = readFileSync(state);
  // The last tensor, by the order of the format: the largest scores of the last class.
  bytes.fill(7, bytes.length - 16);
  writeFileSync(copy, bytes);
  assert.match((await errorOf(() => mergeStates([copy]))).message, /the counts of "tile" are damaged: its smallest and largest scores are not those of their bins/);
  const exact = await shardFile({ exact: true });
  const pixels = exact.replace('.safetensors', '.pixels');
  truncateSync(pixels, statSync(pixels).size - 4);
  assert.match((await errorOf(() => mergeStates([exact]))).message, /shard.pixels: the pixels at byte \d+ are damaged or truncated; evaluate again/);
  rmSync(pixels);
  assert.match((await errorOf(() => mergeStates([exact]))).message, /cannot read .*shard.pixels, which belongs to a state with --exact/);
});

test('results are written as three files, and a folder that cannot be written is named', async () => {
  const out = join(folder, 'out');
  await writeResults(out, single.streamed);
  assert.equal(readdirSync(out).sort(), ['results.csv', 'results.json', 'results.md']);
  writeFileSync(join(folder, 'file'), '');
  assert.match((await errorOf(() => writeResults(join(folder, 'file', 'out'), single.streamed))).message, /cannot write .*results.csv/);
});

test.after(() => detector.destroy());

test.run();
