import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDataset } from '../../src/data/dataset.ts';
import { evaluateModel, mapPath } from '../../src/eval/evaluate.ts';
import type { ClassResults, EvaluationResults, ImageResult } from '../../src/eval/results.ts';
import { writeNpy } from '../../src/io/npy.ts';
import { readImage } from '../../src/data/image.ts';
import { reportHtml } from '../../src/report/html.ts';
import { choosePanels, colourRange, makePanels, mapsOfFolder, mapsOfModel } from '../../src/report/panels.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';
import { PictureMaps, makeDataset, pictureMap } from '../eval/synthetic.ts';

const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-report-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const size = 24;
// "tile" has no normal images, "screw" no abnormal ones.
const data = openDataset(makeDataset(join(folder, 'data'), { size, classes: { metal_nut: [4, 6], screw: [4, 0], tile: [0, 3] } }));
const gpu = await testGpu();
const detector = new PictureMaps(gpu, size);
const results = await evaluateModel(detector, data, { batch: 2 });
const panels = await makePanels(results, data.root, mapsOfModel(detector, data.root, 2));
detector.destroy();
const page = reportHtml(results, { panels });

/** The page with everything that is drawn or encoded left out: what a person reads. */
const words = (html: string): string => html.replace(/<style>.*?<\/style>/s, '').replace(/data:[^"]*/g, '').replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');

function pngOf(uri: string): PNG {
  return PNG.sync.read(Buffer.from(uri.slice(uri.indexOf(',') + 1), 'base64'));
}

const image = (label: 0 | 1, file: string, score: number, pixelAuroc: number | null = null): ImageResult => ({ file, mask: label ? `${file}.mask` : null, defect: label ? 'cut' : 'good', label, score, pixelAuroc });

test('nothing on the page is loaded from elsewhere or runs', () => {
  assert.not.match(page, /https?:/);
  assert.not.match(page, /<script|<link|<iframe|@import|\bon\w+=/i);
  for (const [, target] of page.matchAll(/(?:src|href)="([^"]*)"/g)) assert.match(target, /^(data:image\/png;base64,[\w+/=]+|#[\w-]+)$/);
  for (const [, target] of page.matchAll(/url\(([^)]*)/g)) assert.unreachable(`url(${target})`);
  // The browser is told to refuse what slipped through.
  assert.match(page, /Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'"/);
});

test('every link and reference on the page has its target, and no identifier is used twice', () => {
  const identifiers = [...page.matchAll(/\bid="([^"]*)"/g)].map(([, id]) => id);
  assert.is(new Set(identifiers).size, identifiers.length);
  for (const [, target] of page.matchAll(/href="#([^"]*)"/g)) assert.ok(identifiers.includes(target), target);
});

test('tags are closed in the order in which they were opened', () => {
  const open: string[] = [];
  for (const [, closing, name, rest] of page.replace(/<style>.*?<\/style>|<!doctype html>/gs, '').matchAll(/<(\/?)([a-z]+\d?)\b([^>]*)>/gi)) {
    if (closing) assert.is(open.pop(), name);
    else if (!rest.endsWith('/') && !['meta', 'img'].includes(name)) open.push(name);
  }
  assert.equal(open, []);
});

test('the table has each class, its metrics in percent, and a dash with an explanation where there is none', () => {
  const { metrics } = results.classes[0];
  const text = words(page);
  for (const value of Object.values(metrics)) assert.ok(text.includes((100 * value!).toFixed(1)));
  const rows = [...page.matchAll(/<tr><td>.*?<\/tr>/g)].map(([row]) => words(row).trim().split(' '));
  assert.equal(rows.map(([name]) => name), ['metal', 'screw', 'tile', 'mean']);
  assert.equal(rows[1].slice(1), ['4', '0', '–', '–', '–', '–', '–', '–', '–']);
  assert.match(text, /–: not defined/);
  assert.is((page.match(/>not defined</g) ?? []).length, 2, 'the ROC and PRO charts of "screw"; the pixels of "tile" have a curve');
});

test('words from the data set cannot become markup', () => {
  const hostile = '<img src=x onerror=alert(1)>&"\'';
  const [first] = results.classes;
  const named: EvaluationResults = { ...results, classes: [{ ...first, class: hostile, words: hostile, defects: { [hostile]: 2, cut: 1 }, images: first.images.map((one) => ({ ...one, file: hostile, defect: hostile })) }] };
  const html = reportHtml(named, { panels: [{ class: hostile, range: [0, 1], panels: panels[0].panels.map((panel) => ({ ...panel, image: { ...panel.image, file: hostile, defect: hostile } })) }] });
  assert.not.match(html, /<img src=x/);
  assert.not.match(html, /[^;]&"'/);
  assert.ok(html.includes('&#60;img src=x onerror=alert(1)&#62;&#38;&#34;&#39;'));
  assert.ok(reportHtml(named, { missing: hostile }).includes('No pictures: &#60;img'));
});

test('curves stay inside their charts and begin and end where they should', () => {
  for (const [, label, chart] of page.matchAll(/<svg class="chart"[^>]*aria-label="([^"]*)">(.*?)<\/svg>/gs)) {
    const [, left, top, width, height] = /<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" class="frame"/.exec(chart)!.map(Number);
    for (const [, path] of chart.matchAll(/<path d="([^"]*)" class="line"/g)) {
      const points = [...path.matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map(([, x, y]) => [Number(x), Number(y)]);
      assert.ok(points.length > 1, label);
      for (const [x, y] of points) assert.ok(x >= left && x <= left + width && y >= top && y <= top + height, `${label}: ${x} ${y}`);
      if (!label.startsWith('ROC')) continue;
      assert.equal(points[0], [left, top + height], label);
      assert.equal(points.at(-1), [left + width, top], label);
    }
  }
  assert.is((page.match(/class="chart"/g) ?? []).length, 4 * results.classes.length);
});

test('histograms have every image, on all of the scale or, where scores lie close, on the tenths that hold them', () => {
  const [first] = results.classes;
  /** Labels of the score axis, and the heights of each histogram's steps in counts. */
  const histogram = (scores: readonly number[]): { readonly axis: string[]; readonly counts: number[] } => {
    const html = reportHtml({ ...results, classes: [{ ...first, images: scores.map((score, i) => image(i % 2 ? 1 : 0, String(i), score)) }] }, { missing: '' });
    const chart = /<svg class="chart"[^>]*aria-label="Histogram of the image scores[^>]*>(.*?)<\/svg>/s.exec(html)![1];
    const axis = [...chart.matchAll(/text-anchor="middle">([\d.]+)</g)].map(([, text]) => text);
    const levels = [...chart.matchAll(/M[\d.]+ ([\d.]+)H[\d.]+"\/><text[^>]*>(\d+)</g)].map(([, y, count]) => [Number(y), Number(count)]);
    const unit = (levels[0][0] - levels.at(-1)![0]) / levels.at(-1)![1];
    const counts = [...chart.matchAll(/<path d="([^"]*)" class="line"/g)].map(([, path]) => {
      const points = [...path.matchAll(/[ML][\d.]+ ([\d.]+)/g)].map(([, y]) => Number(y));
      return Math.round(points.filter((_, i) => i % 2 === 0).reduce((sum, y) => sum + (levels[0][0] - y) / unit, 0));
    });
    return { axis, counts };
  };
  assert.equal(histogram([0.05, 0.3, 0.31, 0.9, 1]), { axis: ['0', '0.2', '0.4', '0.6', '0.8', '1'], counts: [3, 2] });
  assert.equal(histogram([0.48, 0.481, 0.479, 0.52]), { axis: ['0.4', '0.45', '0.5', '0.55', '0.6'], counts: [2, 2] });
  assert.equal(histogram([1, 1, 0.95]).axis.at(-1), '1');
  assert.equal(histogram([0, 0]).axis[0], '0');
});

test('each class shows its best and worst images as image, ground truth and map', async () => {
  assert.equal(panels.map(({ panels: shown }) => shown.map(({ role }) => role)), [
    ['best', 'best', 'worst', 'worst', 'highest normal', 'highest normal'],
    ['highest normal', 'highest normal', 'lowest normal', 'lowest normal'],
    ['best', 'best', 'worst'],
  ]);
  const figures = [...page.matchAll(/<figure class="panel">.*?<\/figure>/gs)].map(([figure]) => figure);
  assert.is(figures.length, 13);
  for (const [i, panel] of panels.flatMap(({ panels: shown }) => shown).entries()) {
    const pictures = [...figures[i].matchAll(/(?:src|href)="(data:[^"]*)"/g)].map(([, uri]) => pngOf(uri));
    assert.is(pictures.length, panel.image.label ? 3 : 2);
    const photo = await readImage(join(data.root, panel.image.file));
    const [shown, heat] = [pictures[0], pictures.at(-1)!];
    for (let p = 0; p < size * size; p++) assert.equal([...shown.data.subarray(4 * p, 4 * p + 3)], [...photo.pixels.subarray(3 * p, 3 * p + 3)]);
    // The map is the photo's red channel: coloured where that is high, see-through where it is low.
    const map = pictureMap(photo);
    const { range: [low, high] } = panels.find(({ panels: of }) => of.includes(panel))!;
    for (let p = 0; p < size * size; p++) {
      const value = (map[p] - low) / (high - low);
      const alpha = heat.data[4 * p + 3];
      if (value < 0.2) assert.is(alpha, 0);
      if (value > 0.6) assert.ok(alpha > 180, String(alpha));
    }
    assert.ok(figures[i].includes(`score ${panel.image.score.toFixed(3)}`));
  }
});

test('a defect of one pixel is still seen in a mask that is made smaller', async () => {
  const large = 700;
  const root = makeDataset(join(folder, 'large'), { size: large, classes: { plate: [0, 1] } });
  const shown = { ...results.classes[0], images: [image(1, 'plate/test/cut/000.png', 1)] };
  const maps = async () => ({ map: new Float32Array(4), size: 2 });
  const [{ panels: [{ mask, photo, width, height }] }] = await makePanels({ classes: [{ ...shown, images: [{ ...shown.images[0], mask: 'plate/ground_truth/cut/000_mask.png' }] }] }, root, maps);
  assert.equal([width, height], [256, 256]);
  for (const picture of [mask!, photo]) assert.equal([PNG.sync.read(Buffer.from(picture)).width, PNG.sync.read(Buffer.from(picture)).height], [256, 256]);
  const { data: pixels } = PNG.sync.read(Buffer.from(mask!));
  const at = (x: number, y: number): number => pixels[4 * (y * 256 + x)];
  // The lone pixel is at (1, 698) of 700.
  assert.ok(at(0, 255) >= 128, String(at(0, 255)));
  assert.is(at(3, 252), 0);
});

test('images are chosen by the ranking of their own pixels, names deciding between equals', () => {
  const images = [image(1, 'c', 0.1, 0.9), image(1, 'b', 0.2, 0.9), image(1, 'a', 0.9, 0.2), image(1, 'd', 0.5, 0.5), image(1, 'e', 1, null), image(0, 'g', 0.3), image(0, 'f', 0.3), image(0, 'h', 0.2)];
  const expected = ['best b', 'best c', 'worst d', 'worst a', 'highest normal f', 'highest normal g'];
  const shown = (list: readonly ImageResult[]): string[] => choosePanels({ images: list }).map(({ role, image: { file } }) => `${role} ${file}`);
  assert.equal(shown(images), expected);
  assert.equal(shown([...images].reverse()), expected);
  assert.equal(shown(images.slice(0, 1)), ['best c']);
  assert.equal(shown([image(1, 'a', 0.3), image(1, 'b', 0.6), image(1, 'c', 0.5)]), ['best b', 'best c', 'worst a'], 'by score where no pixels are ranked');
  assert.equal(shown([]), []);
});

test('the colour scale runs from the median normal pixel to the strongest defects, and is never narrow', () => {
  const counts = (entries: Readonly<Record<number, number>>): number[] => Array.from({ length: 50 }, (_, i) => entries[i] ?? 0);
  const range = (normal: Readonly<Record<number, number>>, abnormal: Readonly<Record<number, number>>): number[] =>
    colourRange({ distributions: { image: { normal: [], abnormal: [] }, pixel: { normal: counts(normal), abnormal: counts(abnormal) } } } as Pick<ClassResults, 'distributions'>);
  assert.equal(range({ 0: 900, 10: 100 }, { 30: 50, 44: 50 }), [0, 0.9]);
  assert.equal(range({ 20: 100 }, { 21: 100 }), [0.4, 0.5]);
  assert.equal(range({ 49: 100 }, { 49: 100 }), [0.9, 1]);
  assert.equal(range({ 0: 10, 40: 10 }, { 5: 10 }), [0, 0.82], 'normal pixels above all defects');
  assert.equal(range({}, {}), [0, 1]);
});

test('maps that were kept give the same page as the model', async () => {
  const maps = join(folder, 'maps');
  for (const { class: name, images } of results.classes) {
    for (const one of images) await writeNpy(mapPath(maps, { ...one, class: name }), pictureMap(await readImage(join(data.root, one.file))), [size, size]);
  }
  assert.is(reportHtml(results, { panels: await makePanels(results, data.root, mapsOfFolder(maps)) }), page);
  await writeNpy(mapPath(maps, { ...panels[0].panels[0].image, class: 'metal_nut' }), new Float32Array(6), [2, 3]);
  assert.match((await errorOf(() => makePanels(results, data.root, mapsOfFolder(maps)))).message, /metal_nut.*\[2, 3\]/);
});

test('a report without pictures says how to get them', () => {
  const html = reportHtml(results, { missing: 'they need the maps' });
  assert.match(words(html), /No pictures: they need the maps/);
  assert.not.match(html, /data:image/);
});

test.run();
