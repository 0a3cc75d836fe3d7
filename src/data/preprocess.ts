import { UserError } from '../errors.ts';
import type { Gpu } from '../gpu/device.ts';
import { checkResize, emptyBands, imageResize, resizeTables } from '../ops/image_resize.ts';
import { type KernelTime, Program } from '../tensor/program.ts';
import { scope } from '../tensor/recording.ts';
import { type Tensor, copyTensor, freeTensor, writeTensor } from '../tensor/tensor.ts';
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

/** What one photo cannot be made a network's input for: its size, or the memory that it takes. Other photos may do. */
export class PhotoError extends UserError {
  readonly image: RgbImage;

  constructor(image: RgbImage, message: string) {
    super(message);
    this.image = image;
  }

  /** The same for a person, who knows the photo by its file. */
  of(file: string): UserError {
    return new UserError(`${file}: ${this.message}`);
  }
}

/** Programs for one size of photo. */
interface SizeProgram {
  /** u8 [rows, width, 3] each: the photo from top to bottom. */
  readonly bands: readonly Tensor[];
  readonly tables: readonly Tensor[];
  readonly program: Program<readonly Tensor[]>;
}

/** So many sizes of photo keep their program: data sets have one or a few, folders of snapshots may have many. */
const keptSizes = 8;
/** And so many bytes of photos keep their place on the device; one photo, which has 300 MB at most, does in any case. */
const keptBytes = 512 * 1024 * 1024;

/**
 * Turns photos into network inputs on the GPU: resized to a square (Pillow's bicubic with antialiasing, as the reference
 * implementations do, without cropping, so that every pixel of the photo is looked at) and normalised.
 *
 * A photo that the device cannot bind at once is cut into bands of rows. That changes no bit of the result.
 */
export class Preprocessor {
  readonly #gpu: Gpu;
  readonly #targets: readonly ImageTarget[];
  readonly #bandBytes: number;
  readonly #sizes = new Map<string, SizeProgram>();

  /**
   * @param targets what is made of each photo
   * @param bandBytes the most bytes of a photo in one band; default: what the device binds at once. For tests.
   */
  constructor(gpu: Gpu, targets: readonly ImageTarget[], bandBytes = gpu.device.limits.maxStorageBufferBindingSize) {
    this.#gpu = gpu;
    this.#targets = targets;
    this.#bandBytes = bandBytes;
  }

  /**
   * Writes one photo into its place in each target's batch.
   *
   * @param batches per target f32 [batch, 3, size, size]
   * @param index place in the batch
   * @throws PhotoError when the device has no memory for the photo, or when it is so long and narrow that the device
   *   cannot bind what the resize needs beside the photo (with 128 MiB: above some 8 million pixels wide or tall, and for
   *   a target of 518 pixels above 64,776 tall)
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
    const { bands, program } = await this.#programFor(image);
    const { width, height, pixels } = image;
    if (pixels.length !== 3 * width * height) throw new Error(`a photo of ${width}x${height} has ${3 * width * height} values, got ${pixels.length}`);
    let start = 0;
    for (const band of bands) {
      writeTensor(this.#gpu, band, pixels.subarray(start, start + band.size));
      start += band.size;
    }
    return program;
  }

  #copy(program: Program<readonly Tensor[]>, batches: readonly Tensor[], index: number): void {
    program.outputs.forEach((output, i) => copyTensor(this.#gpu, output, batches[i], index * output.size));
  }

  async #programFor(image: RgbImage): Promise<SizeProgram> {
    const key = `${image.width}x${image.height}`;
    let found = this.#sizes.get(key);
    // The most recently used size goes to the end; the first one is the next to be dropped.
    if (found) this.#sizes.delete(key);
    else {
      try {
        found = await this.#record(image, `resize of ${key} photos`);
      } catch (error) {
        throw error instanceof UserError ? new PhotoError(image, error.message) : error;
      }
    }
    this.#sizes.set(key, found);
    return found;
  }

  /** Drops sizes until there is place for one more, of so many bytes. */
  #makeRoom(bytes: number): void {
    const held = (): number => [...this.#sizes.values()].reduce((sum, { bands }) => bands.reduce((all, band) => all + band.bytes, sum), 0);
    while (this.#sizes.size && (this.#sizes.size >= keptSizes || held() + bytes > keptBytes)) {
      const [oldest, unused] = this.#sizes.entries().next().value!;
      this.#sizes.delete(oldest);
      this.#drop(unused);
    }
  }

  /** Makes the program for a size of photo, and room for it. @throws UserError when the device cannot resize such photos */
  async #record({ width, height }: RgbImage, label: string): Promise<SizeProgram> {
    for (const { size } of this.#targets) checkResize({ width, height }, { width: size, height: size }, this.#gpu.device.limits.maxStorageBufferBindingSize);
    this.#makeRoom(3 * width * height);
    const bands = emptyBands(this.#gpu, { width, height }, this.#bandBytes);
    const tables: Tensor[] = [];
    try {
      const resizes = this.#targets.map(({ size, mean, std }) => {
        const { horizontal, vertical } = resizeTables(this.#gpu, { width, height }, { width: size, height: size });
        tables.push(horizontal, vertical);
        return { tables: { horizontal, vertical }, normalisation: { mean, std, dtype: 'f32' } as const };
      });
      const program = await Program.record(this.#gpu, () => scope('resize', () => resizes.map(({ tables, normalisation }) => imageResize(bands, tables, normalisation))), { label });
      return { bands, tables, program };
    } catch (error) {
      this.#free([...bands, ...tables]);
      throw error;
    }
  }

  #drop({ program, bands, tables }: SizeProgram): void {
    program.destroy();
    this.#free([...bands, ...tables]);
  }

  #free(unused: readonly Tensor[]): void {
    for (const one of unused) freeTensor(this.#gpu, one);
  }

  /** Frees the device memory. */
  destroy(): void {
    for (const unused of this.#sizes.values()) this.#drop(unused);
    this.#sizes.clear();
  }
}
