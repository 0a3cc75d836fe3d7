import { parse } from 'csv-parse/sync';
import { existsSync, readFileSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, extname, isAbsolute, join, relative, sep } from 'node:path';
import { UserError } from '../errors.ts';
import { type Mask, type RgbImage, imageName, otherPhotos, readImage, readMask } from './image.ts';

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
  /** The class that it is in, where that is known. */
  readonly class?: string;
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

/** Larger tables are not read: VisA's has 1 MB. */
const MAX_TABLE_BYTES = 64 * 1024 * 1024;

/** Collects what is wrong with one class, or with the data set when no class is known. */
class ProblemList {
  readonly all: DatasetProblem[] = [];

  add(where: string, what: string, className?: string): void {
    this.all.push(className === undefined ? { where, what } : { where, what, class: className });
  }
}

/** Entries of a folder, sorted by name, without hidden ones. What cannot be read becomes a problem. */
function entries(folder: string, problem: (where: string, what: string) => void): { readonly name: string; readonly path: string; readonly kind: 'folder' | 'file' | 'other' }[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    problem(folder, `cannot be read: ${(error as Error).message}`);
    return [];
  }
  return names
    .filter((name) => !name.startsWith('.'))
    .sort()
    .flatMap((name) => {
      const path = join(folder, name);
      try {
        const status = statSync(path);
        return [{ name, path, kind: status.isDirectory() ? ('folder' as const) : status.isFile() ? ('file' as const) : ('other' as const) }];
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        problem(path, code === 'ELOOP' ? 'is a link that leads back to itself' : code === 'ENOENT' ? 'is a link to something that is not there' : `cannot be read: ${message}`);
        return [];
      }
    });
}

/** A file's name without its ending: what an image and its mask have in common. */
const stemOf = (name: string): string => basename(name, extname(name));

/** The pictures of a folder, sorted by name. */
interface Pictures {
  /** PNG and JPEG, by their names. */
  readonly images: readonly { readonly name: string; readonly path: string }[];
  /** Photos and masks in formats that are not read, with what is to be said of them. */
  readonly others: readonly { readonly name: string; readonly path: string; readonly what: string }[];
}

/** Lists the pictures of a folder. Something else under the name of an image is a problem. */
function pictures(folder: string, problem: (where: string, what: string) => void): Pictures {
  const all = entries(folder, problem);
  const images = all.filter(({ name, path, kind }) => {
    if (!imageName.test(name)) return false;
    if (kind !== 'file') problem(path, `has the name of an image, but is ${kind === 'folder' ? 'a folder' : 'not a file'}`);
    return kind === 'file';
  });
  const unread = otherPhotos(all.flatMap(({ name, kind }) => (kind === 'file' ? [name] : [])));
  const others = all.flatMap(({ name, path }) => {
    const what = unread.get(name);
    return what === undefined ? [] : [{ name, path, what }];
  });
  return { images, others };
}

/** Tells whether a file or folder was met before under another name: through a link. */
class LinkGuard {
  readonly #seen = new Map<string, string>();

  /** @returns the path under which it was met */
  metBefore(path: string): string | undefined {
    const real = realpathSync(path);
    const before = this.#seen.get(real);
    if (before === undefined) this.#seen.set(real, path);
    return before;
  }
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
  const problems = new ProblemList();
  const found = visa ? listVisa(root, table, split, problems) : listMvtec(root, split, problems);
  const known = [...new Set([...found.map((sample) => sample.class), ...problems.all.flatMap((problem) => problem.class ?? [])])].sort();
  for (const name of classes ?? []) {
    if (!known.includes(name)) throw new UserError(`${root} has no class "${name}". It has: ${known.join(', ') || 'none'}`);
  }
  if (!known.length && !problems.all.length) {
    throw new UserError(visa ? `${table} has no row whose split is "${split}"` : `${root} is not a data set: it has neither CLASS/${split}/DEFECT/ folders with images (MVTec-AD) nor split_csv/1cls.csv (VisA)`);
  }
  const wanted = (name: string | undefined): boolean => name === undefined || !classes || classes.includes(name);
  return {
    root,
    layout: visa ? 'VisA' : 'MVTec',
    split,
    classes: known.filter((name) => wanted(name) && found.some((sample) => sample.class === name)),
    samples: found.filter((sample) => wanted(sample.class)),
    problems: problems.all.filter((problem) => wanted(problem.class)),
  };
}

