import type { RgbImage } from '../data/image.ts';
import { Preprocessor } from '../data/preprocess.ts';
import { UserError } from '../errors.ts';
import { Gpu, type GpuOptions } from '../gpu/device.ts';
import { ClassTexts } from '../models/mfp/class_texts.ts';
import { type LoadedMfp, type MfpSource, loadMfp } from '../models/mfp/load.ts';
import { type MfpOutputs, mfpForward, mfpText } from '../models/mfp/mfp.ts';
import { imageNetNormalisation } from '../models/resnet/cnn.ts';
import { cast } from '../ops/cast.ts';
import { neighbourhoodPool } from '../ops/neighbourhood_pool.ts';
import { type KernelTime, Program, type Tensors, joinTimes } from '../tensor/program.ts';
import { type Tensor, emptyTensor, freeTensor, readTensor, writeTensor } from '../tensor/tensor.ts';
import { type VariantPolicy, configureVariants } from '../tensor/variants.ts';

/** What `loadModel` needs: the files of a model, and how to run it. */
export interface ModelOptions extends MfpSource, GpuOptions {
  /** How kernel variants are chosen; default: each op's fixed table. */
  readonly variants?: VariantPolicy;
  /** A device that is open already; it is then not closed with the model. */
  readonly gpu?: Gpu;
}

/** What the detector says of one image. */
export interface Detection {
  /** The largest value of the map (eq. 13), from 0 (normal) to 1. */
  readonly score: number;
  /** [size, size], row by row: the probability of "abnormal" at each pixel of the resized image. */
  readonly map: Float32Array;
  /** The map of the first pass, before mask prompting. */
  readonly coarseMap: Float32Array;
  /** Side of the maps in pixels. */
  readonly size: number;
}

/** What a batch gives on the device: maps [batch, size, size] and scores [batch]. */
export type BatchOutputs = Pick<MfpOutputs, 'map' | 'coarseMap' | 'score'>;

/** The tensors to write before a run. */
interface BatchInputs {
  readonly image: Tensor;
  readonly cnnImage: Tensor | undefined;
  readonly endOfText: Tensor;
}

/** A program for one batch size. */
interface BatchRunner<Outputs extends Tensors> extends BatchInputs {
  readonly program: Program<Outputs>;
}

/** The adapted features of an image, for looking at them. */
export interface AdaptedFeatures {
  /** Patches per side. */
  readonly grid: number;
  /** De. */
  readonly width: number;
  /** One for each averaged stage (`map.stages`), of the last pass. */
  readonly stages: readonly {
    /** Quarter of the image tower, from 1. */
    readonly stage: number;
    /** [grid × grid, width]: what the stage's adapter gives. */
    readonly before: Float32Array;
    /** The same after multi-patch feature aggregation. */
    readonly after: Float32Array;
  }[];
}

/** What it takes of a detector to evaluate it. */
export type MapSource = Pick<Detector, 'gpu' | 'loaded' | 'size' | 'run'>;

/** What goes when a detector is closed. */
export interface DetectorOwnership {
  readonly gpu: boolean;
  readonly model: boolean;
}

/** MFP-CLIP ready to look at photos. Made by `loadModel`. */
export class Detector {
  readonly gpu: Gpu;
  readonly loaded: LoadedMfp;
  readonly #owned: DetectorOwnership;
  readonly #preprocessor: Preprocessor;
  readonly #tokens: Tensor;
  /** Holds the class's text features for the programs that do not compute them. */
  readonly #textFeatures: Tensor;
  readonly #runners = new Map<number, BatchRunner<BatchOutputs>>();
  #featureRunner: BatchRunner<{ readonly before: readonly Tensor[]; readonly after: readonly Tensor[] }> | undefined;
  readonly #texts: ClassTexts;
  /** Ends with what was asked for last. */
  #last: Promise<unknown> = Promise.resolve();

