import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UserError } from '../errors.ts';
import type { PixelRankings } from './pixel_counts.ts';
import { type Ranking, rankScores } from './ranking.ts';

/** Where the pixels of one image are kept. */
export type RecordPlace = readonly [offset: number, bytes: number];

/** Numbers before the scores of a record: normal and abnormal pixels. */
const headerWords = 2;

/**
 * The scores of all pixels of one image as they are kept for exact metrics: the number of normal and of abnormal pixels
 * (u32), the normal scores (f32), the abnormal scores (f32), and the area of each abnormal pixel's region (u32).
 *
 * @param map scores, clamped to [0, 1]
 * @param areas as `scoreHistogram` takes them; undefined for a normal image
 * @returns undefined when a score is not a number
 */
export function pixelRecord(map: Float32Array, areas: Uint32Array | undefined): Uint8Array | undefined {
  let abnormal = 0;
  if (areas) for (const area of areas) if (area) abnormal++;
  const words = new Uint32Array(headerWords + map.length + abnormal);
  words.set([map.length - abnormal, abnormal]);
  const scores = new Float32Array(words.buffer, 4 * headerWords, map.length);
  let normalAt = 0;
  let abnormalAt = map.length - abnormal;
  for (let i = 0; i < map.length; i++) {
    const score = map[i];
    if (Number.isNaN(score)) return undefined;
    const clamped = score > 0 ? Math.min(score, 1) : 0;
    if (areas && areas[i]) {
      words[headerWords + abnormal + abnormalAt] = areas[i];
      scores[abnormalAt++] = clamped;
    } else scores[normalAt++] = clamped;
  }
  return new Uint8Array(words.buffer);
}

/** Keeps the pixels of images one after the other: in a file, or without one in memory. */
export class PixelRecords {
  readonly #file: string | undefined;
  readonly #pieces = new Map<number, Uint8Array>();
  #handle: FileHandle | undefined;
  #end = 0;

  private constructor(file: string | undefined, handle: FileHandle | undefined, end: number) {
    this.#file = file;
    this.#handle = handle;
    this.#end = end;
  }

  /** Keeps records in memory. */
  static inMemory(): PixelRecords {
    return new PixelRecords(undefined, undefined, 0);
  }

  /**
   * Goes on in a file.
   *
   * @param end bytes of the file that are in use; what is behind them is cut off
   * @throws UserError when the file cannot be opened, or is shorter than that
   */
  static async append(file: string, end: number): Promise<PixelRecords> {
    try {
      await mkdir(dirname(file), { recursive: true });
      const handle = await open(file, end === 0 ? 'w+' : 'r+');
      const { size } = await handle.stat();
      if (size < end) {
        await handle.close();
        throw new Error(`it has ${size} bytes of ${end}`);
      }
      // What a killed run left behind.
      await handle.truncate(end);
      return new PixelRecords(file, handle, end);
    } catch (error) {
      throw new UserError(`cannot go on with the pixels in ${file}: ${(error as Error).message}`);
    }
  }

  /** Opens the records of an evaluation for reading. @throws UserError naming the file */
  static async read(file: string): Promise<PixelRecords> {
    try {
      const handle = await open(file, 'r');
      return new PixelRecords(file, handle, (await handle.stat()).size);
    } catch (error) {
      throw new UserError(`cannot read ${file}, which belongs to a state with --exact: ${(error as Error).message}`);
    }
  }

  /** Bytes in use. */
  get end(): number {
    return this.#end;
  }