function listMvtec(root: string, split: 'train' | 'test', problems: ProblemList): Sample[] {
  const samples: Sample[] = [];
  const classFolders = new LinkGuard();
  const folders = (folder: string, problem: (where: string, what: string) => void) => entries(folder, problem).filter(({ kind }) => kind === 'folder');
  for (const { name: className, path: classFolder } of folders(root, (where, what) => problems.add(where, what))) {
    const splitFolder = join(classFolder, split);
    if (!existsSync(splitFolder)) continue;
    const problem = (where: string, what: string): void => problems.add(where, what, className);
    const sameClass = classFolders.metBefore(classFolder);
    if (sameClass !== undefined) {
      problem(classFolder, `is the same folder as ${sameClass}, through a link`);
      continue;
    }
    const groundTruth = join(classFolder, 'ground_truth');
    const links = new LinkGuard();
    const used = new Set<string>();
    const before = samples.length;
    for (const { name: defect, path: folder } of folders(splitFolder, problem)) {
      const sameFolder = links.metBefore(folder);
      if (sameFolder !== undefined) {
        problem(folder, `is the same folder as ${sameFolder}, through a link`);
        continue;
      }
      const { images, others } = pictures(folder, problem);
      if (!images.length && !others.length) problem(folder, 'has no PNG or JPEG images');
      const masks = join(groundTruth, defect);
      const maskOf = (stem: string): string | undefined => {
        const mask = [`${stem}_mask.png`, `${stem}.png`].map((file) => join(masks, file)).find((file) => existsSync(file));
        if (mask) used.add(mask);
        return mask;
      };
      for (const { name, path, what } of others) {
        problem(path, what);
        // Its mask has an image.
        maskOf(stemOf(name));
      }
      const stems = new Map<string, string>();
      for (const { name, path } of images) {
        const stem = stemOf(name);
        const twin = stems.get(stem);
        stems.set(stem, name);
        const sameFile = links.metBefore(path);
        const mask = maskOf(stem);
        if (sameFile !== undefined) problem(path, `is the same file as ${sameFile}, through a link`);
        else if (twin !== undefined) problem(path, `has the same name as ${twin}, so that they would share a mask`);
        // Some data sets come with empty masks for good images, which say nothing.
        else if (defect === 'good') samples.push({ image: path, mask: undefined, label: 0, class: className, defect });
        else if (!mask) problem(path, `has no mask: neither ${stem}_mask.png nor ${stem}.png is in ${masks}`);
        else samples.push({ image: path, mask, label: 1, class: className, defect });
      }
    }
    if (split === 'test' && existsSync(groundTruth)) {
      for (const { path: folder } of folders(groundTruth, problem)) {
        const { images, others } = pictures(folder, problem);
        for (const { path } of images) if (!used.has(path)) problem(path, 'is a mask without an image in test');
        for (const { path, what } of others) problem(path, what);
      }
    }
    if (samples.length === before) problem(splitFolder, `has no usable image: the class "${className}" is empty`);
  }
  return samples;
}

const visaColumns = ['object', 'split', 'label', 'image', 'mask'] as const;

/** One row of VisA's table, with the line that it ends on. */
interface VisaRow {
  readonly line: number;
  readonly fields: Readonly<Record<(typeof visaColumns)[number], string>>;
}

