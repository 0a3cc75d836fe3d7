import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PixelCounter, PixelCounts } from '../../src/eval/pixel_counts.ts';
import { type Ranking, aupro, precisionRecallCurve, rankHistogram, rankScores, rankingMetrics, rocCurve, scoreDistribution } from '../../src/eval/ranking.ts';
import { regionAreas } from '../../src/eval/regions.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { type Tensor, freeTensor, tensor } from '../../src/tensor/tensor.ts';
import { goldenFolder } from '../support/golden.ts';
import { randomValues, testGpu } from '../support/gpu.ts';

interface Expected {
  readonly auroc: number | null;
  readonly averagePrecision: number | null;
  readonly f1Max: number | null;
}

interface GoldenCase {
  readonly scores: Float32Array;
  readonly labels: Uint8Array;
  readonly maps: Float32Array;
  readonly masks: Uint8Array;
  readonly shape: readonly [number, number, number];
  readonly expected: { readonly image: Expected; readonly pixel: Expected; readonly aupro: number | null };
}

/** Scores, maps and their metrics by scikit-learn and a plain AUPRO (tools/oracle/metrics.py). */
async function goldenCases(): Promise<Map<string, GoldenCase>> {
  const file = await openSafetensors(`${goldenFolder}metrics.safetensors`);
  const cases = new Map<string, GoldenCase>();
  for (const [name, json] of Object.entries(file.metadata)) {
    const [images, height, width] = file.tensors.get(`${name}.map`)!.shape;
    cases.set(name, {
      scores: await file.readFloat32(`${name}.score`),
      labels: await file.read(`${name}.label`),
      maps: await file.readFloat32(`${name}.map`),
      masks: await file.read(`${name}.mask`),
      shape: [images, height, width],
      expected: JSON.parse(json) as GoldenCase['expected'],
    });
  }
  await file.close();
  return cases;
}

const cases = await goldenCases();

/** Splits scores by their labels, each part sorted; weights go along with the positives. */
function exactRanking(scores: Float32Array, labels: ArrayLike<number>, weight?: (index: number) => number): Ranking {
  const positive = Array.from(scores.keys()).filter((i) => labels[i]).sort((a, b) => scores[a] - scores[b]);
  return rankScores(
    Float32Array.from(positive, (i) => scores[i]),
    scores.filter((_, i) => !labels[i]).sort(),
    weight && Float64Array.from(positive, weight),
  );
}

function compare(ranking: Ranking, expected: Expected, tolerance: number, what: string): void {
  const metrics = rankingMetrics(ranking);
  for (const name of ['auroc', 'averagePrecision', 'f1Max'] as const) {
    if (expected[name] === null) assert.is(metrics, undefined, `${what} ${name} must be undefined`);
    else assert.ok(Math.abs(metrics![name] - expected[name]) <= tolerance, `${what} ${name} is ${metrics![name]}, expected ${expected[name]}`);
  }
}

function compareAupro(ranking: Ranking, expected: number | null, tolerance: number, what: string): void {
  const value = aupro(ranking);
  if (expected === null) assert.is(value, undefined, `${what} must be undefined`);
  else assert.ok(Math.abs(value! - expected) <= tolerance, `${what} is ${value}, expected ${expected}`);
}

/** The areas of all images of a case. */
function areasOf({ masks, shape: [images, height, width] }: GoldenCase): { readonly areas: Uint32Array; readonly regions: number }[] {
  return Array.from({ length: images }, (_, i) => regionAreas(masks.subarray(i * height * width, (i + 1) * height * width), width, height));
}

test('the goldens hold every case that has to be told apart', () => {
  assert.equal([...cases.keys()].sort(), ['all_abnormal', 'all_normal', 'both_ends', 'constant', 'inverted', 'near_one', 'near_zero', 'ties', 'uniform']);
});

for (const [name, golden] of cases) {
  test(`exact metrics agree with scikit-learn within 1e-6: ${name}`, () => {
    compare(exactRanking(golden.scores, golden.labels), golden.expected.image, 1e-6, 'image');
    compare(exactRanking(golden.maps, golden.masks), golden.expected.pixel, 1e-6, 'pixel');
  });

  test(`exact AUPRO agrees with the plain one within 1e-6: ${name}`, () => {
    const areas = areasOf(golden).flatMap(({ areas }) => Array.from(areas));
    compareAupro(exactRanking(golden.maps, golden.masks, (i) => 1 / areas[i]), golden.expected.aupro, 1e-6, 'AUPRO');
  });

  test(`streamed metrics agree with scikit-learn within 1e-4: ${name}`, async () => {
    const gpu = await testGpu();
    const [images, height, width] = golden.shape;
    const batch = 2;
    const counter = await PixelCounter.create(gpu, [batch, height, width]);
    const counts = new PixelCounts();
    const areas = areasOf(golden);
    for (let first = 0; first < images; first += batch) {
      const values = new Float32Array(batch * height * width).fill(Number.NaN);
      values.set(golden.maps.subarray(first * height * width, Math.min(images, first + batch) * height * width));
      const maps = tensor(gpu, values, [batch, height, width]);
      await counter.count(maps, areas.slice(first, first + batch).map((image) => (image.regions ? image : undefined)));
      freeTensor(gpu, maps);
    }
    assert.is(await counter.drain(counts), 0);
    counter.destroy();
    if (name === 'ties' || name === 'constant') assert.is(counts.bins, null, 'tied scores lose nothing to bins');
    compare(counts.pixels(), golden.expected.pixel, 1e-4, 'pixel');
    compareAupro(counts.overlap(), golden.expected.aupro, 1e-4, 'AUPRO');
    assert.is(counts.regions, areas.reduce((sum, { regions }) => sum + regions, 0));
  });
}