  async append(record: Uint8Array): Promise<RecordPlace> {
    const place: RecordPlace = [this.#end, record.length];
    if (this.#handle) await this.#write(this.#handle, record);
    else this.#pieces.set(this.#end, record);
    this.#end += record.length;
    return place;
  }

  async #write(handle: FileHandle, record: Uint8Array): Promise<void> {
    try {
      for (let done = 0; done < record.length; ) done += (await handle.write(record, done, record.length - done, this.#end + done)).bytesWritten;
    } catch (error) {
      throw new UserError(`cannot write ${this.#file}: ${(error as Error).message}`);
    }
  }

  /** What was appended is on the disk when this resolves. */
  async flush(): Promise<void> {
    await this.#handle?.sync();
  }

  /** Bytes of a record from `at` on. */
  async #read([offset, bytes]: RecordPlace, at: number, length: number): Promise<Uint8Array> {
    if (this.#handle && offset >= 0 && at + length <= bytes && offset + bytes <= this.#end) {
      const part = new Uint8Array(length);
      const { bytesRead } = await this.#handle.read(part, 0, length, offset + at);
      if (bytesRead === length) return part;
    }
    const piece = this.#pieces.get(offset);
    if (piece) return piece.subarray(at, at + length);
    throw this.#damaged(offset);
  }

  #damaged(offset: number): UserError {
    return new UserError(`${this.#file}: the pixels at byte ${offset} are damaged or truncated; evaluate again`);
  }

  /** Number of normal and abnormal pixels. @throws UserError naming the file when there is no such record */
  async counts(place: RecordPlace): Promise<{ readonly normal: number; readonly abnormal: number }> {
    const header = await this.#read(place, 0, 4 * headerWords);
    const [normal, abnormal] = new Uint32Array(header.buffer, header.byteOffset, headerWords);
    if (4 * (headerWords + normal + 2 * abnormal) !== place[1]) throw this.#damaged(place[0]);
    return { normal, abnormal };
  }

  /** @throws UserError naming the file when there is no such record */
  async get(place: RecordPlace): Promise<{ readonly normal: Float32Array; readonly abnormal: Float32Array; readonly areas: Uint32Array }> {
    const { normal, abnormal } = await this.counts(place);
    const { buffer, byteOffset } = await this.#read(place, 4 * headerWords, place[1] - 4 * headerWords);
    return {
      normal: new Float32Array(buffer, byteOffset, normal),
      abnormal: new Float32Array(buffer, byteOffset + 4 * normal, abnormal),
      areas: new Uint32Array(buffer, byteOffset + 4 * (normal + abnormal), abnormal),
    };
  }

  async close(): Promise<void> {
    await this.#handle?.close();
    this.#handle = undefined;
    this.#pieces.clear();
  }
}

const floats = new Float32Array(1);
const words = new Uint32Array(floats.buffer);

/**
 * All pixels of one class, sorted: exact metrics. Takes 4 bytes for each normal pixel and 20 for each abnormal one: for a
 * class of MVTec-AD at 518 × 518, some 150 images, about 200 MB.
 */
export class ExactPixels implements PixelRankings {
  readonly bins = null;
  readonly #normal: Float32Array;
  readonly #abnormal: Float32Array;
  readonly #weights: Float64Array;

  private constructor(normal: Float32Array, abnormal: Float32Array, weights: Float64Array) {
    this.#normal = normal;
    this.#abnormal = abnormal;
    this.#weights = weights;
  }

  /** @param places of the images of the class, in any order */
  static async collect(places: readonly (readonly [records: PixelRecords, place: RecordPlace])[]): Promise<ExactPixels> {
    let normalCount = 0;
    let abnormalCount = 0;
    for (const [records, place] of places) {
      const { normal, abnormal } = await records.counts(place);
      normalCount += normal;
      abnormalCount += abnormal;
    }
    const normal = new Float32Array(normalCount);
    // Score and area in one number, so that they are sorted together: 30 bits of a score up to 1, then 23 of the area. Tied
    // scores come in the order of their areas, whatever the order of the images, so that sums over them have the same bits.
    const pairs = new Float64Array(abnormalCount);
    normalCount = 0;
    abnormalCount = 0;
    for (const [records, place] of places) {
      const image = await records.get(place);
      normal.set(image.normal, normalCount);
      normalCount += image.normal.length;
      image.abnormal.forEach((score, i) => {
        floats[0] = score;
        pairs[abnormalCount++] = words[0] * 2 ** 23 + (image.areas[i] - 1);
      });
    }
    normal.sort();
    pairs.sort();
    const abnormal = new Float32Array(pairs.length);
    const weights = new Float64Array(pairs.length);
    pairs.forEach((pair, i) => {
      words[0] = Math.floor(pair / 2 ** 23);
      abnormal[i] = floats[0];
      weights[i] = 1 / ((pair % 2 ** 23) + 1);
    });
    return new ExactPixels(normal, abnormal, weights);
  }

  pixels(): Ranking {
    return rankScores(this.#abnormal, this.#normal);
  }

  overlap(): Ranking {
    return rankScores(this.#abnormal, this.#normal, this.#weights);
  }
}