function readVisaTable(table: string, problems: ProblemList): VisaRow[] {
  let lines: { readonly record: readonly string[]; readonly info: { readonly lines: number } }[];
  try {
    const { size } = statSync(table);
    if (size > MAX_TABLE_BYTES) throw new Error(`it has ${size} bytes, more than any table of a data set`);
    lines = parse(readFileSync(table), { bom: true, skip_empty_lines: true, trim: true, info: true, relax_column_count: true }) as unknown as typeof lines;
  } catch (error) {
    throw new UserError(`${table} cannot be read as a table: ${(error as Error).message}`);
  }
  const header = lines.shift()?.record ?? [];
  const missing = visaColumns.filter((column) => !header.includes(column));
  if (missing.length) throw new UserError(`${table}: the column${missing.length > 1 ? 's' : ''} ${missing.join(', ')} ${missing.length > 1 ? 'are' : 'is'} missing; VisA's table has ${visaColumns.join(', ')}`);
  const twice = visaColumns.filter((column) => header.indexOf(column) !== header.lastIndexOf(column));
  if (twice.length) throw new UserError(`${table}: the column ${twice[0]} is there twice`);
  return lines.flatMap(({ record, info }) => {
    if (record.length !== header.length) {
      problems.add(`${table} line ${info.lines}`, `has ${record.length} fields, the header has ${header.length}`);
      return [];
    }
    return [{ line: info.lines, fields: Object.fromEntries(visaColumns.map((column) => [column, record[header.indexOf(column)]])) as VisaRow['fields'] }];
  });
}

