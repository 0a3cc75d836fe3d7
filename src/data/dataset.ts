import { parse } from 'csv-parse/sync';
import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, extname, isAbsolute, join, relative, sep } from 'node:path';
import { UserError } from '../errors.ts';
import { type Mask, readImage, readMask } from './image.ts';

/** One image of an anomaly detection data set. */
export interface Sample {
  /** Path of the image file. */
  readonly image: string;
  /** Path of the defect mask; normal images have none. */
  readonly mask: string | undefined;
  /** 1 for an abnormal image. */
  readonly label: 0 | 1;
  /** Name of the class as the data set spells it: "metal_nut". */
  readonly class: string;
  /** Kind of defect; "good" for normal images. */
  readonly defect: string;
}

/** Something wrong with a data set. */
export interface DatasetProblem {
  /** The file or folder, with the line for a table. */
  readonly where: string;
  readonly what: string;
}

/** One part (train or test) of an anomaly detection data set. */
export interface Dataset {
  readonly root: string;
  readonly layout: 'MVTec' | 'VisA';
  readonly split: 'train' | 'test';
  /** In alphabetical order. */
  readonly classes: readonly string[];
  /** By class, then by defect and file name. */
  readonly samples: readonly Sample[];
  /** What was found wrong while listing; the samples concerned are left out. */
  readonly problems: readonly DatasetProblem[];
}

/** What to open. */
export interface DatasetOptions {
  readonly split?: 'train' | 'test';
  /** Classes to keep; default: all. */
  readonly classes?: readonly string[];
}

/** Words for a class: "metal_nut" is "metal nut". */
export function classWords(name: string): string {
  return name.replace(/_/g, ' ').trim();
}

/** Share of grey pixels up to which a mask counts as one: a smoothed outline. VisA's class numbers are told apart by `readMask`. */
const greyAllowed = 0.25;

const imageName = /\.(png|jpe?g)$/i;

/** Entries of a folder, sorted by name, without hidden ones. */
function entries(folder: string): { readonly name: string; readonly path: string; readonly isFolder: boolean }[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    throw new UserError(`cannot read the folder ${folder}: ${(error as Error).message}`);
  }
  return names
    .filter((name) => !name.startsWith('.'))
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      const status = statSync(path, { throwIfNoEntry: false });
      return status ? [{ name, path, isFolder: status.isDirectory() }] : [];
    });
}

function folders(folder: string): { readonly name: string; readonly path: string }[] {
  return entries(folder).filter(({ isFolder }) => isFolder);
}

function images(folder: string): { readonly name: string; readonly path: string }[] {
  return entries(folder).filter(({ name, isFolder }) => !isFolder && imageName.test(name));
}

/**
 * Lists an anomaly detection data set as it unpacks on disk: MVTec-AD, VisA (with its `split_csv` folder), or any folder
 * in the MVTec layout. Reads no image; `checkSamples` does.
 *
 * @param root folder with one folder per class
 * @throws UserError when it is neither layout, a class asked for is not there, or a table cannot be read
 */
export function openDataset(root: string, { split = 'test', classes }: DatasetOptions = {}): Dataset {
  const status = statSync(root, { throwIfNoEntry: false });
  if (!status?.isDirectory()) throw new UserError(`${root} is not a folder; name the folder that holds the classes of a data set`);
  const table = join(root, 'split_csv', '1cls.csv');
  const visa = existsSync(table);
  const problems: DatasetProblem[] = [];
  const found = visa ? listVisa(root, table, split, problems) : listMvtec(root, split, problems);
  const known = [...new Set(found.map((sample) => sample.class))].sort();
  for (const name of classes ?? []) {
    if (!known.includes(name)) throw new UserError(`${root} has no class "${name}". It has: ${known.join(', ')}`);
  }
  if (!known.length && !problems.length) {
    throw new UserError(`${root} is not a data set: it has neither CLASS/${split}/DEFECT/ folders with images (MVTec-AD) nor split_csv/1cls.csv (VisA)`);
  }
  const wanted = classes ? known.filter((name) => classes.includes(name)) : known;
  return { root, layout: visa ? 'VisA' : 'MVTec', split, classes: wanted, samples: found.filter((sample) => wanted.includes(sample.class)), problems };
}

function listMvtec(root: string, split: 'train' | 'test', problems: DatasetProblem[]): Sample[] {
  const samples: Sample[] = [];
  const visited = new Set<string>();
  for (const { name: className, path: classFolder } of folders(root)) {
    const splitFolder = join(classFolder, split);
    if (!existsSync(splitFolder)) continue;
    const real = realpathSync(classFolder);
    if (visited.has(real)) {
      problems.push({ where: classFolder, what: `is a link to a folder that another class already is (${real})` });
      continue;
    }
    visited.add(real);
    const used = new Set<string>();
    const before = samples.length;
    for (const { name: defect, path: folder } of folders(splitFolder)) {
      const found = images(folder);
      if (!found.length) problems.push({ where: folder, what: 'has no PNG or JPEG images' });
      for (const { name, path } of found) {
        if (defect === 'good') {
          samples.push({ image: path, mask: undefined, label: 0, class: className, defect });
          continue;
        }
        const stem = basename(name, extname(name));
        const masks = join(classFolder, 'ground_truth', defect);
        const mask = [`${stem}_mask.png`, `${stem}.png`].map((file) => join(masks, file)).find((file) => existsSync(file));
        if (!mask) {
          problems.push({ where: path, what: `has no mask: neither ${stem}_mask.png nor ${stem}.png is in ${masks}` });
          continue;
        }
        used.add(mask);
        samples.push({ image: path, mask, label: 1, class: className, defect });
      }
    }
    const groundTruth = join(classFolder, 'ground_truth');
    if (split === 'test' && existsSync(groundTruth)) {
      for (const { path: folder } of folders(groundTruth)) {
        for (const { path } of images(folder)) if (!used.has(path)) problems.push({ where: path, what: 'is a mask without an image in test' });
      }
    }
    if (samples.length === before) problems.push({ where: splitFolder, what: `has no usable image: the class "${className}" is empty` });
  }
  return samples;
}

