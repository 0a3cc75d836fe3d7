import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readSplit } from '../../tools/dataset/split.ts';
import { type DemoOptions, type DemoSize, demoTable, runDemo } from '../../tools/demo.ts';
import { testGpu } from '../support/gpu.ts';

const test = suite('demo');
const gpu = await testGpu();
const weights = (name: string): string => fileURLToPath(new URL(`../../weights/${name}`, import.meta.url));

/** The demo in small: fewer categories, smaller pictures. */
const size: DemoSize = { categories: 4, training: { good: 1, perDefect: 1 }, unseen: { good: 2, perDefect: 1 }, pixels: 64, epochs: 1, seeds: [0] };

test('trains on some categories, measures on others, and does nothing twice', async () => {
  const out = mkdtempSync(join(tmpdir(), 'mfp-clip-test-'));
  try {
    const said: string[] = [];
    const options: DemoOptions = {
      out,
      experiment: { gpu, clip: weights('clip'), cnn: weights('cnn'), variants: { mode: 'default' }, signal: new AbortController().signal },
      size,
      say: (text) => void said.push(text),
    };
    const results = await runDemo(options);
    assert.ok(results);
    assert.equal(results.plain.classes.map(({ class: name }) => name), [...readSplit().zeroShot.categories.slice(0, 4)].sort());
    assert.ok(said.some((text) => /^\d+ images of 4 categories to train on, \d+ of 4 others to measure with$/.test(text)), said.join('\n'));
    for (const { mean } of [results.plain, ...results.trained]) for (const value of [mean.imageAuroc, mean.pixelAuroc, mean.aupro]) assert.ok(value !== null && value >= 0 && value <= 1);
    assert.is.not(results.plain.mean.pixelAuroc, results.trained[0].mean.pixelAuroc);
    assert.match(readFileSync(join(out, 'seed-0', 'report.html'), 'utf8'), /<!doctype html>/i);
    const trainedAt = statSync(join(out, 'seed-0', 'mfp.safetensors')).mtimeMs;
    const again = await runDemo(options);
    assert.equal(again, results);
    assert.is(statSync(join(out, 'seed-0', 'mfp.safetensors')).mtimeMs, trainedAt);
  } finally {
    rmSync(out, { recursive: true });
  }
});

test('the table has a row for each class, and the mean and deviation of the seeds', () => {
  const metrics = (imageAuroc: number, pixelAuroc: number) => ({ imageAuroc, pixelAuroc, aupro: null });
  const results = (image: number, pixel: number) => ({ classes: [{ class: 'tile', metrics: metrics(image, pixel) }], mean: metrics(image, pixel) });
  const text = demoTable({ plain: results(0.5, 0.6), trained: [results(0.7, 0.8), results(0.9, 0.8)] } as unknown as Parameters<typeof demoTable>[0]);
  const [header, , tile, mean] = text.split('\n');
  assert.match(header, /unseen class .*CLIP I-AUROC .*CLIP AUPRO .*MFP-CLIP P-AUROC/);
  assert.match(tile, /^\| tile +\| +50\.0 \| +60\.0 \| +– \| +80\.0 ± 14\.1 \| +80\.0 ± 0\.0 \| +– \|$/);
  assert.match(mean, /^\| mean /);
});

test.run();
