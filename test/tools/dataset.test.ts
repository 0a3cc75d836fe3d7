import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { checkSamples, openDataset } from '../../src/data/dataset.ts';
import { readImage, readMask } from '../../src/data/image.ts';
import { UserError } from '../../src/errors.ts';
import { categories } from '../../tools/dataset/catalogue.ts';
import { captionOf } from '../../tools/dataset/captions.ts';
import { defectKinds } from '../../tools/dataset/category.ts';
import { maskOf } from '../../tools/dataset/mask.ts';
import { renderPool } from '../../tools/dataset/pool.ts';
import { angleOf, cosine, exponential, logarithm2, power, randomFor, sine } from '../../tools/dataset/render/numbers.ts';
import { goodContrast, largestShare, renderSample, smallestShare } from '../../tools/dataset/sample.ts';
import { readSplit } from '../../tools/dataset/split.ts';
import { type DatasetPlan, manifestName, writeDataset } from '../../tools/dataset/write.ts';
import { errorOf } from '../support/errors.ts';

const test = suite('dataset');
const hash = (...parts: readonly Uint8Array[]): string => {
  const sum = createHash('sha256');
  for (const part of parts) sum.update(part);
  return sum.digest('hex').slice(0, 16);
};
const folders: string[] = [];
const newFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'dataset-'));
  folders.push(folder);
  return folder;
};
test.after(() => folders.forEach((folder) => rmSync(folder, { recursive: true, force: true })));

test('arithmetic that is the same on every machine agrees with the standard library', () => {
  for (let x = -40; x <= 40; x += 0.173) {
    assert.ok(Math.abs(sine(x) - Math.sin(x)) < 1e-6, `sine(${x})`);
    assert.ok(Math.abs(cosine(x) - Math.cos(x)) < 1e-6, `cosine(${x})`);
    assert.ok(Math.abs(exponential(x / 4) / Math.exp(x / 4) - 1) < 1e-6, `exponential(${x / 4})`);
    const positive = Math.abs(x) + 1e-3;
    assert.ok(Math.abs(logarithm2(positive) - Math.log2(positive)) < 2e-6, `logarithm2(${positive})`);
    assert.ok(Math.abs(power(positive, 2.4) / positive ** 2.4 - 1) < 1e-5, `power(${positive})`);
    assert.ok(Math.abs(angleOf(x, 3 - x) - Math.atan2(3 - x, x)) < 2e-4, `angleOf(${x}, ${3 - x})`);
  }
});

// A change here means that every data set made before looks different: raise generatorVersion with it.
const known = {
  'leather good': '5a20b87a5e3d7a79',
  'metal_nut broken_edge': '4229cf6025ff28c6',
  'circuit_board missing_part': '6bf194a22499fb7c',
  'woven_fabric stain': 'a1f3cf64149544a8',
} as const;

test('a seed gives the same bytes, whatever was rendered before', () => {
  const found = Object.fromEntries(
    Object.keys(known).map((name) => {
      const [category, defect] = name.split(' ') as [string, 'good'];
      const { image, mask } = renderSample({ category, defect, seed: 11, size: 48 });
      return [name, hash(image, mask)];
    }),
  );
  assert.equal(found, known);
  const again = renderSample({ category: 'leather', defect: 'good', seed: 11, size: 48 });
  assert.is(hash(again.image, again.mask), known['leather good']);
  assert.is.not(hash(renderSample({ category: 'leather', defect: 'good', seed: 12, size: 48 }).image), hash(again.image));
});

test('every defect of every category is visible, of a sensible size, and exactly where its mask says', () => {
  const size = 48;
  for (const [k, category] of categories.entries()) {
    const seed = 300 + k;
    const good = renderSample({ category: category.name, defect: 'good', seed, size });
    assert.is(good.image.length, size * size * 3);
    assert.not.ok(good.mask.includes(1), `${category.name}: a good image has a mask`);
    for (const defect of category.defects) {
      const what = `${category.name}, ${defect}`;
      const hurt = renderSample({ category: category.name, defect, seed, size });
      let [area, sum, differing] = [0, 0, 0];
      for (let i = 0; i < size * size; i++) {
        let difference = 0;
        for (let c = 0; c < 3; c++) difference = Math.max(difference, Math.abs(good.image[i * 3 + c] - hurt.image[i * 3 + c]));
        if (!hurt.mask[i]) assert.is(difference, 0, `${what}: pixel ${i} differs outside the mask`);
        else {
          area++;
          sum += difference;
          if (difference >= 4) differing++;
        }
      }
      const share = area / (size * size);
      assert.ok(share >= smallestShare && share <= largestShare, `${what}: the mask covers ${(100 * share).toFixed(2)}%`);
      // The limits hold for the photo without noise; noise and rounding move the mean a little.
      assert.ok(sum / area >= goodContrast - 2, `${what}: the mean difference is ${(sum / area).toFixed(1)} levels`);
      assert.ok(differing >= 0.5 * area, `${what}: only ${differing} of ${area} pixels of the mask differ`);
    }
  }
});

