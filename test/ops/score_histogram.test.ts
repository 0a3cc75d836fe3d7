import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NO_BIN, SCORE_BINS, lowestScore, scoreKey } from '../../src/eval/score_key.ts';
import { ignoredArea, largestArea, scoreCountsLength, scoreHistogram, scoreHistogramOp } from '../../src/ops/score_histogram.ts';
import { Program } from '../../src/tensor/program.ts';
import { type Shape, bufferOf, clearTensors, freeTensor, sizeOf, tensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { errorOf } from '../support/errors.ts';
import { randomValues, testGpu } from '../support/gpu.ts';

/** Runs the op `runs` times over the same maps, on counts that start at zero. */
async function count(maps: ArrayLike<number>, areas: ArrayLike<number>, shape: Shape, variant: string, runs = 1): Promise<Uint32Array> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: { score_histogram: variant } });
  const tensors = [tensor(gpu, maps, shape), tensor(gpu, areas, shape, 'u32'), tensor(gpu, new Uint32Array(scoreCountsLength), [scoreCountsLength], 'u32')];
  const [mapTensor, areaTensor, counts] = tensors;
  clearTensors(gpu, [counts]);
  const program = await Program.record(gpu, () => void scoreHistogram(mapTensor, areaTensor, counts));
  for (let run = 0; run < runs; run++) await program.run();
  const bytes = await gpu.read(bufferOf(counts), 0, counts.bytes);
  program.destroy();
  for (const unused of tensors) freeTensor(gpu, unused);
  return new Uint32Array(bytes.buffer, bytes.byteOffset, scoreCountsLength);
}

const floats = new Float32Array(1);
const words = new Uint32Array(floats.buffer);

/** The same with BigInt on the host. */
function expected(maps: ArrayLike<number>, areas: ArrayLike<number>, runs = 1): Uint32Array {
  const counts = new Uint32Array(scoreCountsLength);
  const overlap = new BigUint64Array(SCORE_BINS);
  for (let run = 0; run < runs; run++) {
    for (let i = 0; i < maps.length; i++) {
      if (areas[i] === ignoredArea) continue;
      const bin = scoreKey(maps[i]);
      if (bin === NO_BIN) {
        counts[6 * SCORE_BINS]++;
        continue;
      }
      floats[0] = Math.min(1, Math.max(0, maps[i])) + 0;
      counts[4 * SCORE_BINS + bin] = Math.max(counts[4 * SCORE_BINS + bin], words[0]);
      counts[5 * SCORE_BINS + bin] = Math.max(counts[5 * SCORE_BINS + bin], ~words[0] >>> 0);
      if (areas[i] === 0) counts[bin]++;
      else {
        counts[SCORE_BINS + bin]++;
        overlap[bin] += (1n << 40n) / BigInt(areas[i]);
      }
    }
  }
  for (let bin = 0; bin < SCORE_BINS; bin++) {
    counts[2 * SCORE_BINS + bin] = Number(overlap[bin] & 0xffffffffn);
    counts[3 * SCORE_BINS + bin] = Number(overlap[bin] >> 32n);
  }
  return counts;
}

for (const { name: variant } of scoreHistogramOp.variants) {
  // Odd sizes, one past the columns and the rows of a workgroup.
  for (const shape of [[1, 1, 1], [1, 7, 5], [3, 9, 65], [2, 8, 64], [1, 31, 131]] as const) {
    test(`score_histogram of [${shape.join(', ')}] ${variant}`, async () => {
      const size = sizeOf(shape);
      const noise = randomValues(size, 3);
      // Scores over all octaves of both ends, with runs of equal ones; regions of all sizes, and pixels that do not count.
      const maps = Float32Array.from(noise, (value, i) => {
        const score = 1 / (1 + Math.exp(12 * noise[i - (i % 3)]));
        return i % 11 === 0 ? Math.fround(value) : score;
      });
      const areas = Uint32Array.from(noise, (value, i) => (i % 5 < 2 ? 0 : i % 5 === 2 ? ignoredArea : 1 + (Math.abs(Math.round(value * 1e6)) % (i % 4 === 0 ? 3 : largestArea))));
      assert.equal(await count(maps, areas, shape, variant), expected(maps, areas));
    });
  }

  test(`score_histogram adds to what is there, and carries into upper words: ${variant}`, async () => {
    const shape = [1, 40, 70] as const;
    const maps = new Float32Array(sizeOf(shape)).fill(0.25);
    // 2^40 / 3 has all lower words set in the end, 1 is the largest weight, 2^23 the smallest.
    const areas = Uint32Array.from(maps, (_, i) => [3, 1, largestArea, 5][i % 4]);
    const counts = await count(maps, areas, shape, variant, 5);
    assert.equal(counts, expected(maps, areas, 5));
    assert.ok(counts[3 * SCORE_BINS + scoreKey(0.25)] > 5);
  });

  test(`score_histogram counts what is not a number apart, and clamps to [0, 1]: ${variant}`, async () => {
    const maps = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, -1, 2, 0, 1, 1e-40, 0.5];
    const counts = await count(maps, new Uint32Array(maps.length), [1, 1, maps.length], variant);
    assert.is(counts[6 * SCORE_BINS], 1);
    assert.is(counts[0], 5);
    assert.is(counts[SCORE_BINS - 1], 3);
    assert.is(counts[scoreKey(0.5)], 1);
    // The largest score of the last bin is 1, the smallest of the first is 0.
    assert.is(counts[5 * SCORE_BINS - 1], 0x3f800000);
    assert.is(counts[5 * SCORE_BINS], 0xffffffff);
  });
}

test('the bins on the device are those on the host, at every edge of a bin', async () => {
  const edges = Array.from({ length: SCORE_BINS }, (_, bin) => {
    floats[0] = lowestScore(bin);
    const at = floats[0];
    if (bin > 0) words[0]--;
    return [at, floats[0]];
  }).flat();
  const areas = new Uint32Array(edges.length);
  assert.equal(await count(edges, areas, [1, 512, 256], 'columns'), expected(edges, areas));
});

test('score_histogram refuses other shapes and types', async () => {
  const gpu = await testGpu();
  const maps = tensor(gpu, [0, 0], [1, 1, 2]);
  const areas = tensor(gpu, [0, 0], [1, 2, 1], 'u32');
  const error = await errorOf(() => Program.record(gpu, () => void scoreHistogram(maps, areas, areas)));
  assert.match(error.message, /score_histogram: maps must be f32\[batch, height, width\] and areas u32 of the same shape; got maps f32\[1, 1, 2\], areas u32\[1, 2, 1\]/);
  for (const unused of [maps, areas]) freeTensor(gpu, unused);
});

test.run();
