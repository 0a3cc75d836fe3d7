// Writes the data set as folders and files in MVTec-AD's layout, with a manifest of what it is and how it was made.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../../src/errors.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { encodePng } from '../../src/io/picture.ts';
import type { DefectKind } from './category.ts';
import { maskPicture } from './mask.ts';
import { renderPool } from './pool.ts';
import { deriveSeed } from './render/numbers.ts';
import { categoryOf, renderSample } from './sample.ts';

/** Changes whenever the same seed would give another picture. */
export const generatorVersion = 2;

/** With fewer images than this, starting processes takes longer than they save. */
const worthProcesses = 48;

export const manifestName = 'manifest.json';

/** What to write. */
export interface DatasetPlan {
  /** Folder of the data set. */
  readonly out: string;
  /** Names of categories. */
  readonly categories: readonly string[];
  /** Only these defects; default: every one that a category has. A category with none of them gets only good images. */
  readonly defects?: readonly DefectKind[];
  /** Images in `train/good` of each category. */
  readonly trainPerCategory: number;
  /** Images in `test/good` of each category. */
  readonly testGood: number;
  /** Images of each defect of each category. */
  readonly testPerDefect: number;
  /** Pixels per side. */
  readonly size: number;
  readonly seed: number;
  /** Samples per pixel and axis; default 2, and 1 is a quarter of the work with rougher edges. */
  readonly over?: number;
  /** Processes that render; default: one per core. */
  readonly processes?: number;
  /** Called after each image, with its path inside the data set. */
  readonly onImage?: (path: string) => void;
}

/** One image of a data set that was written. */
export interface ManifestImage {
  /** Inside the data set, with forward slashes. */
  readonly path: string;
  readonly category: string;
  readonly defect: DefectKind | 'good';
  /** Seed of this image. */
  readonly seed: number;
  /** Empty until the image is written, as are the hashes. */
  readonly caption: string;
  readonly sha256: string;
  readonly maskSha256?: string;
}

export interface Manifest {
  readonly generator: 'mfp-clip tools/dataset';
  readonly version: number;
  readonly size: number;
  readonly over: number;
  readonly seed: number;
  readonly images: readonly ManifestImage[];
}

/** What a run of `writeDataset` did. */
export interface WriteResult {
  readonly manifest: Manifest;
  /** Images rendered by this run; the others were there already. */
  readonly rendered: number;
}

/** One image that belongs in the data set. */
interface Planned {
  readonly path: string;
  readonly mask: string | undefined;
  readonly category: string;
  readonly defect: DefectKind | 'good';
  readonly seed: number;
}

/** Where an image's mask lies in MVTec's layout. */
function maskPath(category: string, defect: string, name: string): string {
  return `${category}/ground_truth/${defect}/${name}_mask.png`;
}