test('masks: joined, closed, filled, without specks', () => {
  const size = 16;
  const difference = new Float32Array(size * size);
  const set = (x: number, y: number, value: number): void => void (difference[y * size + x] = value);
  // A ring of faint pixels round unchanged ones, with one clear pixel; a clear speck; a faint patch with nothing clear.
  for (let y = 3; y <= 9; y++) for (let x = 3; x <= 9; x++) if (Math.max(Math.abs(x - 6), Math.abs(y - 6)) >= 2) set(x, y, 6);
  set(3, 3, 30);
  set(13, 13, 40);
  for (let x = 2; x < 8; x++) set(x, 13, 8);
  const mask = maskOf(difference, size);
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) assert.is(mask[y * size + x], x >= 3 && x <= 9 && y >= 3 && y <= 9 ? 1 : 0, `(${x}, ${y})`);
});

test('captions say whether and how a thing is damaged', () => {
  const abnormal = /abnormal|damaged|defective|faulty|broken|with (flaw|defect|damage)|scratch/;
  let plural = 0;
  for (let seed = 0; seed < 200; seed++) {
    const good = captionOf('metal nut', 'good', randomFor(seed, 'test'));
    assert.match(good, /metal nut/);
    assert.not.match(good, abnormal);
    const hurt = captionOf('metal nut', 'scratch', randomFor(seed, 'test'));
    assert.match(hurt, /metal nut/);
    assert.match(hurt, abnormal);
    assert.not.match(`${good}${hurt}`, /[#%]/);
    if (/ an abnormal /.test(hurt)) plural++;
  }
  assert.ok(plural > 0);
  assert.is(renderSample({ category: 'tile', defect: 'good', seed: 5, size: 32 }).caption, renderSample({ category: 'tile', defect: 'good', seed: 5, size: 32 }).caption);
});

test('the split keeps categories and kinds of defect for zero-shot tests', () => {
  const { pretraining, zeroShot } = readSplit();
  assert.ok(categories.length >= 12);
  assert.ok(zeroShot.categories.length >= 4);
  assert.ok(zeroShot.defects.length >= 2);
  assert.ok(zeroShot.categories.some((name) => categories.find((category) => category.name === name)!.kind === 'texture'));
  assert.ok(zeroShot.categories.some((name) => categories.find((category) => category.name === name)!.kind === 'object'));
  // Every held-out kind occurs in a held-out category, and every category to learn from has something to learn.
  for (const kind of zeroShot.defects) assert.ok(categories.some(({ name, defects }) => zeroShot.categories.includes(name) && defects.includes(kind)), kind);
  for (const name of pretraining.categories) assert.ok(categories.find((category) => category.name === name)!.defects.some((kind) => pretraining.defects.includes(kind)), name);
  for (const kind of defectKinds) assert.ok(categories.some(({ defects }) => defects.includes(kind)), kind);
});

test('a split that leaves something out, or names it twice, is refused', async () => {
  const file = join(newFolder(), 'split.json');
  const { pretraining, zeroShot } = readSplit();
  writeFileSync(file, JSON.stringify({ pretraining, zeroShot: { ...zeroShot, categories: [...zeroShot.categories, pretraining.categories[0]] } }));
  assert.match((await errorOf(() => readSplit(file))).message, /categories must name each of/);
  writeFileSync(file, JSON.stringify({ pretraining, zeroShot: { ...zeroShot, defects: [] } }));
  assert.match((await errorOf(() => readSplit(file))).message, /defects must name each of/);
});

const plan = (out: string): DatasetPlan => ({ out, categories: ['granite', 'screw'], defects: ['stain', 'missing_part'], trainPerCategory: 1, testGood: 2, testPerDefect: 2, size: 32, seed: 3 });

test('a written data set opens as MVTec-AD does', async () => {
  const out = join(newFolder(), 'data');
  const seen: string[] = [];
  const { manifest, rendered } = await writeDataset({ ...plan(out), onImage: (path) => seen.push(path) });
  // Granite has no parts to miss.
  assert.is(manifest.images.length, 5 + 7);
  assert.is(rendered, 12);
  assert.equal(seen.sort(), manifest.images.map(({ path }) => path).sort());
  const dataset = openDataset(out);
  assert.equal(dataset.problems, []);
  assert.equal(dataset.classes, ['granite', 'screw']);
  assert.is(dataset.samples.length, 4 + 6);
  assert.is(dataset.samples.filter(({ label }) => label === 1).length, 2 + 4);
  assert.equal(await checkSamples(dataset.samples), []);
  assert.is(openDataset(out, { split: 'train' }).samples.length, 2);
  // What is read back is what the seed in the manifest renders.
  const { path, category, defect, seed, caption } = manifest.images.find((image) => image.defect === 'missing_part')!;
  const expected = renderSample({ category, defect, seed, size: 32 });
  assert.equal((await readImage(join(out, path))).pixels, expected.image);
  assert.equal((await readMask(join(out, path.replace('test', 'ground_truth').replace('.png', '_mask.png')))).values, expected.mask);
  assert.is(caption, expected.caption);
});

test('a pool of processes renders the same and hands errors on', async () => {
  const pool = renderPool(2);
  try {
    const options = [1, 2, 3].map((seed) => ({ category: 'tile', defect: 'crack' as const, seed, size: 32 }));
    const samples = await Promise.all(options.map((option) => pool.run(option)));
    assert.equal(samples, options.map((option) => renderSample(option)));
    const error = await errorOf(() => pool.run({ category: 'unicorn', defect: 'good', seed: 1 }));
    assert.instance(error, UserError);
    assert.match(error.message, /no category "unicorn"/);
  } finally {
    pool.close();
  }
});

test('writing goes on where it stopped, repairs what changed and removes what is no longer planned', async () => {
  const out = join(newFolder(), 'data');
  const first = await writeDataset(plan(out));
  assert.is((await writeDataset(plan(out))).rendered, 0);
  const bytes = readFileSync(join(out, 'screw/test/stain/001.png'));
  rmSync(join(out, 'screw/test/stain/001.png'));
  writeFileSync(join(out, 'granite/ground_truth/stain/000_mask.png'), 'not a mask');
  const second = await writeDataset(plan(out));
  assert.is(second.rendered, 2);
  assert.equal(second.manifest, first.manifest);
  assert.equal(readFileSync(join(out, 'screw/test/stain/001.png')), bytes);
  const fewer = await writeDataset({ ...plan(out), categories: ['screw'], defects: ['stain'], testPerDefect: 1 });
  assert.is(fewer.rendered, 0);
  assert.not.ok(existsSync(join(out, 'granite')));
  assert.not.ok(existsSync(join(out, 'screw/test/missing_part')));
  assert.not.ok(existsSync(join(out, 'screw/ground_truth/stain/001_mask.png')));
  assert.equal(openDataset(out).problems, []);
  // Another seed: nothing of the old can stay.
  assert.is((await writeDataset({ ...plan(out), seed: 4 })).rendered, 12);
});

test('a folder with other content, a foreign manifest and unknown names are refused', async () => {
  const out = newFolder();
  writeFileSync(join(out, 'thesis.txt'), 'mine');
  assert.match((await errorOf(() => writeDataset(plan(out)))).message, /is not empty and was not written by this generator/);
  writeFileSync(join(out, manifestName), '{"images": 3}');
  assert.match((await errorOf(() => writeDataset(plan(out)))).message, /manifest\.json cannot be read/);
  assert.match((await errorOf(() => renderSample({ category: 'unicorn', defect: 'good', seed: 1 }))).message, /no category "unicorn".*leather/);
  assert.match((await errorOf(() => renderSample({ category: 'granite', defect: 'missing_part', seed: 1 }))).message, /granite has no defect "missing_part"/);
  assert.match((await errorOf(() => renderSample({ category: 'granite', defect: 'good', seed: 1, size: 8 }))).message, /at least 32, not 8/);
});

test('the command writes a data set and a contact sheet, and explains mistakes', async () => {
  const folder = newFolder();
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const command = (...parameters: string[]) => spawnSync(process.execPath, [...process.execArgv, 'tools/dataset/main.ts', ...parameters], { cwd: root, encoding: 'utf8' });
  const written = command('--out', join(folder, 'data'), '--contact-sheet', join(folder, 'sheet.png'), '--categories', 'tile', '--size', '32', '--train', '0', '--good', '1', '--per-defect', '1');
  assert.is(written.status, 0, written.stderr);
  assert.match(written.stdout, /10 images of 1 categories, 10 of them rendered/);
  assert.equal(openDataset(join(folder, 'data')).problems, []);
  assert.is((await readImage(join(folder, 'sheet.png'))).width, 12 * (32 + 4) + 4);
  const mistake = command('--out', join(folder, 'data'), '--categories', 'tile,unicorn');
  assert.is(mistake.status, 1);
  assert.match(mistake.stderr, /^dataset: there is no category "unicorn"/);
});

test.run();
