import { linkSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDataset } from '../../src/data/dataset.ts';
import { evaluateShard } from '../../src/eval/evaluate.ts';
import { PixelCounter, PixelCounts } from '../../src/eval/pixel_counts.ts';
import { regionAreas } from '../../src/eval/regions.ts';
import { rankingMetrics } from '../../src/eval/ranking.ts';
import { freeTensor, tensor } from '../../src/tensor/tensor.ts';
import { randomValues, testGpu } from '../support/gpu.ts';
import { PictureMaps, png } from './synthetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-memory-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** What the process holds on to: bytes of objects, of arrays beside the heap, and of everything. */
function held(): { readonly objects: number; readonly arrays: number; readonly all: number } {
  collectGarbage();
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage();
  return { objects: heapUsed, arrays: arrayBuffers, all: rss };
}

/** Growth of the process that says nothing: the heap's and the driver's own reserves. All maps of the full size have 2 GB. */
const reserves = 100e6;

// The real size takes a minute on a CPU: MFP_CLIP_FULL=1 npx tsx test/eval/memory.test.ts
const full = process.env.MFP_CLIP_FULL === '1';
const size = full ? 518 : 61;
const count = 2000;

test(`counting ${count} maps of ${size} × ${size} takes the memory of one`, async () => {
  const gpu = await testGpu();
  const map = randomValues(size * size, 1).map((value, i) => 1 / (1 + Math.exp(5 - value - 4 * Math.sin(i / 900))));
  const mask = Uint8Array.from(map, (_, i) => Number(Math.hypot((i % size) - size / 3, Math.floor(i / size) - size / 2) < size / 8));
  const defects = regionAreas(mask, size, size);
  const maps = tensor(gpu, map, [1, size, size], 'f32', 'synthetic maps');
  const counter = await PixelCounter.create(gpu, [1, size, size]);
  const counts = new PixelCounts();
  let device = 0;
  let host = held();
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    if (counter.full) await counter.drain(counts);
    await counter.count(maps, [i % 3 ? undefined : defects]);
    // A model is waited for after each batch.
    await gpu.device.queue.onSubmittedWorkDone();
    if (i === 99) [device, host] = [gpu.memory.peak, held()];
  }
  const after = held();
  await counter.drain(counts);
  const seconds = (performance.now() - start) / 1000;
  if (full) console.log(`${(count / seconds).toFixed(0)} maps per second, ${((count * size * size) / seconds / 1e6).toFixed(0)} million pixels per second`);
  assert.is(gpu.memory.peak, device, 'device memory grew');
  assert.ok(after.objects - host.objects < 200_000, `objects grew by ${after.objects - host.objects} bytes`);
  assert.ok(after.arrays - host.arrays < 4e6, `arrays grew by ${after.arrays - host.arrays} bytes`);
  assert.ok(after.all - host.all < reserves, `memory grew by ${after.all - host.all} bytes`);
  const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0);
  assert.is(sum(counts.normal) + sum(counts.abnormal), count * size * size);
  assert.is(counts.regions, Math.ceil(count / 3));
  assert.ok(rankingMetrics(counts.pixels())!.auroc > 0);
  counter.destroy();
  freeTensor(gpu, maps);
});

test(`evaluating ${count} images holds one batch and a line for each image, and its state does not grow either`, async () => {
  const gpu = await testGpu();
  const side = 12;
  const root = join(folder, 'data');
  const pictures = Array.from({ length: 10 }, (_, p) => png(side, side, (x, y) => [100 + ((x * y * (p + 3)) % 97), 0, 0]));
  const mask = png(side, side, (x) => (x > 8 ? [255, 255, 255] : [0, 0, 0]));
  const place = (path: string, content: Buffer, i: number): void => {
    const file = join(root, 'plate', path, `${String(i).padStart(4, '0')}.png`);
    // Hard links, so that two thousand files are made in no time; to whoever reads them they are different files.
    if (i < 20) {
      mkdirSync(join(root, 'plate', path), { recursive: true });
      writeFileSync(file, content);
    } else linkSync(join(root, 'plate', path, `${String(i % 20).padStart(4, '0')}.png`), file);
  };
  for (let i = 0; i < count / 2; i++) {
    place('test/good', pictures[i % 10], i);
    place('test/bent', pictures[i % 10], i);
    place('ground_truth/bent', mask, i);
  }
  const dataset = openDataset(root);
  assert.is(dataset.samples.length, count);
  const detector = new PictureMaps(gpu, side);
  const file = join(folder, 'state.safetensors');
  let device = 0;
  let host = held();
  let stateBytes = 0;
  let seen = 0;
  const { state } = await evaluateShard(detector, dataset, {
    batch: 8,
    state: file,
    saveSeconds: 0.2,
    onImage() {
      seen++;
      if (seen === 400) [device, host, stateBytes] = [gpu.memory.peak, held(), statSync(file).size];
      if (seen === count) {
        assert.is(gpu.memory.peak, device, 'device memory grew');
        // Arrays come and go with each write of the state.
        const { objects, all } = held();
        const grown = (objects - host.objects) / (count - 400);
        assert.ok(grown < 600, `objects grew by ${grown} bytes for each image`);
        assert.ok(all - host.all < reserves, `memory grew by ${all - host.all} bytes`);
      }
    },
  });
  assert.is(seen, count);
  await state.close();
  const grown = (statSync(file).size - stateBytes) / (count - 400);
  assert.ok(grown < 300, `the state grew by ${grown} bytes for each image`);
  detector.destroy();
});

test.run();