/** All images of a data set, without rendering any. */
function planImages({ categories, defects, trainPerCategory, testGood, testPerDefect, seed }: DatasetPlan): Planned[] {
  const planned: Planned[] = [];
  for (const category of categories) {
    const add = (split: 'train' | 'test', defect: DefectKind | 'good', count: number): void => {
      for (let k = 0; k < count; k++) {
        const name = String(k).padStart(3, '0');
        planned.push({
          path: `${category}/${split}/${defect}/${name}.png`,
          mask: defect === 'good' ? undefined : maskPath(category, defect, name),
          category,
          defect,
          seed: deriveSeed(seed, category, split, defect, k),
        });
      }
    };
    add('train', 'good', trainPerCategory);
    add('test', 'good', testGood);
    for (const defect of categoryOf(category).defects) if (!defects || defects.includes(defect)) add('test', defect, testPerDefect);
  }
  return planned;
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function fileMatches(file: string, sha256: string): boolean {
  return sha256 !== '' && existsSync(file) && hashOf(readFileSync(file)) === sha256;
}

/** The manifest of an earlier run, if the folder holds one. */
function readManifest(out: string): Manifest | undefined {
  const status = statSync(out, { throwIfNoEntry: false });
  if (!status) return undefined;
  if (!status.isDirectory()) throw new UserError(`${out} is a file; name a folder for the data set`);
  const file = join(out, manifestName);
  if (!existsSync(file)) {
    if (readdirSync(out).some((name) => !name.startsWith('.'))) throw new UserError(`${out} is not empty and was not written by this generator (it has no ${manifestName}); name another folder`);
    return undefined;
  }
  try {
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as Manifest;
    if (manifest.generator !== 'mfp-clip tools/dataset' || !Array.isArray(manifest.images)) throw new Error('it is the manifest of something else');
    return manifest;
  } catch (error) {
    throw new UserError(`${file} cannot be read: ${(error as Error).message}. Delete the folder, or name another.`);
  }
}

/**
 * Writes a data set: `CLASS/train/good`, `CLASS/test/good`, `CLASS/test/DEFECT`, `CLASS/ground_truth/DEFECT` and a
 * manifest with captions and hashes. The same plan gives the same bytes.
 *
 * Files appear whole or not at all. A run that was stopped, or one with a larger plan, goes on where the files end: an
 * image is skipped when the manifest knows it and its bytes are still those. Images of an earlier plan in the same folder
 * that this one does not have are deleted.
 *
 * @throws UserError for an unknown category, a folder with other content, or files that cannot be written
 */
export async function writeDataset(plan: DatasetPlan): Promise<WriteResult> {
  const { out, size, seed, over = 2, processes = availableParallelism(), onImage } = plan;
  const planned = planImages(plan);
  const earlier = readManifest(out);
  const same = earlier !== undefined && earlier.version === generatorVersion && earlier.size === size && earlier.over === over && earlier.seed === seed;
  const known = new Map((same ? earlier.images : []).map((image) => [image.path, image]));
  const wanted = new Set(planned.map(({ path }) => path));
  for (const { path, category, defect } of earlier?.images ?? []) {
    if (wanted.has(path)) continue;
    rmSync(join(out, path), { force: true });
    if (defect !== 'good') rmSync(join(out, maskPath(category, defect, path.split('/').at(-1)!.replace('.png', ''))), { force: true });
  }
  const images = planned.map(({ path, category, defect, seed: own }): ManifestImage => known.get(path) ?? { path, category, defect, seed: own, caption: '', sha256: '' });
  const manifest = (): Manifest => ({ generator: 'mfp-clip tools/dataset', version: generatorVersion, size, over, seed, images });
  const save = (): Promise<void> => writeFileAtomic(join(out, manifestName), `${JSON.stringify(manifest(), undefined, 1)}\n`);
  // Before anything else, so that the folder is known to be ours.
  mkdirSync(out, { recursive: true });
  await save();
  const due = planned.map(({ path, mask }, index) => {
    const { sha256, maskSha256 = '' } = images[index];
    return !fileMatches(join(out, path), sha256) || (mask !== undefined && !fileMatches(join(out, mask), maskSha256));
  });
  const rendered = due.filter((is) => is).length;
  const pool = rendered >= worthProcesses && processes > 1 ? renderPool(processes) : undefined;
  /** Writes one image that is due, and its mask. */
  const write = async (index: number): Promise<void> => {
    const { path, mask, category, defect, seed: own } = planned[index];
    if (due[index]) {
      const options = { category, defect, seed: own, size, over };
      const sample = pool ? await pool.run(options) : renderSample(options);
      const picture = encodePng({ width: size, height: size, pixels: sample.image });
      let maskSha256: string | undefined;
      if (mask) {
        const bytes = encodePng(maskPicture(sample.mask, size));
        maskSha256 = hashOf(bytes);
        // The mask first: an image without one would look like a mistake in the data set.
        await writeFileAtomic(join(out, mask), bytes);
      }
      await writeFileAtomic(join(out, path), picture);
      images[index] = { path, category, defect, seed: own, caption: sample.caption, sha256: hashOf(picture), ...(maskSha256 && { maskSha256 }) };
    }
    onImage?.(path);
  };
  try {
    // A category at a time: what a stopped run has written is known up to the last whole one.
    for (let first = 0, end = 0; first < planned.length; first = end) {
      while (end < planned.length && planned[end].category === planned[first].category) end++;
      if (pool) {
        const group = Array.from({ length: end - first }, (_, k) => write(first + k));
        // All of them end before an error leaves here, so that nothing is written afterwards.
        const failed = (await Promise.allSettled(group)).find((result) => result.status === 'rejected');
        if (failed) throw failed.reason;
      } else for (let index = first; index < end; index++) await write(index);
      if (due.slice(first, end).includes(true)) await save();
    }
  } finally {
    pool?.close();
  }
  removeEmptyFolders(out, earlier?.images ?? []);
  return { manifest: manifest(), rendered };
}

/** Folders of an earlier plan that nothing is left in: a data set must not show classes or defects without images. */
function removeEmptyFolders(out: string, images: readonly ManifestImage[]): void {
  const folders = new Set(images.flatMap(({ category, defect, path }) => [join(out, path, '..'), join(out, category, 'ground_truth', defect), join(out, category, 'ground_truth'), join(out, category, 'train'), join(out, category, 'test'), join(out, category)]));
  for (const folder of [...folders].sort((a, b) => b.length - a.length)) {
    if (existsSync(folder) && readdirSync(folder).length === 0) rmSync(folder, { recursive: true });
  }
}