const visaColumns = ['object', 'split', 'label', 'image', 'mask'] as const;

function listVisa(root: string, table: string, split: 'train' | 'test', problems: DatasetProblem[]): Sample[] {
  let rows: { readonly record: Record<string, string>; readonly info: { readonly lines: number } }[];
  try {
    rows = parse(readFileSync(table), { columns: true, bom: true, skip_empty_lines: true, trim: true, info: true, relax_column_count: false });
  } catch (error) {
    throw new UserError(`${table} cannot be read as a table: ${(error as Error).message}`);
  }
  if (rows.length) {
    const missing = visaColumns.filter((column) => !Object.hasOwn(rows[0].record, column));
    if (missing.length) throw new UserError(`${table}: the column${missing.length > 1 ? 's' : ''} ${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} missing; VisA's table has ${visaColumns.join(', ')}`);
  }
  const samples: Sample[] = [];
  const seen = new Map<string, number>();
  /** A path of the table, which must stay inside the data set. */
  const inside = (path: string): string | undefined => {
    const full = join(root, ...path.split('/'));
    const steps = relative(root, full);
    return isAbsolute(path) || steps === '' || steps.split(sep)[0] === '..' ? undefined : full;
  };
  for (const { record, info } of rows) {
    const where = `${table} line ${info.lines}`;
    const problem = (what: string): void => void problems.push({ where, what });
    if (record.split !== 'train' && record.split !== 'test') {
      problem(`split is "${record.split}", not "train" or "test"`);
      continue;
    }
    if (record.split !== split) continue;
    if (record.label !== 'normal' && record.label !== 'anomaly') {
      problem(`label is "${record.label}", not "normal" or "anomaly"`);
      continue;
    }
    if (record.object === '') {
      problem('object is empty');
      continue;
    }
    const image = inside(record.image);
    const mask = record.mask === '' ? undefined : inside(record.mask);
    if (!image || (record.mask !== '' && !mask)) problem(`the path "${image ? record.mask : record.image}" leads out of the data set`);
    else if (seen.has(image)) problem(`repeats the image of line ${seen.get(image)}: ${record.image}`);
    else if (!existsSync(image)) problem(`there is no file ${image}`);
    else if (record.label === 'anomaly' && !mask) problem(`the image ${record.image} is abnormal but has no mask`);
    else if (mask && !existsSync(mask)) problem(`there is no file ${mask}`);
    else {
      samples.push({ image, mask: record.label === 'anomaly' ? mask : undefined, label: record.label === 'anomaly' ? 1 : 0, class: record.object, defect: record.label === 'anomaly' ? 'anomaly' : 'good' });
    }
    if (image && !seen.has(image)) seen.set(image, info.lines);
  }
  // Masks that the table does not name, beside those that it does.
  const named = new Set(samples.flatMap(({ mask }) => mask ?? []));
  for (const folder of new Set([...named].map((mask) => dirname(mask)))) {
    for (const { path } of images(folder)) if (!named.has(path)) problems.push({ where: path, what: `is a mask that no ${split} row of ${basename(table)} names` });
  }
  const key = (sample: Sample): string => [sample.class, sample.defect, sample.image].join('\0');
  return samples.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/**
 * Reads every image and mask of a data set and says what is wrong with them: files that cannot be read, masks of another
 * size than their image, masks with grey pixels (a photo by mistake) and masks without any defect.
 *
 * @param onSample called after each sample, for progress
 */
export async function checkSamples(samples: readonly Sample[], onSample: () => void = () => {}): Promise<DatasetProblem[]> {
  const problems: DatasetProblem[] = [];
  for (const { image, mask } of samples) {
    try {
      const { width, height } = await readImage(image);
      if (mask) {
        const read = await readMask(mask);
        if (read.width !== width || read.height !== height) {
          problems.push({ where: mask, what: `is ${read.width} × ${read.height} pixels, its image ${image} is ${width} × ${height}` });
        }
        if (!read.values.includes(1)) problems.push({ where: mask, what: 'marks no pixel as defect' });
        if (read.greyPixels > greyAllowed * read.values.length) {
          problems.push({ where: mask, what: `is not a mask: ${((100 * read.greyPixels) / read.values.length).toFixed(0)}% of its pixels are neither black nor white` });
        }
      }
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      problems.push({ where: image, what: error.message });
    }
    onSample();
  }
  return problems;
}

/** A mask as a network input: nearest neighbour to a square, as Pillow's NEAREST samples. @returns [size, size], 0 or 1 */
export function resizeMask({ width, height, values }: Pick<Mask, 'width' | 'height' | 'values'>, size: number): Float32Array {
  const result = new Float32Array(size * size);
  for (let y = 0; y < size; y++) {
    const row = Math.min(height - 1, Math.floor(((y + 0.5) * height) / size)) * width;
    for (let x = 0; x < size; x++) result[y * size + x] = values[row + Math.min(width - 1, Math.floor(((x + 0.5) * width) / size))];
  }
  return result;
}
