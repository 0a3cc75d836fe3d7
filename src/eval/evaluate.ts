import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Dataset, type Sample, classWords, readSample, resizeMask } from '../data/dataset.ts';
import type { RgbImage } from '../data/image.ts';
import { PhotoError } from '../data/preprocess.ts';
import { UserError } from '../errors.ts';
import { writeNpy } from '../io/npy.ts';
import { decode, dtypeBytes } from '../tensor/dtype.ts';
import { type Tensor, bufferOf, readTensor } from '../tensor/tensor.ts';
import { type MapSource, notNumbers } from './detector.ts';
import { pixelRecord } from './exact_pixels.ts';
import { type EvaluationIdentity, type ModelFiles, dataIdentity, identityDifferences, modelIdentity, pathInside, softwareVersion } from './identity.ts';
import { ImagePixels, PixelCounter } from './pixel_counts.ts';
import { rankingMetrics } from './ranking.ts';
import { type RegionAreas, regionAreas } from './regions.ts';
import { type EvaluationResults, resultsOf } from './results.ts';
import { EvaluationState, type ImageRecord, type Shard, inShard, wholeShard } from './state.ts';

/** How to evaluate. */
export interface EvaluationOptions {
  /** Images that run together. The last ones of a class share their batch with copies, so that every image runs in a batch of this size. */
  readonly batch?: number;
  /** Keep all pixels and sort them, instead of counting them in 65536 bins. */
  readonly exact?: boolean;
  /** AUROC of each abnormal image's own pixels, for reports; costs reading its map back. Default: true. */
  readonly imageAurocs?: boolean;
  /** Called after each image. */
  onImage?(image: ImageRecord): void;
}

/** How to evaluate a part of a data set, with a state that survives. */
export interface ShardOptions extends EvaluationOptions {
  readonly shard?: Shard;
  /** The hashes of the model's files (`modelFiles`), for the state to be told apart from others. */
  readonly files?: ModelFiles;
  /** State file, ending in ".safetensors"; what it holds already is not evaluated again. Undefined: in memory alone. */
  readonly state?: string;
  /** Seconds between writes of the state. */
  readonly saveSeconds?: number;
  /** Folder for the maps as NumPy arrays: CLASS/DEFECT/NAME.npy, one for each image. */
  readonly maps?: string;
  /** Finishes the batch under way, writes the state and returns when it is aborted. */
  readonly signal?: AbortSignal;
  /** Called before the first image, with the number of images of this part and how many of them are done. */
  onStart?(start: { readonly total: number; readonly done: number }): void;
}

/** Where the time of an evaluation went, in seconds. */
export interface EvaluationTimes {
  /** From the first image to the last. */
  readonly total: number;
  /** Reading and decoding images and masks, and labelling regions. */
  readonly reading: number;
  /** Metrics of single images, and what exact ones keep. */
  readonly pixels: number;
  /** Images that were evaluated: not those that an earlier run had done. */
  readonly images: number;
}

/** A sample ready for the device. */
interface LoadedSample {
  readonly sample: Sample;
  /** Its place in the data set. */
  readonly index: number;
  readonly image: RgbImage;
  /** Undefined for a normal image. */
  readonly defects: RegionAreas | undefined;
}

async function loadSample(sample: Sample, index: number, size: number): Promise<LoadedSample> {
  const { image, mask, problems } = await readSample(sample);
  if (problems.length) throw new UserError(`${problems.map(({ where, what }) => `${where}: ${what}`).join('\n')}\nWhat is done is kept for this data set as it was. With other pictures it is another one, whose evaluation begins again: repair everything at once that \`mfp-clip check\` finds, and delete the state.`);
  return { sample, index, image: image!, defects: mask && regionAreas(resizeMask(mask, size), size, size) };
}

/** The path of an image's map below the folder of maps. */
export function mapPath(folder: string, { class: className, defect, file }: Pick<ImageRecord, 'class' | 'defect' | 'file'>): string {
  const name = file.slice(file.lastIndexOf('/') + 1);
  return join(folder, className, defect, `${name.replace(/\.[^.]*$/, '')}.npy`);
}

/** @throws UserError when two images would have one map, or when images are done whose maps are not there */
function checkMaps(folder: string, { root, samples }: Dataset, state: EvaluationState): void {
  const owners = new Map<string, string>();
  for (const { class: className, defect, image } of samples) {
    const map = mapPath(folder, { class: className, defect, file: pathInside(root, image) });
    const other = owners.get(map);
    if (other !== undefined) throw new UserError(`--maps: the maps of ${other} and of ${image} would both be ${map}. Rename one of the two.`);
    owners.set(map, image);
  }
  const without = state.images.filter((image) => !existsSync(mapPath(folder, image))).length;
  if (without) throw new UserError(`--maps: ${without} images that are done have no map in ${folder}. Choose another --out, or delete ${state.file} to begin again.`);
}