function listVisa(root: string, table: string, split: 'train' | 'test', problems: ProblemList): Sample[] {
  const samples: Sample[] = [];
  const seen = new Map<string, number>();
  const links = new LinkGuard();
  const namedMasks = new Map<string, string>();
  /** A path of the table, which must stay inside the data set. */
  const inside = (path: string): string | undefined => {
    const full = join(root, ...path.split('/'));
    const steps = relative(root, full);
    return isAbsolute(path) || steps === '' || steps.split(sep)[0] === '..' ? undefined : full;
  };
  const isFile = (path: string): boolean => {
    try {
      return statSync(path).isFile();
    } catch {
      return false;
    }
  };
  for (const { line, fields } of readVisaTable(table, problems)) {
    const problem = (what: string): void => problems.add(`${table} line ${line}`, what, fields.object === '' ? undefined : fields.object);
    const mask = fields.mask === '' ? undefined : inside(fields.mask);
    if (mask) namedMasks.set(mask, fields.object);
    if (fields.split !== 'train' && fields.split !== 'test') {
      problem(`split is "${fields.split}", not "train" or "test"`);
      continue;
    }
    const image = inside(fields.image);
    const before = image === undefined ? undefined : seen.get(image);
    if (image !== undefined && before === undefined) seen.set(image, line);
    if (fields.split !== split) continue;
    const abnormal = fields.label === 'anomaly';
    if (!abnormal && fields.label !== 'normal') problem(`label is "${fields.label}", not "normal" or "anomaly"`);
    else if (fields.object === '') problem('object is empty');
    // Classes become folders of results.
    else if (/[/\\\0]|^\.\.?$/.test(fields.object)) problem(`object "${fields.object}" cannot be the name of a class`);
    else if (image === undefined || (fields.mask !== '' && !mask)) problem(`the path "${image ? fields.mask : fields.image}" leads out of the data set`);
    else if (before !== undefined) problem(`repeats the image of line ${before}: ${fields.image}`);
    else if (!isFile(image)) problem(`there is no file ${image}`);
    else if (abnormal && !mask) problem(`the image ${fields.image} is abnormal but has no mask`);
    else if (!abnormal && mask) problem(`the image ${fields.image} is normal but has a mask`);
    else if (mask && !isFile(mask)) problem(`there is no file ${mask}`);
    else {
      const sameFile = links.metBefore(image);
      if (sameFile !== undefined) problem(`the image ${fields.image} is the same file as ${sameFile}, through a link`);
      else samples.push({ image, mask, label: abnormal ? 1 : 0, class: fields.object, defect: abnormal ? 'anomaly' : 'good' });
    }
  }
  // Masks that the table does not name, beside those that it does.
  const maskFolders = new Map([...namedMasks].map(([mask, object]) => [dirname(mask), object]));
  for (const [folder, object] of maskFolders) {
    if (!existsSync(folder)) continue;
    const problem = (where: string, what: string): void => problems.add(where, what, object);
    for (const { path } of pictures(folder, problem).images) if (!namedMasks.has(path)) problem(path, `is a mask that no row of ${basename(table)} names`);
  }
  const key = (sample: Sample): string => [sample.class, sample.defect, sample.image].join('\0');
  return samples.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** A sample's pictures, decoded, and what is wrong with them. */
export interface ReadSample {
  /** Undefined when it cannot be read. */
  readonly image: RgbImage | undefined;
  /** Undefined for a normal image, and when it cannot be read. */
  readonly mask: Mask | undefined;
  readonly problems: readonly DatasetProblem[];
}

/**
 * Reads the image and the mask of a sample. What is wrong with them: files that cannot be read, a mask of another size than
 * its image, with grey pixels (a photo by mistake) or without any defect.
 */
export async function readSample(sample: Sample): Promise<ReadSample> {
  const problems: DatasetProblem[] = [];
  const problem = (where: string, what: string): void => void problems.push({ where, what, class: sample.class });
  const read = async <T>(file: string, reader: (file: string) => Promise<T>): Promise<T | undefined> => {
    try {
      return await reader(file);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      // The messages of the decoders name the file; so does the problem.
      const message = error.message.replace(/\.$/, '');
      const prefix = [`cannot read ${file}: `, `${file}: `, `${file} `].find((text) => message.startsWith(text)) ?? '';
      problem(file, `${prefix.startsWith('cannot') ? 'cannot be read: ' : ''}${message.slice(prefix.length)}`);
      return undefined;
    }
  };
  const image = await read(sample.image, readImage);
  const mask = sample.mask === undefined ? undefined : await read(sample.mask, readMask);
  if (image && mask && (mask.width !== image.width || mask.height !== image.height)) {
    problem(sample.mask!, `is ${mask.width} × ${mask.height} pixels, its image ${sample.image} is ${image.width} × ${image.height}`);
  }
  if (mask && !mask.values.includes(1)) problem(sample.mask!, 'marks no pixel as defect');
  if (mask && mask.greyPixels > greyAllowed * mask.values.length) {
    problem(sample.mask!, `is not a mask: ${((100 * mask.greyPixels) / mask.values.length).toFixed(0)}% of its pixels are neither black nor white`);
  }
  return { image, mask, problems };
}

/**
 * Reads every image and mask of a data set and says what is wrong with them (`readSample`).
 *
 * @param onSample called after each sample, for progress
 */
export async function checkSamples(samples: readonly Sample[], onSample: () => void = () => {}): Promise<DatasetProblem[]> {
  const problems: DatasetProblem[] = [];
  for (const sample of samples) {
    problems.push(...(await readSample(sample)).problems);
    onSample();
  }
  return problems;
}

/**
 * The pixel of the source under the centre of each target pixel. Pillow adds up the step instead of multiplying it, and
 * where a centre falls between two pixels that decides: 1024 to 518, as MVTec-AD's masks, has such centres.
 */
function nearestPixels(from: number, to: number): Uint32Array {
  const step = from / to;
  let at = step / 2;
  return Uint32Array.from({ length: to }, () => {
    const pixel = Math.min(from - 1, Math.floor(at));
    at += step;
    return pixel;
  });
}

/** A mask as a network input: nearest neighbour to a square, to the pixel as Pillow's NEAREST. @returns [size, size], 0 or 1 */
export function resizeMask({ width, height, values }: Pick<Mask, 'width' | 'height' | 'values'>, size: number): Float32Array {
  const columns = nearestPixels(width, size);
  const rows = nearestPixels(height, size);
  const result = new Float32Array(size * size);
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) result[y * size + x] = values[rows[y] * width + columns[x]];
  return result;
}
