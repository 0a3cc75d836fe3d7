import type { Gpu } from '../gpu/device.ts';
import { ignoredArea, largestArea, overlapUnit, scoreCountsLength, scoreHistogram } from '../ops/score_histogram.ts';
import { Program } from '../tensor/program.ts';
import { type Tensor, bufferOf, clearTensors, copyTensor, emptyTensor, freeTensor } from '../tensor/tensor.ts';
import { type Ranking, rankHistogram } from './ranking.ts';
import { NO_BIN, SCORE_BINS, lowestScore, scoreKey } from './score_key.ts';

/** Regions of one class whose overlap 64 bits hold for certain. */
const mostRegions = 2 ** 24;

/** What the pixel-level metrics of a class are computed from. */
export interface PixelRankings {
  /** Abnormal pixels against normal ones. */
  pixels(): Ranking;
  /** The same with each defect region weighing 1, spread evenly over its pixels: for the per-region overlap. */
  overlap(): Ranking;
  /** Number of bins that the scores lie in; null where nothing is lost to bins. */
  readonly bins: number | null;
}

/**
 * The pixels of one class, counted by score: histograms of 65536 bins, whatever the number of images.
 *
 * Each bin also knows its smallest and its largest score. Where they are equal its scores are tied; otherwise they only
 * happen to be close, and metrics take their order as even (`Ranking`). That is within 10⁻⁴ of exact metrics unless all
 * scores of a class lie in a few hundred bins, as for scores that are all within 1% of each other; then F1 is the first to
 * go, by 2·10⁻⁴.
 *
 * All counts are integers, so sums are exact and any way of splitting the images over machines gives the same bits. For
 * the per-region overlap each pixel of a region of `a` pixels weighs floor(2^40 / a): the weights of a region add up to 1
 * but for a share of a / 2^40 (3·10⁻⁷ for a region that fills a 518 × 518 map).
 */
export class PixelCounts implements PixelRankings {
  readonly normal = new Float64Array(SCORE_BINS);
  readonly abnormal = new Float64Array(SCORE_BINS);
  /** In units of 1 / `overlapUnit`. */
  readonly overlapped = new BigUint64Array(SCORE_BINS);
  /** Bits of the largest f32 score of each bin; 0 for an empty one. */
  readonly most = new Uint32Array(SCORE_BINS);
  /** Bits of the smallest; all ones for an empty bin. */
  readonly least = new Uint32Array(SCORE_BINS).fill(0xffffffff);
  /** Defect regions counted. */
  regions = 0;

  /** Adds the counts of other images. */
  add(other: PixelCounts): void {
    this.addRegions(other.regions);
    for (let bin = 0; bin < SCORE_BINS; bin++) {
      this.normal[bin] += other.normal[bin];
      this.abnormal[bin] += other.abnormal[bin];
      this.overlapped[bin] += other.overlapped[bin];
      this.most[bin] = Math.max(this.most[bin], other.most[bin]);
      this.least[bin] = Math.min(this.least[bin], other.least[bin]);
    }
  }

  addRegions(regions: number): void {
    this.regions += regions;
    if (this.regions >= mostRegions) throw new Error(`more than ${mostRegions} defect regions in one class: their overlap cannot be summed`);
  }

  /**
   * Adds what the device counted.
   *
   * @param words as `scoreHistogram` lays them out
   * @returns scores that were not numbers
   */
  addWords(words: Uint32Array): number {
    for (let bin = 0; bin < SCORE_BINS; bin++) {
      this.normal[bin] += words[bin];
      this.most[bin] = Math.max(this.most[bin], words[4 * SCORE_BINS + bin]);
      this.least[bin] = Math.min(this.least[bin], ~words[5 * SCORE_BINS + bin] >>> 0);
      if (words[SCORE_BINS + bin] === 0) continue;
      this.abnormal[bin] += words[SCORE_BINS + bin];
      this.overlapped[bin] += (BigInt(words[3 * SCORE_BINS + bin]) << 32n) | BigInt(words[2 * SCORE_BINS + bin]);
    }
    return words[6 * SCORE_BINS];
  }