/** One map of a batch, read back. */
async function readMap(detector: MapSource, maps: Tensor, place: number): Promise<Float32Array> {
  const bytes = detector.size * detector.size * dtypeBytes.f32;
  return decode(await detector.gpu.read(bufferOf(maps), maps.offset * dtypeBytes.f32 + place * bytes, bytes), 'f32');
}

/** Evaluates the images of a shard; the place where the pieces meet. */
class Evaluator {
  readonly #detector: MapSource;
  readonly #dataset: Dataset;
  readonly #options: ShardOptions;
  readonly #state: EvaluationState;
  readonly #counter: PixelCounter | undefined;
  readonly #imagePixels = new ImagePixels();
  /** Images whose pixels are counted on the device alone. */
  readonly #pending: ImageRecord[] = [];
  #lastWrite = performance.now();
  #reading = 0;
  #pixels = 0;

  constructor(detector: MapSource, dataset: Dataset, options: ShardOptions, state: EvaluationState, counter: PixelCounter | undefined) {
    this.#detector = detector;
    this.#dataset = dataset;
    this.#options = options;
    this.#state = state;
    this.#counter = counter;
  }

  /** Seconds spent on reading, and on the pixels of single images. */
  get times(): Pick<EvaluationTimes, 'reading' | 'pixels'> {
    return { reading: this.#reading, pixels: this.#pixels };
  }

  async run(batch: number): Promise<void> {
    const done = new Set(this.#state.images.map(({ index }) => index));
    const left = this.#dataset.samples.map((sample, index) => ({ sample, index })).filter(({ index }) => inShard(this.#state.shard, index) && !done.has(index));
    for (const className of this.#dataset.classes) {
      const own = left.filter(({ sample }) => sample.class === className);
      const batches = Array.from({ length: Math.ceil(own.length / batch) }, (_, i) => own.slice(i * batch, (i + 1) * batch));
      if (batches.length) await this.#runClass(className, batches, batch);
      if (this.#options.signal?.aborted) return;
    }
  }

  async #runClass(className: string, batches: readonly (readonly { sample: Sample; index: number }[])[], batch: number): Promise<void> {
    if (!this.#state.regions.has(className)) this.#state.regions.set(className, 0);
    if (this.#counter) this.#state.countsOf(className);
    const words = classWords(className);
    // The next batch is read while the device works on this one.
    const load = (at: number): Promise<readonly LoadedSample[] | Error> => this.#load(batches[at] ?? []).catch((error: Error) => error);
    let next = load(0);
    for (let at = 0; at < batches.length && !this.#options.signal?.aborted; at++) {
      const loaded = await next;
      if (loaded instanceof Error) {
        await this.#collect(className);
        throw loaded;
      }
      const images = Array.from({ length: batch }, (_, i) => loaded[Math.min(i, loaded.length - 1)].image);
      const { map, score } = await this.#detector.run(images, words).catch((error: unknown) => {
        throw error instanceof PhotoError ? error.of(loaded.find(({ image }) => image === error.image)!.sample.image) : error;
      });
      if (this.#counter?.full) await this.#collect(className);
      await this.#counter?.count(map, loaded.map(({ defects }) => defects));
      next = load(at + 1);
      const scores = await readTensor(this.#detector.gpu, score);
      for (const [i, sample] of loaded.entries()) await this.#record(sample, scores[i], map, i);
      if (performance.now() - this.#lastWrite > 1000 * (this.#options.saveSeconds ?? 60)) await this.#collect(className);
    }
    await next;
    await this.#collect(className);
  }

  async #load(samples: readonly { sample: Sample; index: number }[]): Promise<LoadedSample[]> {
    const start = performance.now();
    const loaded: LoadedSample[] = [];
    for (const { sample, index } of samples) loaded.push(await loadSample(sample, index, this.#detector.size));
    this.#reading += (performance.now() - start) / 1000;
    return loaded;
  }

  /** Notes an image, with what has to be known of its map alone. */
  async #record({ sample, index, defects }: LoadedSample, score: number, maps: Tensor, place: number): Promise<void> {
    const { maps: folder, imageAurocs = true } = this.#options;
    const { records } = this.#state;
    const file = pathInside(this.#dataset.root, sample.image);
    if (!Number.isFinite(score)) throw notNumbers(sample.image, this.#detector.loaded.precision);
    const map = records || folder !== undefined || (imageAurocs && defects?.regions) ? await readMap(this.#detector, maps, place) : undefined;
    const start = performance.now();
    let pixelAuroc: number | null = null;
    if (map && imageAurocs && defects?.regions) pixelAuroc = rankingMetrics(this.#imagePixels.ranking(map, defects.areas))?.auroc ?? null;
    let record: ImageRecord = { index, class: sample.class, file, mask: sample.mask === undefined ? null : pathInside(this.#dataset.root, sample.mask), label: sample.label, defect: sample.defect, score, pixelAuroc };
    if (records) {
      const pixels = pixelRecord(map!, defects?.areas);
      if (!pixels) throw notNumbers(sample.image, this.#detector.loaded.precision);
      record = { ...record, pixels: await records.append(pixels) };
    }
    if (folder !== undefined) await writeNpy(mapPath(folder, record), map!, [this.#detector.size, this.#detector.size]);
    this.#pixels += (performance.now() - start) / 1000;
    this.#state.regions.set(sample.class, this.#state.regions.get(sample.class)! + (defects?.regions ?? 0));
    this.#pending.push(record);
    this.#options.onImage?.(record);
  }

  /** Moves what the device counted into the state, and writes that. */
  async #collect(className: string): Promise<void> {
    const invalid = this.#counter ? await this.#counter.drain(this.#state.countsOf(className)) : 0;
    if (invalid) {
      throw new UserError(`${invalid} pixels of the maps of ${this.#pending[0].file} to ${this.#pending.at(-1)!.file} are not numbers. ${this.#detector.loaded.precision === 'f16' ? 'Use --precision f32.' : 'Are the weights of the model damaged?'}`);
    }
    if (!this.#pending.length) return;
    this.#state.images.push(...this.#pending.splice(0));
    await this.#state.write();
    this.#lastWrite = performance.now();
  }
}

/** The state to go on from: that of the file, or a new one. */
async function openState(identity: EvaluationIdentity, shard: Shard, file: string | undefined): Promise<EvaluationState> {
  if (file === undefined || !existsSync(file)) return EvaluationState.create(identity, shard, file);
  const state = await EvaluationState.read(file, { goOn: true });
  const differences = identityDifferences(state.identity, identity);
  if (state.shard.index !== shard.index || state.shard.count !== shard.count) differences.push(`shard ${state.shard.index}/${state.shard.count}`);
  if (!differences.length) return state;
  await state.close();
  throw new UserError(`${file} is the state of another evaluation: ${differences.join(', ')}. Choose another --out, or delete that file to begin again.`);
}

/**
 * Evaluates a part of a data set, and keeps its state in a file: a run that was interrupted or killed goes on from the last
 * state when it is called again, and the results have the same bits as those of a run that never stopped.
 *
 * @param dataset without problems
 * @returns the state, complete unless `signal` was aborted; to be closed by the caller
 * @throws UserError naming the image that cannot be used, the state file that belongs to another evaluation, or what
 *   cannot be written
 */
export async function evaluateShard(detector: MapSource, dataset: Dataset, options: ShardOptions = {}): Promise<{ readonly state: EvaluationState; readonly times: EvaluationTimes }> {
  const { batch = 1, exact = false, shard = wholeShard, state: file } = options;
  const identity = { software: softwareVersion, data: dataIdentity(dataset), model: modelIdentity(detector.loaded, options.files ?? null), exact };
  const state = await openState(identity, shard, file);
  let counter: PixelCounter | undefined;
  try {
    if (options.maps !== undefined) checkMaps(options.maps, dataset, state);
    options.onStart?.({ total: state.total, done: state.images.length });
    const before = state.images.length;
    const start = performance.now();
    if (state.images.length < state.total && !exact) counter = await PixelCounter.create(detector.gpu, [batch, detector.size, detector.size]);
    const evaluator = new Evaluator(detector, dataset, options, state, counter);
    await evaluator.run(batch);
    if (state.images.length === 0) await state.write();
    return { state, times: { total: (performance.now() - start) / 1000, ...evaluator.times, images: state.images.length - before } };
  } catch (error) {
    await state.close();
    throw error;
  } finally {
    counter?.destroy();
  }
}

/**
 * Evaluates a model on a data set, in memory: for validation while training, and for programs.
 *
 * @throws UserError naming the image that cannot be used
 */
export async function evaluateModel(detector: MapSource, dataset: Dataset, options: EvaluationOptions = {}): Promise<EvaluationResults> {
  const { state } = await evaluateShard(detector, dataset, options);
  try {
    return await resultsOf([state]);
  } finally {
    await state.close();
  }
}
