import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Dataset, checkSamples, classWords, openDataset, readSample, resizeMask } from '../../src/data/dataset.ts';
import { errorOf } from '../support/errors.ts';

const root = mkdtempSync(join(tmpdir(), 'mfp-clip-dataset-'));
test.after(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;

/** A picture: grey levels by a rule, as a PNG file. */
function png(width: number, height: number, level: (x: number, y: number) => number): Buffer {
  const image = new PNG({ width, height });
  for (let i = 0; i < width * height; i++) image.data.fill(level(i % width, Math.floor(i / width)), 4 * i, 4 * i + 3).fill(255, 4 * i + 3, 4 * i + 4);
  return PNG.sync.write(image);
}

const photo = png(8, 6, (x, y) => 20 * x + y);
const mask = png(8, 6, (x) => (x > 4 ? 255 : 0));

/** A data set in a new folder: contents by path. */
function make(files: Record<string, Buffer | string>): string {
  const folder = join(root, String(folders++));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

/** A small sound data set in the MVTec layout. */
const mvtec = {
  'readme.txt': 'hello',
  'bottle/train/good/000.png': photo,
  'bottle/test/good/000.png': photo,
  'bottle/test/good/001.png': photo,
  'bottle/test/broken/000.png': photo,
  'bottle/ground_truth/broken/000_mask.png': mask,
  'metal_nut/train/good/000.png': photo,
  'metal_nut/test/scratch/000.png': photo,
  'metal_nut/ground_truth/scratch/000.png': mask,
};

const header = 'object,split,label,image,mask\n';
const visaTable = `${header}candle,train,normal,candle/Data/Images/Normal/0.JPG,\ncandle,test,normal,candle/Data/Images/Normal/1.JPG,\ncandle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,candle/Data/Masks/Anomaly/0.png\n`;
const visa = {
  'split_csv/1cls.csv': visaTable,
  'candle/Data/Images/Normal/0.JPG': photo,
  'candle/Data/Images/Normal/1.JPG': photo,
  'candle/Data/Images/Anomaly/0.JPG': photo,
  'candle/Data/Masks/Anomaly/0.png': mask,
};

/** Problems as lines, without the folder. */
function lines(folder: string, problems: Dataset['problems']): string[] {
  return problems.map(({ where, what }) => `${where}: ${what}`.replaceAll(folder, '').replaceAll('\\', '/'));
}

/** Everything that is wrong with a data set. */
async function problemsOf(folder: string): Promise<string[]> {
  const dataset = openDataset(folder);
  return lines(folder, [...dataset.problems, ...(await checkSamples(dataset.samples))]);
}

test('the MVTec layout: classes, defects and masks, by class, defect and file', async () => {
  const folder = make(mvtec);
  const dataset = openDataset(folder);
  assert.is(dataset.layout, 'MVTec');
  assert.equal(dataset.classes, ['bottle', 'metal_nut']);
  assert.equal(
    dataset.samples.map(({ image, mask: file, label, class: name, defect }) => [image.slice(folder.length + 1), file?.slice(folder.length + 1), label, name, defect].map((part) => (typeof part === 'string' ? part.replaceAll('\\', '/') : part))),
    [
      ['bottle/test/broken/000.png', 'bottle/ground_truth/broken/000_mask.png', 1, 'bottle', 'broken'],
      ['bottle/test/good/000.png', undefined, 0, 'bottle', 'good'],
      ['bottle/test/good/001.png', undefined, 0, 'bottle', 'good'],
      ['metal_nut/test/scratch/000.png', 'metal_nut/ground_truth/scratch/000.png', 1, 'metal_nut', 'scratch'],
    ],
  );
  assert.equal(await problemsOf(folder), []);
  assert.is(openDataset(folder, { split: 'train' }).samples.length, 2);
  assert.equal(openDataset(folder, { classes: ['metal_nut'] }).samples.length, 1);
  assert.is(classWords('metal_nut'), 'metal nut');
});

test('the VisA layout: its table decides', async () => {
  const folder = make(visa);
  const dataset = openDataset(folder);
  assert.is(dataset.layout, 'VisA');
  assert.equal(dataset.classes, ['candle']);
  assert.equal(dataset.samples.map(({ label, defect }) => [label, defect]), [[1, 'anomaly'], [0, 'good']]);
  assert.equal(await problemsOf(folder), []);
  assert.is(openDataset(folder, { split: 'train' }).samples.length, 1);
  // Quoted fields, a byte order mark, empty lines and other columns are fine.
  const other = make({ ...visa, 'split_csv/1cls.csv': `\ufeffmask,image,note,label,split,object\n\n,"candle/Data/Images/Normal/1.JPG",x,normal,test,candle\n"candle/Data/Masks/Anomaly/0.png",candle/Data/Images/Anomaly/0.JPG,"a, b",anomaly,test,candle\n` });
  assert.is(openDataset(other).samples.length, 2);
});

test('masks of class numbers and of good images are fine', async () => {
  const folder = make({ ...mvtec, 'bottle/ground_truth/good/000_mask.png': png(8, 6, () => 0), 'bottle/ground_truth/broken/000_mask.png': png(8, 6, (x) => (x > 4 ? 2 : 0)) });
  assert.equal(await problemsOf(folder), []);
});

test('what is no data set', async () => {
  assert.match((await errorOf(() => openDataset(join(root, 'nothing')))).message, /nothing is not a folder; name the folder/);
  assert.match((await errorOf(() => openDataset(make({ 'a/b.txt': '' })))).message, /is not a data set: it has neither CLASS\/test\/DEFECT\/ folders with images \(MVTec-AD\) nor split_csv\/1cls.csv \(VisA\)/);
  assert.match((await errorOf(() => openDataset(make(mvtec), { classes: ['bottle', 'nut'] }))).message, /has no class "nut". It has: bottle, metal_nut$/);
  assert.match((await errorOf(() => openDataset(make({ ...visa, 'split_csv/1cls.csv': header })))).message, /1cls.csv has no row whose split is "test"/);
});

test('a missing or doubled column, and what is no table', async () => {
  const table = (text: string | Buffer) => errorOf(() => openDataset(make({ ...visa, 'split_csv/1cls.csv': text })));
  assert.match((await table(visaTable.replace('object,split,label,image,mask', 'object,split,label,image,masks'))).message, /1cls.csv: the column mask is missing; VisA's table has object, split, label, image, mask/);
  assert.match((await table('a,b\n')).message, /the columns object, split, label, image, mask are missing/);
  assert.match((await table('')).message, /the columns object, split, label, image, mask are missing/);
  assert.match((await table(visaTable.replace('label', 'split'))).message, /the column label is missing/);
  assert.match((await table(`object,${visaTable}`)).message, /the column object is there twice/);
  assert.match((await table(`${header}"open,test`)).message, /1cls.csv cannot be read as a table: .*quote/i);
  assert.match((await table(photo)).message, /1cls.csv(: the columns .* are missing| cannot be read as a table)/);
});

test('rows that cannot be used are named with their line', async () => {
  const rows = [
    'candle,test,normal,candle/Data/Images/Normal/1.JPG,',
    'candle,test,normal,candle/Data/Images/Normal/1.JPG,',
    'candle,test,anomaly,candle/Data/Images/Anomaly/0.JPG,',
    'candle,test,normal,candle/Data/Images/Normal/9.JPG,',
    'candle,test,anomaly,candle/Data/Images/Normal/0.JPG,candle/Data/Masks/Anomaly/9.png',
    'candle,val,normal,candle/Data/Images/Normal/0.JPG,',
    'candle,test,good,candle/Data/Images/Anomaly/2.JPG,',
    ',test,normal,candle/Data/Images/Anomaly/3.JPG,',
    'candle,test,normal,../../etc/passwd,',
    '../up,test,normal,candle/Data/Images/Anomaly/4.JPG,',
    'candle,test,normal',
    'candle,test,normal,candle/Data/Images/Anomaly/1.JPG,candle/Data/Masks/Anomaly/0.png',
  ];
  const folder = make({ ...visa, 'split_csv/1cls.csv': `${header}${rows.join('\n')}\n`, 'candle/Data/Images/Anomaly/1.JPG': photo, 'candle/Data/Masks/Anomaly/7.png': mask });
  assert.equal(await problemsOf(folder), [
    '/split_csv/1cls.csv line 12: has 3 fields, the header has 5',
    '/split_csv/1cls.csv line 3: repeats the image of line 2: candle/Data/Images/Normal/1.JPG',
    '/split_csv/1cls.csv line 4: the image candle/Data/Images/Anomaly/0.JPG is abnormal but has no mask',
    '/split_csv/1cls.csv line 5: there is no file /candle/Data/Images/Normal/9.JPG',
    '/split_csv/1cls.csv line 6: there is no file /candle/Data/Masks/Anomaly/9.png',
    '/split_csv/1cls.csv line 7: split is "val", not "train" or "test"',
    '/split_csv/1cls.csv line 8: label is "good", not "normal" or "anomaly"',
    '/split_csv/1cls.csv line 9: object is empty',
    '/split_csv/1cls.csv line 10: the path "../../etc/passwd" leads out of the data set',
    '/split_csv/1cls.csv line 11: object "../up" cannot be the name of a class',
    '/split_csv/1cls.csv line 13: the image candle/Data/Images/Anomaly/1.JPG is normal but has a mask',
    '/candle/Data/Masks/Anomaly/7.png: is a mask that no row of 1cls.csv names',
  ]);
});

test('an image without mask, a mask without image, an empty folder, two images that share a mask', async () => {
  const folder = make({
    ...mvtec,
    'bottle/test/broken/001.png': photo,
    'bottle/ground_truth/broken/002_mask.png': mask,
    'bottle/test/crack/note.txt': '',
    'metal_nut/test/scratch/000.jpg': photo,
  });
  assert.equal(await problemsOf(folder), [
    '/bottle/test/broken/001.png: has no mask: neither 001_mask.png nor 001.png is in /bottle/ground_truth/broken',
    '/bottle/test/crack: has no PNG or JPEG images',
    '/bottle/ground_truth/broken/002_mask.png: is a mask without an image in test',
    '/metal_nut/test/scratch/000.png: has the same name as 000.jpg, so that they would share a mask',
  ]);
  // The broken samples are left out, the others stay.
  assert.is(openDataset(folder).samples.length, 4);
  // Who asks for one class does not hear of the others.
  assert.is(openDataset(folder, { classes: ['metal_nut'] }).problems.length, 1);
});

test('photos and masks in formats that are not read are named, also beside others that are', async () => {
  const other = Buffer.from('BM');
  const folder = make({
    ...mvtec,
    'bottle/test/good/002.bmp': other,
    'bottle/test/good/003.TIF': other,
    'bottle/test/good/004.webp': other,
    'bottle/test/good/005.gif': other,
    'bottle/test/good/006.heic': other,
    'bottle/test/good/007.avif': other,
    'bottle/test/good/008.pgm': other,
    // Converted already: the photo is not left out.
    'bottle/test/good/001.tiff': other,
    // No photos.
    'bottle/test/good/.009.bmp': other,
    'bottle/test/good/Thumbs.db': other,
    'bottle/test/good/notes.txt': 'x',
    'bottle/test/good/labels.xml': '<?xml version="1.0"?>',
    'bottle/test/good/report.pdf': '%PDF',
    // An image with a mask that is read, and one with a mask that is not.
    'bottle/test/broken/001.bmp': other,
    'bottle/ground_truth/broken/001_mask.png': mask,
    'bottle/test/broken/002.png': photo,
    'bottle/ground_truth/broken/002_mask.bmp': other,
    'metal_nut/test/dent/000.bmp': other,
    'metal_nut/ground_truth/dent/000.png': mask,
    'metal_nut/train/good/001.bmp': other,
  });
  assert.equal(await problemsOf(folder), [
    '/bottle/test/broken/001.bmp: is a BMP file; convert it to PNG or JPEG',
    '/bottle/test/broken/002.png: has no mask: neither 002_mask.png nor 002.png is in /bottle/ground_truth/broken',
    '/bottle/test/good/002.bmp: is a BMP file; convert it to PNG or JPEG',
    '/bottle/test/good/003.TIF: is a TIFF file; convert it to PNG or JPEG',
    '/bottle/test/good/004.webp: is a WebP file; convert it to PNG or JPEG',
    '/bottle/test/good/005.gif: is a GIF file; convert it to PNG or JPEG',
    '/bottle/test/good/006.heic: is a HEIC file; convert it to PNG or JPEG',
    '/bottle/test/good/007.avif: is an AVIF file; convert it to PNG or JPEG',
    '/bottle/test/good/008.pgm: is a PNM file; convert it to PNG or JPEG',
    '/bottle/ground_truth/broken/002_mask.bmp: is a BMP file; convert it to PNG or JPEG',
    '/metal_nut/test/dent/000.bmp: is a BMP file; convert it to PNG or JPEG',
  ]);
  assert.is(openDataset(folder).samples.length, 4);
  assert.equal(lines(folder, openDataset(folder, { split: 'train' }).problems), ['/metal_nut/train/good/001.bmp: is a BMP file; convert it to PNG or JPEG']);
  // A class that has nothing else.
  const alone = make({ 'a/test/good/0.bmp': other });
  assert.equal(await problemsOf(alone), ['/a/test/good/0.bmp: is a BMP file; convert it to PNG or JPEG', '/a/test: has no usable image: the class "a" is empty']);
});

test('the VisA layout: a photo or mask in a format that is not read is named', async () => {
  const table = visaTable.replace('Normal/1.JPG', 'Normal/1.bmp').replace('Masks/Anomaly/0.png', 'Masks/Anomaly/0.bmp');
  const folder = make({ ...visa, 'split_csv/1cls.csv': table, 'candle/Data/Images/Normal/1.bmp': Buffer.from('BM'), 'candle/Data/Masks/Anomaly/0.bmp': Buffer.from('BM') });
  rmSync(join(folder, 'candle/Data/Masks/Anomaly/0.png'));
  assert.equal(await problemsOf(folder), [
    '/candle/Data/Masks/Anomaly/0.bmp: is a BMP file; convert it to PNG or JPEG',
    '/candle/Data/Images/Normal/1.bmp: is a BMP file; convert it to PNG or JPEG',
  ]);
});

test('a mask of another size, one that is a photo, one without a defect, and files that cannot be read', async () => {
  const folder = make({
    'a/test/size/0.png': photo,
    'a/ground_truth/size/0.png': png(6, 8, () => 255),
    'a/test/grey/0.png': photo,
    'a/ground_truth/grey/0.png': png(8, 6, (x, y) => 40 * y + 3 * x),
    'a/test/black/0.png': photo,
    'a/ground_truth/black/0.png': png(8, 6, () => 0),
    'a/test/cut/0.png': photo.subarray(0, 60),
    'a/ground_truth/cut/0.png': mask.subarray(0, 50),
    'a/test/empty/0.png': '',
    'a/ground_truth/empty/0.png': mask,
    'a/test/text/0.png': 'no image',
    'a/ground_truth/text/0.png': mask,
  });
  const problems = await problemsOf(folder);
  assert.equal(problems.map((line) => line.replace(/(its IDAT chunk|at byte).*/, '')), [
    '/a/ground_truth/black/0.png: marks no pixel as defect',
    '/a/test/cut/0.png: the PNG file is truncated: ',
    '/a/ground_truth/cut/0.png: the PNG file is truncated: ',
    '/a/test/empty/0.png: the file is empty',
    '/a/ground_truth/grey/0.png: is not a mask: 98% of its pixels are neither black nor white',
    '/a/ground_truth/size/0.png: is 6 × 8 pixels, its image /a/test/size/0.png is 8 × 6',
    '/a/test/text/0.png: is not an image that can be read: neither PNG nor JPEG',
  ]);
});

test('links: circles, dead ends, and the same thing twice', async () => {
  const folder = make(mvtec);
  const link = (target: string, path: string): void => symlinkSync(target, join(folder, path));
  link('.', 'circle');
  link('self', 'self');
  link('bottle', 'copy');
  link('..', 'bottle/test/up');
  link('broken', 'bottle/test/damaged');
  link('loop.png', 'bottle/test/broken/loop.png');
  link('gone.png', 'bottle/test/broken/dead.png');
  link('000.png', 'bottle/test/good/002.png');
  mkdirSync(join(folder, 'bottle/test/good/003.png'));
  assert.equal(await problemsOf(folder), [
    '/self: is a link that leads back to itself',
    '/bottle/test/broken/dead.png: is a link to something that is not there',
    '/bottle/test/broken/loop.png: is a link that leads back to itself',
    '/bottle/test/damaged: is the same folder as /bottle/test/broken, through a link',
    '/bottle/test/good/003.png: has the name of an image, but is a folder',
    '/bottle/test/good/002.png: is the same file as /bottle/test/good/000.png, through a link',
    '/bottle/test/up: has no PNG or JPEG images',
    '/copy: is the same folder as /bottle, through a link',
  ]);
});

if (process.platform !== 'win32') {
  test('a pipe under the name of an image is not waited for', async () => {
    const folder = make(mvtec);
    execFileSync('mkfifo', [join(folder, 'bottle/test/good/004.png')]);
    assert.equal(await problemsOf(folder), ['/bottle/test/good/004.png: has the name of an image, but is not a file']);
  });
}

test('reading leaves nothing behind', async () => {
  const folder = make({ ...mvtec, 'bottle/test/broken/001.png': 'x' });
  const before = readdirSync(folder, { recursive: true });
  await problemsOf(folder);
  assert.equal(readdirSync(folder, { recursive: true }), before);
});

test('a sample comes with what is wrong with it', async () => {
  const folder = make({ ...mvtec, 'bottle/ground_truth/broken/000_mask.png': png(4, 4, () => 255) });
  const [broken, good] = openDataset(folder).samples;
  const read = await readSample(broken);
  assert.is(read.image!.width, 8);
  assert.is(read.mask!.width, 4);
  assert.is(read.problems.length, 1);
  assert.is(read.problems[0].class, 'bottle');
  assert.equal((await readSample(good)).problems, []);
});

test('masks are resized to the nearest pixel', () => {
  const values = Uint8Array.of(0, 1, 0, 0, 0, 1);
  assert.equal(Array.from(resizeMask({ width: 3, height: 2, values }, 3)), [0, 1, 0, 0, 0, 1, 0, 0, 1]);
  assert.equal(Array.from(resizeMask({ width: 3, height: 2, values }, 2)), [0, 0, 0, 1]);
  assert.equal(Array.from(resizeMask({ width: 3, height: 2, values }, 1)), [0]);
  // Where a centre falls between two pixels, Pillow's rounding errors decide: what Image.resize gives there.
  const column = (from: number, to: number, target: number): number => Array.from({ length: from }, (_, x) => x).findIndex((x) => resizeMask({ width: from, height: 1, values: Uint8Array.from({ length: from }, (_, at) => Number(at === x)) }, to)[target] === 1);
  assert.is(column(44, 35, 17), 21);
  assert.is(column(1024, 518, 129), 255);
  assert.is(column(1024, 518, 388), 767);
});

test.run();