  pixels(): Ranking {
    return rankHistogram(this.abnormal, this.normal, { thresholdOf: lowestScore, tied: this.#tied });
  }

  overlap(): Ranking {
    return rankHistogram(Float64Array.from(this.overlapped, (weight) => Number(weight) / overlapUnit), this.normal, { thresholdOf: lowestScore, tied: this.#tied });
  }

  get bins(): number | null {
    let used = 0;
    let shared = 0;
    for (let bin = 0; bin < SCORE_BINS; bin++) {
      if (this.most[bin] < this.least[bin]) continue;
      used++;
      if (!this.#tied(bin)) shared++;
    }
    return shared ? used : null;
  }

  readonly #tied = (bin: number): boolean => this.least[bin] === this.most[bin];
}

/** Counts the pixels of one image on the host: for the metrics of a single image. Its arrays are used again for each. */
export class ImagePixels {
  readonly #normal = new Float64Array(SCORE_BINS);
  readonly #abnormal = new Float64Array(SCORE_BINS);

  /** Abnormal pixels of a map against its normal ones. @param areas as `scoreHistogram` takes them; not read after the next call */
  ranking(map: Float32Array, areas: Uint32Array): Ranking {
    this.#normal.fill(0);
    this.#abnormal.fill(0);
    for (let i = 0; i < map.length; i++) {
      const bin = scoreKey(map[i]);
      if (bin !== NO_BIN) (areas[i] ? this.#abnormal : this.#normal)[bin]++;
    }
    return rankHistogram(this.#abnormal, this.#normal, { thresholdOf: lowestScore, tied: () => false });
  }
}

/**
 * Counts the pixels of maps that lie on the device, batch by batch, into one set of histograms there. The host reads them
 * once in a while (`drain`): nothing but the defects' areas travels with each image.
 */
export class PixelCounter {
  readonly #gpu: Gpu;
  readonly #maps: Tensor;
  readonly #areas: Tensor;
  readonly #counts: Tensor;
  readonly #program: Program<undefined>;
  /** What each place of the batch holds in `#areas`: most images are normal, and need no upload after the first. */
  readonly #places: ('normal' | 'ignored' | 'defects' | undefined)[];
  #pixels = 0;
  #regions = 0;

  private constructor(gpu: Gpu, maps: Tensor, areas: Tensor, counts: Tensor, program: Program<undefined>) {
    this.#gpu = gpu;
    this.#maps = maps;
    this.#areas = areas;
    this.#counts = counts;
    this.#program = program;
    this.#places = new Array(maps.shape[0]).fill(undefined);
  }

  /** @param shape of the maps, [batch, height, width] */
  static async create(gpu: Gpu, shape: readonly [number, number, number]): Promise<PixelCounter> {
    const [, height, width] = shape;
    if (height * width > largestArea) throw new Error(`maps of ${width} × ${height} pixels are too large to be counted`);
    const maps = emptyTensor(gpu, shape, 'f32', 'counted maps');
    const areas = emptyTensor(gpu, shape, 'u32', 'areas of defects');
    const counts = emptyTensor(gpu, [scoreCountsLength], 'u32', 'score counts');
    clearTensors(gpu, [counts]);
    const program = await Program.record(gpu, () => void scoreHistogram(maps, areas, counts), { label: 'score histogram' });
    return new PixelCounter(gpu, maps, areas, counts, program);
  }

  /** Images of a batch. */
  get batch(): number {
    return this.#maps.shape[0];
  }

  /** Whether the counts must be read before another batch: they are integers of 32 bits, the overlap of 64. */
  get full(): boolean {
    return this.#pixels + this.#maps.size >= 2 ** 32 || this.#regions + this.#maps.size / 4 >= mostRegions;
  }

  /**
   * Counts the pixels of a batch.
   *
   * @param maps f32 [batch, height, width] on the device, read before anything that is submitted later
   * @param images for each image of the batch the areas of its defects; undefined for a normal image. Images of the batch
   *   beyond these do not count.
   */
  async count(maps: Tensor, images: readonly ({ readonly areas: Uint32Array; readonly regions: number } | undefined)[]): Promise<void> {
    if (this.full) throw new Error('the pixel counts are full: drain them first');
    copyTensor(this.#gpu, maps, this.#maps);
    const area = this.#maps.size / this.batch;
    for (let i = 0; i < this.batch; i++) {
      const image = images[i];
      const kind = i >= images.length ? 'ignored' : image ? 'defects' : 'normal';
      if (kind === 'defects' || kind !== this.#places[i]) {
        const areas = image?.areas ?? new Uint32Array(area).fill(kind === 'ignored' ? ignoredArea : 0);
        if (areas.length !== area) throw new Error(`image ${i} of the batch has areas of ${areas.length} pixels, its map ${area}`);
        this.#gpu.write(bufferOf(this.#areas), new Uint8Array(areas.buffer, areas.byteOffset, areas.byteLength), i * area * 4);
      }
      this.#places[i] = kind;
      this.#regions += image?.regions ?? 0;
    }
    this.#pixels += images.length * area;
    await this.#program.run();
  }

  /** Moves the counts from the device into `counts`, and starts again from zero. @returns scores that were not numbers */
  async drain(counts: PixelCounts): Promise<number> {
    if (this.#pixels === 0) return 0;
    const bytes = await this.#gpu.read(bufferOf(this.#counts), 0, this.#counts.bytes);
    clearTensors(this.#gpu, [this.#counts]);
    counts.addRegions(this.#regions);
    this.#pixels = 0;
    this.#regions = 0;
    return counts.addWords(new Uint32Array(bytes.buffer, bytes.byteOffset, scoreCountsLength));
  }

  /** Frees the device memory. */
  destroy(): void {
    this.#program.destroy();
    for (const unused of [this.#maps, this.#areas, this.#counts]) freeTensor(this.#gpu, unused);
  }
}
