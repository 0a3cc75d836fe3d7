import type { Gpu } from '../gpu/device.ts';
import { imageResize, resizeTables } from '../ops/image_resize.ts';
import { type KernelTime, Program } from '../tensor/program.ts';
import { scope } from '../tensor/recording.ts';
import { type Tensor, copyTensor, emptyTensor, freeTensor, writeTensor } from '../tensor/tensor.ts';
import type { RgbImage } from './image.ts';

/** Constants that a network's inputs are normalised with, per channel, for values from 0 to 1. */
export interface ImageNormalisation {
  readonly mean: readonly [number, number, number];
  readonly std: readonly [number, number, number];
}

/** A square image that a network wants. */
export interface ImageTarget extends ImageNormalisation {
  /** Side in pixels. */
  readonly size: number;
}

/** Programs for one size of photo. */
interface SizeProgram {
  readonly pixels: Tensor;
  readonly tables: readonly Tensor[];
  readonly program: Program<readonly Tensor[]>;
}

/** So many sizes of photo keep their program: data sets have one or a few, folders of snapshots may have many. */
const keptSizes = 8;

/**
 * Turns photos into network inputs on the GPU: resized to a square (Pillow's bicubic with antialiasing, as the reference
 * implementations do, without cropping, so that every pixel of the photo is looked at) and normalised.
 */
export class Preprocessor {
  readonly #gpu: Gpu;
  readonly #targets: readonly ImageTarget[];
  readonly #sizes = new Map<string, SizeProgram>();

  constructor(gpu: Gpu, targets: readonly ImageTarget[]) {
    this.#gpu = gpu;
    this.#targets = targets;
  }

  /**
   * Writes one photo into its place in each target's batch.
   *
   * @param batches per target f32 [batch, 3, size, size]
   * @param index place in the batch
   */
  async load(image: RgbImage, batches: readonly Tensor[], index: number): Promise<void> {
    const program = await this.#prepare(image);
    await program.run();
    this.#copy(program, batches, index);
  }

  /** The same with every kernel timed on the GPU's clock. */
  async time(image: RgbImage, batches: readonly Tensor[], index: number): Promise<KernelTime[]> {
    const program = await this.#prepare(image);
    const times = await program.time();
    this.#copy(program, batches, index);
    return times;
  }

  async #prepare(image: RgbImage): Promise<Program<readonly Tensor[]>> {
    const { pixels, program } = await this.#programFor(image.width, image.height);
    writeTensor(this.#gpu, pixels, image.pixels);
    return program;
  }

  #copy(program: Program<readonly Tensor[]>, batches: readonly Tensor[], index: number): void {
    program.outputs.forEach((output, i) => copyTensor(this.#gpu, output, batches[i], index * output.size));
  }

  async #programFor(width: number, height: number): Promise<SizeProgram> {
    const key = `${width}x${height}`;
    let found = this.#sizes.get(key);
    // The most recently used size goes to the end; the first one is the next to be dropped.
    if (found) this.#sizes.delete(key);
    else {
      if (this.#sizes.size >= keptSizes) {
        const [oldest, unused] = this.#sizes.entries().next().value!;
        this.#sizes.delete(oldest);
        this.#free(unused);
      }
      const pixels = emptyTensor(this.#gpu, [height, width, 3], 'u8', `photo ${key}`);
      const tables = this.#targets.map(({ size }) => resizeTables(this.#gpu, { width, height }, { width: size, height: size }));
      const program = await Program.record(
        this.#gpu,
        () => scope('resize', () => this.#targets.map(({ mean, std }, i) => imageResize(pixels, tables[i], { mean, std, dtype: 'f32' }))),
        { label: `resize of ${key} photos` },
      );
      found = { pixels, tables: tables.flatMap((table) => Object.values(table).filter((value): value is Tensor => typeof value === 'object')), program };
    }
    this.#sizes.set(key, found);
    return found;
  }

  #free({ pixels, tables, program }: SizeProgram): void {
    program.destroy();
    for (const unused of [pixels, ...tables]) freeTensor(this.#gpu, unused);
  }

  /** Frees the device memory. */
  destroy(): void {
    for (const unused of this.#sizes.values()) this.#free(unused);
    this.#sizes.clear();
  }
}
