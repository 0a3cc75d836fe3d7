import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import type { Dataset, Sample } from '../data/dataset.ts';
import { UserError } from '../errors.ts';
import { openCheckpoint } from '../io/safetensors.ts';
import type { MfpConfig } from '../models/mfp/config.ts';
import type { LoadedMfp, MfpSource } from '../models/mfp/load.ts';

/** Hashes of the files of a model: 16 hexadecimal digits each. */
export interface ModelFiles {
  readonly clip: string;
  /** Null without a CNN. */
  readonly cnn: string | null;
  /** Null without trained tensors. */
  readonly mfp: string | null;
}

/** What made the maps. */
export interface ModelIdentity {
  /** Null where the model did not come from files that are known. */
  readonly files: ModelFiles | null;
  /** Side of the maps in pixels. */
  readonly size: number;
  readonly precision: 'f32' | 'f16';
  readonly config: MfpConfig;
}

/** What was evaluated. */
export interface DataIdentity {
  readonly layout: 'MVTec' | 'VisA';
  /** Number of images. */
  readonly images: number;
  /** Hash of the images' and masks' paths in the data set, their sizes in bytes, and their labels. */
  readonly fingerprint: string;
}

/** Everything that must be the same in two evaluations whose figures are put together. */
export interface EvaluationIdentity {
  /** Version of this program. */
  readonly software: string;
  readonly data: DataIdentity;
  readonly model: ModelIdentity;
  /** Whether all pixels are kept for exact metrics. */
  readonly exact: boolean;
}

const digits = 16;

/** Version of this program. */
export const softwareVersion = (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;

/** A file's path inside the data set, with "/" on every system. */
export function pathInside(root: string, file: string): string {
  return relative(root, file).split(sep).join('/');
}

/** Tells data sets apart by what they list; the pictures themselves are told apart by their size in bytes alone. */
export function dataIdentity({ root, layout, samples }: Pick<Dataset, 'root' | 'layout' | 'samples'>): DataIdentity {
  const hash = createHash('sha256');
  const part = (file: string | undefined): string => (file === undefined ? '' : `${pathInside(root, file)}\0${statSync(file).size}`);
  for (const { image, mask, label, class: className, defect } of samples as readonly Sample[]) hash.update(`${[part(image), part(mask), label, className, defect].join('\0')}\n`);
  return { layout, images: samples.length, fingerprint: hash.digest('hex').slice(0, digits) };
}

/** Files beside a CLIP checkpoint that decide what it computes. */
const clipCompanions = ['config.json', 'preprocessor_config.json', 'tokenizer.json', 'vocab.json', 'merges.txt', 'bpe_simple_vocab_16e6.txt.gz'];

async function hashFiles(files: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) {
    try {
      for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
    } catch (error) {
      throw new UserError(`cannot read ${file}: ${(error as Error).message}`);
    }
  }
  return hash.digest('hex').slice(0, digits);
}

async function hashCheckpoint(path: string, companions: readonly string[]): Promise<string> {
  const checkpoint = await openCheckpoint(path);
  const files = new Set([...checkpoint.tensors.values()].map(({ file }) => file));
  await checkpoint.close();
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  for (const name of companions) if (existsSync(join(folder, name))) files.add(join(folder, name));
  return hashFiles([...files].sort((a, b) => (basename(a) < basename(b) ? -1 : 1)));
}

/** Hashes the files of a model whole: a gigabyte of CLIP takes a second or two. @throws UserError when one cannot be read */
export async function modelFiles({ clip, cnn, mfp }: Pick<MfpSource, 'clip' | 'cnn' | 'mfp'>): Promise<ModelFiles> {
  return {
    clip: await hashCheckpoint(clip, clipCompanions),
    cnn: cnn === undefined ? null : await hashCheckpoint(cnn, []),
    mfp: mfp === undefined ? null : await hashFiles([mfp]),
  };
}

/** Hashes of what a training run may only go on with, by what a person calls it. */
export type TrainingIdentity = Readonly<Record<string, string | null>>;

/** @throws UserError when a model's file cannot be read */
export async function trainingIdentity(dataset: Pick<Dataset, 'root' | 'layout' | 'samples'>, models: Pick<MfpSource, 'clip' | 'cnn'>): Promise<TrainingIdentity> {
  const { clip, cnn } = await modelFiles(models);
  return { 'data set': dataIdentity(dataset).fingerprint, 'CLIP (--clip)': clip, 'CNN (--cnn)': cnn };
}

/** @param files of `modelFiles`, where they are known */
export function modelIdentity({ model, imageSize, precision }: LoadedMfp, files: ModelFiles | null): ModelIdentity {
  return { files, size: imageSize, precision, config: model.config };
}

/** In what two evaluations differ, in words: "another CLIP". */
export function identityDifferences(a: EvaluationIdentity, b: EvaluationIdentity): string[] {
  const same = (x: unknown, y: unknown): boolean => JSON.stringify(x) === JSON.stringify(y);
  const differences: string[] = [];
  const compare = (what: string, x: unknown, y: unknown): void => void (same(x, y) || differences.push(what));
  compare(`another version of mfp-clip (${a.software} and ${b.software})`, a.software, b.software);
  compare('another data set, or other classes of it', a.data, b.data);
  compare('another CLIP (--clip)', a.model.files?.clip, b.model.files?.clip);
  compare('another CNN (--cnn)', a.model.files?.cnn, b.model.files?.cnn);
  compare('another trained model (--mfp)', a.model.files?.mfp, b.model.files?.mfp);
  compare(`another image size (--size ${a.model.size} and ${b.model.size})`, a.model.size, b.model.size);
  compare(`another --precision (${a.model.precision} and ${b.model.precision})`, a.model.precision, b.model.precision);
  compare('only one of them with --exact', a.exact, b.exact);
  if (!differences.length) compare('another configuration of the model', a.model.config, b.model.config);
  return differences;
}