  /** Use `loadModel`; or this for a model that is in other hands, such as one that is being trained. */
  constructor(gpu: Gpu, loaded: LoadedMfp, owned: DetectorOwnership) {
    this.gpu = gpu;
    this.loaded = loaded;
    this.#owned = owned;
    const { clip, cnn, model, imageSize, precision, sizes } = loaded;
    this.#preprocessor = new Preprocessor(gpu, [
      { size: imageSize, ...clip.normalisation },
      ...(cnn ? [{ size: model.config.cnn.size, ...imageNetNormalisation }] : []),
    ]);
    this.#texts = new ClassTexts(gpu, loaded);
    this.#tokens = emptyTensor(gpu, [2, sizes.context, sizes.textWidth], precision, 'token embeddings');
    this.#textFeatures = emptyTensor(gpu, [1, 2, sizes.jointWidth], precision, 'text features');
  }

  /** Side of the maps in pixels. */
  get size(): number {
    return this.loaded.imageSize;
  }

  /** Begins when all that was asked for before has ended: all batches go through the same tensors. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Looks for defects in photos of one class of object. Calls need not wait for each other; the device works on one after the other.
   *
   * @param images any number; they run as one batch, so device memory grows with them
   * @param className words for the object: "metal nut"
   * @returns one result per image, in order
   * @throws UserError when there are no words for the object
   */
  async detect(images: readonly RgbImage[], className: string): Promise<Detection[]> {
    if (!images.length) return [];
    return this.#inTurn(async () => this.#read(await this.#run(images, className), images.length));
  }

  async #read({ map, coarseMap, score }: BatchOutputs, count: number): Promise<Detection[]> {
    const [maps, coarseMaps, scores] = [await readTensor(this.gpu, map), await readTensor(this.gpu, coarseMap), await readTensor(this.gpu, score)];
    const area = this.size * this.size;
    return Array.from({ length: count }, (_, i) => ({
      score: scores[i],
      map: maps.slice(i * area, (i + 1) * area),
      coarseMap: coarseMaps.slice(i * area, (i + 1) * area),
      size: this.size,
    }));
  }

  /**
   * The same with the results left on the device: they keep their content until the next batch of this size, so that the caller must
   * have read them before asking for it.
   *
   * @param images at least one
   */
  async run(images: readonly RgbImage[], className: string): Promise<BatchOutputs> {
    return this.#inTurn(() => this.#run(images, className));
  }

  async #run(images: readonly RgbImage[], className: string): Promise<BatchOutputs> {
    const runner = await this.#runnerFor(images.length);
    await this.#load(runner, images, className);
    await runner.program.run();
    return runner.program.outputs;
  }

  /** Does what `detect` does with every kernel timed on the GPU's clock: resizing, then the model. @param images at least one */
  async time(images: readonly RgbImage[], className: string): Promise<KernelTime[]> {
    return this.#inTurn(async () => {
      const { program, ...inputs } = await this.#runnerFor(images.length);
      const batches = await this.#loadText(inputs, images.length, className);
      const parts: KernelTime[][] = [];
      for (const [i, photo] of images.entries()) parts.push(await this.#preprocessor.time(photo, batches, i));
      parts.push(await program.time());
      await this.#read(program.outputs, images.length);
      return joinTimes(parts);
    });
  }

  /** The memory plan and the dispatches of the program for so many images; it is recorded if it is not yet. */
  async plan(batch: number): Promise<Pick<Program<BatchOutputs>, 'memory' | 'dispatches'>> {
    return this.#inTurn(async () => (await this.#runnerFor(batch)).program);
  }

  /**
   * The patch features that the map is made from, before and after multi-patch feature aggregation. A model without it shows
   * what its neighbourhood would do (`mpfa.size`).
   *
   * @param className words for the object: "metal nut"
   */
  async features(image: RgbImage, className: string): Promise<AdaptedFeatures> {
    return this.#inTurn(() => this.#features(image, className));
  }

  async #features(image: RgbImage, className: string): Promise<AdaptedFeatures> {
    const { model, sizes } = this.loaded;
    const { grid } = model.image;
    const { map, mpfa } = model.config;
    this.#featureRunner ??= await this.#record(1, 'features', ({ adapted }) => ({
      before: adapted,
      after: adapted.map((features) => neighbourhoodPool(features, { rows: grid, columns: grid, size: mpfa.size })),
    }));
    const { program } = this.#featureRunner;
    await this.#load(this.#featureRunner, [image], className);
    await program.run();
    const stages = [];
    for (const [i, stage] of map.stages.entries()) {
      stages.push({ stage, before: await readTensor(this.gpu, program.outputs.before[i]), after: await readTensor(this.gpu, program.outputs.after[i]) });
    }
    return { grid, width: sizes.jointWidth, stages };
  }

  /** Writes a batch into the tensors of a runner. */
  async #load(inputs: BatchInputs, images: readonly RgbImage[], className: string): Promise<void> {
    const batches = await this.#loadText(inputs, images.length, className);
    for (const [i, photo] of images.entries()) await this.#preprocessor.load(photo, batches, i);
  }

  /** Writes what depends on the class. @returns the tensors that the photos go into */
  async #loadText({ image, cnnImage, endOfText }: BatchInputs, count: number, className: string): Promise<Tensor[]> {
    if (!className.trim()) throw new UserError('the class of the object has no words; say what it is, for example "metal nut"');
    const text = await this.#texts.of(className);
    writeTensor(this.gpu, this.#tokens, text.embeddings);
    if (text.features) writeTensor(this.gpu, this.#textFeatures, text.features);
    writeTensor(this.gpu, endOfText, Array.from({ length: count }, () => text.endOfText).flat());
    return [image, ...(cnnImage ? [cnnImage] : [])];
  }

  async #runnerFor(batch: number): Promise<BatchRunner<BatchOutputs>> {
    let runner = this.#runners.get(batch);
    if (!runner) {
      runner = await this.#record(batch, 'detect', ({ map, coarseMap, score }) => ({ map, coarseMap, score }));
      this.#runners.set(batch, runner);
    }
    return runner;
  }

  /** @param pick what of the model's outputs is to be read after a run */
  async #record<Outputs extends Tensors>(batch: number, what: string, pick: (outputs: MfpOutputs) => Outputs): Promise<BatchRunner<Outputs>> {
    const { cnn, precision, imageSize } = this.loaded;
    const cnnSize = this.loaded.model.config.cnn.size;
    const image = emptyTensor(this.gpu, [batch, 3, imageSize, imageSize], 'f32', 'images');
    const cnnImage = cnn && emptyTensor(this.gpu, [batch, 3, cnnSize, cnnSize], 'f32', 'CNN images');
    const endOfText = emptyTensor(this.gpu, [2 * batch], 'u32', 'end of text');
    const program = await Program.record(
      this.gpu,
      () => {
        const features = cnn && cnn.features(cast(cnnImage!, precision));
        // Training keeps its parameters in f32, whatever the rest is in.
        const model = { ...this.loaded.model, parameters: new Map([...this.loaded.model.parameters].map(([name, parameter]) => [name, cast(parameter, precision)])) };
        const text = model.config.i2tp.enabled ? mfpText(model, this.#tokens, endOfText, features) : this.#textFeatures;
        return pick(mfpForward(model, cast(image, precision), features, text));
      },
      { label: `${what}, batch ${batch}` },
    );
    return { image, cnnImage, endOfText, program };
  }

  /** Frees everything; the process can then end. What was asked for must have ended. */
  close(): void {
    this.#preprocessor.destroy();
    for (const { image, cnnImage, endOfText, program } of [...this.#runners.values(), ...(this.#featureRunner ? [this.#featureRunner] : [])]) {
      program.destroy();
      for (const unused of [image, cnnImage, endOfText]) if (unused) freeTensor(this.gpu, unused);
    }
    freeTensor(this.gpu, this.#tokens);
    freeTensor(this.gpu, this.#textFeatures);
    if (this.#owned.model) this.loaded.destroy();
    if (this.#owned.gpu) this.gpu.close();
  }
}

/** What to say of a map that has NaN or infinities. @param image what it is of */
export function notNumbers(image: string, precision: 'f32' | 'f16'): UserError {
  return new UserError(`the map of ${image} has values that are not numbers. ${precision === 'f16' ? 'Use --precision f32.' : 'Are the weights of the model damaged?'}`);
}

/**
 * Loads MFP-CLIP for detection.
 *
 * @example
 * const detector = await loadModel({ clip: 'clip-vit-large-patch14', cnn: 'resnet50.safetensors', mfp: 'mfp.safetensors' });
 * const [{ score, map }] = await detector.detect([await readImage('photo.png')], 'metal nut');
 * detector.close();
 *
 * @throws UserError naming the file, tensor, option or adapter that is wrong or missing, and what to do
 */
export async function loadModel(options: ModelOptions): Promise<Detector> {
  const gpu = options.gpu ?? (await Gpu.open(options));
  try {
    if (options.variants) configureVariants(gpu, options.variants);
    return new Detector(gpu, await loadMfp(gpu, options), { gpu: !options.gpu, model: true });
  } catch (error) {
    if (!options.gpu) gpu.close();
    throw error;
  }
}