test('streamed metrics of many scores stay within 1e-4 of exact ones, wherever the scores crowd', async () => {
  const gpu = await testGpu();
  const [height, width] = [500, 400];
  const size = height * width;
  const noise = randomValues(size, 7);
  const mask = Uint8Array.from({ length: size }, (_, i) => Number(Math.hypot((i % 40) - 20, (Math.floor(i / width) % 50) - 25) < 6));
  const { areas, regions } = regionAreas(mask, width, height);
  assert.is(regions, 100);
  const counter = await PixelCounter.create(gpu, [1, height, width]);
  for (const [centre, spread] of [[0, 1], [-7, 1], [9, 2], [-12, 2], [0, 8], [-2, 0.4]]) {
    const map = noise.map((value, i) => 1 / (1 + Math.exp(-centre - spread * (value + mask[i]))));
    const maps: Tensor = tensor(gpu, map, [1, height, width]);
    await counter.count(maps, [{ areas, regions }]);
    freeTensor(gpu, maps);
    const counts = new PixelCounts();
    await counter.drain(counts);
    assert.ok(counts.bins! > 3000, `scores in ${counts.bins} bins`);
    const exact = rankingMetrics(exactRanking(map, mask))!;
    compare(counts.pixels(), exact, 1e-4, `logistic(${centre} + ${spread} noise)`);
    compareAupro(counts.overlap(), aupro(exactRanking(map, mask, (i) => 1 / areas[i]))!, 1e-4, `logistic(${centre} + ${spread} noise) AUPRO`);
  }
  counter.destroy();
});

test('undefined metrics: no positives, no negatives, nothing at all', () => {
  for (const ranking of [rankScores(new Float32Array(3), new Float32Array()), rankScores(new Float32Array(), new Float32Array(3)), rankScores(new Float32Array(), new Float32Array())]) {
    assert.is(rankingMetrics(ranking), undefined);
    assert.is(aupro(ranking), undefined);
    assert.equal(rocCurve(ranking), []);
    assert.equal(precisionRecallCurve(ranking), []);
  }
});

test('the order of counts and the way of adding them change no bit', () => {
  const halves = [1, 2].map((seed) => {
    const counts = new PixelCounts();
    randomValues(500, seed).forEach((value, i) => {
      const bin = Math.abs(Math.round(value * 1e7)) % 65536;
      counts.normal[bin] += i;
      counts.abnormal[bin]++;
      counts.overlapped[bin] += (1n << 40n) / BigInt(i + 1);
    });
    counts.addRegions(seed);
    return counts;
  });
  const [a, b] = [new PixelCounts(), new PixelCounts()];
  for (const half of halves) a.add(half);
  for (const half of [...halves].reverse()) b.add(half);
  assert.equal(rankingMetrics(a.pixels()), rankingMetrics(b.pixels()));
  assert.is(aupro(a.overlap()), aupro(b.overlap()));
  assert.is(a.regions, 3);
});

test('the F1 threshold is the score from which the best F1 is reached', () => {
  const { f1Max, f1Threshold } = rankingMetrics(rankScores(Float32Array.of(0.25, 0.5, 0.75), Float32Array.of(0.125, 0.25, 0.25)))!;
  // At 0.5: two of three found, nothing wrong: 2·2 / (2·2 + 0 + 1). At 0.25: all found, two wrong: 6 / 8.
  assert.is(f1Max, 0.8);
  assert.is(f1Threshold, 0.5);
});

test('AUPRO interpolates at the limit, and a perfect one is 1', () => {
  // One step from (0, 0.5) to (1, 1): at 0.3 the overlap is 0.65.
  const ranking = rankScores(Float32Array.of(0.1, 0.9), Float32Array.of(0.1, 0.1));
  assert.ok(Math.abs(aupro(ranking)! - (0.5 + 0.65) / 2) < 1e-15);
  assert.is(aupro(rankScores(Float32Array.of(0.5), Float32Array.of(0.25, 0.125))), 1);
});

test('curves for drawing keep their ends and every jump', () => {
  const counts = (jump: number): Float64Array => Float64Array.from({ length: 5000 }, (_, bin) => (bin === jump ? 5000 : 1));
  const ranking = rankHistogram(counts(4000), counts(1000), { thresholdOf: (bin) => bin / 5000, tied: () => true });
  const curve = rocCurve(ranking);
  assert.equal(curve[0], [0, 0]);
  assert.equal(curve.at(-1), [1, 1]);
  assert.ok(curve.length < 220, `${curve.length} points`);
  // The area under what is drawn is the metric's, to what an eye can see.
  const area = curve.slice(1).reduce((sum, [x, y], i) => sum + ((x - curve[i][0]) * (y + curve[i][1])) / 2, 0);
  assert.ok(Math.abs(area - rankingMetrics(ranking)!.auroc) < 2e-3);
  const pro = rocCurve(ranking, 0.3);
  assert.is(pro.at(-1)![0], 0.3);
  const proArea = pro.slice(1).reduce((sum, [x, y], i) => sum + ((x - pro[i][0]) * (y + pro[i][1])) / 2, 0) / 0.3;
  assert.ok(Math.abs(proArea - aupro(ranking)!) < 2e-3);
});

test('score distributions count everything once', () => {
  const distribution = scoreDistribution(rankScores(Float32Array.of(0, 0.019, 0.021, 1), Float32Array.of(0.5, 0.5)));
  assert.is(distribution.abnormal[0], 2);
  assert.is(distribution.abnormal[1], 1);
  assert.is(distribution.abnormal[49], 1);
  assert.is(distribution.normal[25], 2);
  assert.is(distribution.normal.length, 50);
});

test.run();
