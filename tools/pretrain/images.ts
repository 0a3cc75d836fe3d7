import { createHash } from 'node:crypto';
import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { startProgress } from '../../src/cli/progress.ts';
import { classWords } from '../../src/data/dataset.ts';
import { UserError } from '../../src/errors.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { captionOf } from '../dataset/captions.ts';
import type { Category, DefectKind } from '../dataset/category.ts';
import { type RenderPool, renderPool } from '../dataset/pool.ts';
import { type RenderedSample, type SampleOptions, categoryOf } from '../dataset/sample.ts';
import { readSplit } from '../dataset/split.ts';
import { generatorVersion } from '../dataset/write.ts';

/** A category with the kinds of defect that pretraining may see on it. */
export interface Subject {
  readonly category: Category;
  readonly defects: readonly DefectKind[];
}

/** Everything that pretraining may see: the split's categories with their kinds of defect, but for those that are held out. */
export function pretrainingSubjects(): Subject[] {
  const { categories, defects } = readSplit().pretraining;
  return categories.map((name) => {
    const category = categoryOf(name);
    return { category, defects: category.defects.filter((defect) => defects.includes(defect)) };
  });
}

/** What a picture shows: a category with one kind of defect, or without any. */
export interface Concept {
  readonly category: Category;
  readonly defect: DefectKind | 'good';
}

/** A picture with its line of text. */
export interface CaptionedImage {
  /** RGB, size × size × 3. */
  readonly pixels: Uint8Array;
  /** How much of each pixel the defect covers, from 0 to 1, size × size. */
  readonly mask: Float32Array;
  readonly caption: string;
  /** Place of its concept in `concepts`. */
  readonly concept: number;
}

/** How many pictures are rendered. */
export interface PoolOptions {
  /** Pictures of each category with each kind of defect; of each category without defect there are `goodShare` times as many. */
  readonly perConcept: number;
  /** Side of the rendered pictures in pixels; batches are cut out of them. */
  readonly size: number;
  readonly seed: number;
  /** Folder that keeps the rendered pictures for the next run. */
  readonly work: string;
}

/** Half of all pictures that are drawn have no defect: there are more of them, so that none is seen much more often. */
const goodShare = 2;

/** A rendered picture and its mask. */
interface Picture {
  /** RGB, size × size × 3. */
  readonly pixels: Uint8Array;
  /** 1 where the defect is, size × size. */
  readonly mask: Uint8Array;
}

/** A part of a picture: where it begins and how long its sides are, in pixels of the rendered picture. */
interface Crop {
  readonly left: number;
  readonly top: number;
  readonly side: number;
}

/** Smallest share of a picture's side that is cut out: things and defects stay about as large as they are where defects are looked for. */
const smallestCrop = 0.75;

/** Sides of what a close-up shows, as shares of its own: things are about as large in pixels as in the whole picture. */
const closeUp = { smallest: 0.75, largest: 1.2 } as const;

/** What is cut out of a picture: most of it with all of the defect, or a close-up of the defect, which need not show all of it. */
export type Cut = 'whole' | 'close-up';

/**
 * Share of the pictures with a defect that get it from a picture of another category: what is wrong there is wrong here too, and
 * there are so many more things to see it on.
 */
const transplantedShare = 0.2;

/** How far a defect moves when it comes from another picture, as a share of the picture's side. */
const farthestMove = 0.25;

/** Seeds that are tried for a picture, each a good step from the others. */
const seedsTried = Array.from({ length: 5 }, (_, attempt) => attempt * 10_000_000);

/** Seeds of each concept, one for each of its pictures. */
const seedsOfConcept = 1000;

/** Renders with the seed, or with another one where no draw of the defect was visible. */
async function renderAny(pool: RenderPool, options: Omit<SampleOptions, 'seed'>, seed: number): Promise<RenderedSample> {
  let failure: unknown;
  for (const step of seedsTried) {
    try {
      return await pool.run({ ...options, seed: seed + step });
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** Pictures of each concept, in the order of concepts: the number of the first, and how many there are. */
function placesOf(concepts: readonly Concept[], perConcept: number): { readonly first: number; readonly count: number }[] {
  let total = 0;
  return concepts.map(({ defect }) => {
    const count = defect === 'good' ? goodShare * perConcept : perConcept;
    total += count;
    return { first: total - count, count };
  });
}

/** A pool of rendered pictures, in a file, from which batches with fresh captions, crops and light are drawn. */
export class CaptionedImages {
  readonly subjects: readonly Subject[];
  readonly options: PoolOptions;
  /** Every category without defect and with each of its kinds. */
  readonly concepts: readonly Concept[];
  /** Says which pictures these are: the same options of the same generator have the same. */
  readonly key: string;
  readonly #places: ReturnType<typeof placesOf>;
  /** The pool's file: each picture and its mask, one after the other. */
  readonly #file: string;
  #handle: number | undefined;

  /** A pool that `render` has made. */
  constructor(subjects: readonly Subject[], options: PoolOptions) {
    const { perConcept, size, seed, work } = options;
    if (goodShare * perConcept > seedsOfConcept) throw new UserError(`--per-concept ${perConcept}: more than ${seedsOfConcept / goodShare} pictures of each kind would repeat those of the next`);
    this.subjects = subjects;
    this.options = options;
    this.concepts = subjects.flatMap(({ category, defects }) => (['good', ...defects] as const).map((defect) => ({ category, defect })));
    this.#places = placesOf(this.concepts, perConcept);
    const names = subjects.map(({ category, defects }) => [category.name, ...defects]);
    this.key = createHash('sha256').update(JSON.stringify({ layout: 'each picture with its mask', generatorVersion, names, perConcept, goodShare, size, seed })).digest('hex').slice(0, 12);
    this.#file = join(work, `pool-${this.key}.bin`);
  }

  /** Renders the pool, or finds it in `work` when the same was rendered before. */
  static async render(subjects: readonly Subject[], options: PoolOptions): Promise<CaptionedImages> {
    const images = new CaptionedImages(subjects, options);
    if (!existsSync(images.#file)) await images.#render();
    return images;
  }

  async #render(): Promise<void> {
    const { size, seed, work } = this.options;
    mkdirSync(work, { recursive: true });
    const half = `${this.#file}.${process.pid}.tmp`;
    const handle = openSync(half, 'w');
    const pool = renderPool();
    const total = this.#places.reduce((sum, { count }) => sum + count, 0);
    const progress = startProgress('picture', total);
    try {
      ftruncateSync(handle, total * this.#bytesEach);
      await Promise.all(
        this.concepts.flatMap(({ category, defect }, concept) =>
          Array.from({ length: this.#places[concept].count }, async (_, i) => {
            const { image, mask } = await renderAny(pool, { category: category.name, defect, size }, seed * 1_000_003 + concept * seedsOfConcept + i);
            const at = (this.#places[concept].first + i) * this.#bytesEach;
            writeSync(handle, image, 0, image.length, at);
            writeSync(handle, mask, 0, mask.length, at + image.length);
            progress.step(`${category.name}/${defect}`);
          }),
        ),
      );
      renameSync(half, this.#file);
    } finally {
      pool.close();
      progress.stop();
      closeSync(handle);
      rmSync(half, { force: true });
    }
  }

  /** Bytes of a picture and its mask. */
  get #bytesEach(): number {
    return 4 * this.options.size ** 2;
  }

  /** Captions of all concepts, many each, for learning a vocabulary. */
  allCaptions(): string[] {
    const random = new RandomSource(0);
    return this.concepts.flatMap((concept) => Array.from({ length: 60 }, () => this.#caption(concept, random)));
  }

  /**
   * Draws pictures of different categories, of each one without and one with a defect: no caption of a batch fits another's
   * picture, and the nearest wrong caption differs in nothing but the defect. Both show the same part of the object, so that
   * its place and size say nothing about the defect.
   *
   * @param count even, at most twice the number of subjects, but for close-ups, which are of as many defects of a category as it takes
   * @param size side of the pictures in pixels
   */
  pairs(random: RandomSource, count: number, size: number, cut: Cut = 'whole'): CaptionedImage[] {
    // Every other pair is of things that never look the same twice.
    const [same, varied] = [false, true].map((isVaried) => random.shuffled(this.subjects.flatMap(({ category }, i) => (Boolean(category.varied) === isVaried ? [i] : []))));
    const order = Array.from({ length: Math.max(same.length, varied.length) }, (_, i) => [...same.slice(i, i + 1), ...varied.slice(i, i + 1)]).flat();
    return Array.from({ length: count / 2 }, (_, i) => order[i % order.length]).flatMap((place) => {
      const { category, defects } = this.subjects[place];
      const good = this.#goodOf(category);
      const abnormal = good + random.integer(1, defects.length);
      const [whole, hurt] = [this.#drawPicture(random, good), this.#drawHurt(random, abnormal)];
      const crop = cut === 'whole' ? this.#crop(random, hurt) : this.#closeUp(random, hurt, size);
      return [this.#captioned(random, good, whole, crop, size), this.#captioned(random, abnormal, hurt, crop, size)];
    });
  }

  /** Draws pictures of any concepts: for classification. */
  any(random: RandomSource, count: number, size: number): CaptionedImage[] {
    return Array.from({ length: count }, () => {
      const concept = random.integer(0, this.concepts.length - 1);
      const { defect } = this.concepts[concept];
      const picture = defect === 'good' ? this.#drawPicture(random, concept) : this.#drawHurt(random, concept);
      return this.#captioned(random, concept, picture, this.#crop(random, picture), size);
    });
  }

  #caption({ category, defect }: Concept, random: RandomSource): string {
    return captionOf(classWords(category.name), defect, random);
  }

  /** The concept of a category without defect; those with its defects follow. */
  #goodOf(category: Category): number {
    return this.concepts.findIndex((concept) => concept.category === category && concept.defect === 'good');
  }

  /** One of a concept's pictures. */
  #drawPicture(random: RandomSource, concept: number): Picture {
    const { first, count } = this.#places[concept];
    const picture = first + random.integer(0, count - 1);
    const bytes = new Uint8Array(this.#bytesEach);
    this.#handle ??= openSync(this.#file, 'r');
    if (readSync(this.#handle, bytes, 0, bytes.length, picture * bytes.length) !== bytes.length) throw new UserError(`${this.#file} is too short. Remove it: it will be rendered again.`);
    const area = this.options.size ** 2;
    return { pixels: bytes.subarray(0, 3 * area), mask: bytes.subarray(3 * area) };
  }

  /** A picture with a defect: one of the concept's own, or one without defect that gets the same kind of it from another category. */
  #drawHurt(random: RandomSource, concept: number): Picture {
    const own = this.#drawPicture(random, concept);
    const { category, defect } = this.concepts[concept];
    const others = this.concepts.flatMap((other, i) => (other.defect === defect && other.category !== category ? [i] : []));
    if (!others.length || random.uniform() >= transplantedShare) return own;
    const good = this.#drawPicture(random, this.#goodOf(category));
    const from = this.#drawPicture(random, others[random.integer(0, others.length - 1)]);
    const side = this.options.size;
    const reach = Math.floor(farthestMove * side);
    const [right, down] = [random.integer(-reach, reach), random.integer(-reach, reach)];
    const [pixels, mask] = [good.pixels.slice(), new Uint8Array(side * side)];
    for (const [i, value] of from.mask.entries()) {
      const [x, y] = [(i % side) + right, Math.floor(i / side) + down];
      if (!value || x < 0 || y < 0 || x >= side || y >= side) continue;
      mask[y * side + x] = value;
      pixels.set(from.pixels.subarray(3 * i, 3 * i + 3), 3 * (y * side + x));
    }
    // Moved out of the picture.
    return mask.some((value) => value) ? { pixels, mask } : own;
  }

  #captioned(random: RandomSource, concept: number, picture: Picture, crop: Crop, size: number): CaptionedImage {
    return { ...this.#view(random, picture, crop, size), caption: this.#caption(this.concepts[concept], random), concept };
  }

  /** A square that holds the whole defect, if there is one. */
  #crop(random: RandomSource, { mask }: Picture): Crop {
    const all = this.options.size;
    let [left, top, right, bottom] = [all, all, 0, 0];
    for (const [pixel, value] of mask.entries()) {
      if (!value) continue;
      const [x, y] = [pixel % all, Math.floor(pixel / all)];
      [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
    }
    const hasDefect = right > left;
    const side = Math.max(right - left, bottom - top, all * random.uniform(smallestCrop, 1));
    const start = (first: number, last: number): number => (hasDefect ? random.uniform(Math.max(0, last - side), Math.min(first, all - side)) : random.uniform(0, all - side));
    return { left: start(left, right), top: start(top, bottom), side };
  }

  /** A square round a pixel of the defect, which is anywhere in it. */
  #closeUp(random: RandomSource, { mask }: Picture, size: number): Crop {
    const all = this.options.size;
    const hurt = [...mask.keys()].filter((pixel) => mask[pixel]);
    const pixel = hurt[random.integer(0, hurt.length - 1)];
    const side = Math.min(all, size * random.uniform(closeUp.smallest, closeUp.largest));
    const start = (at: number): number => Math.max(0, Math.min(all - side, at - side * random.uniform(0.1, 0.9)));
    return { left: start(pixel % all), top: start(Math.floor(pixel / all)), side };
  }

  /** A part of a picture, resized, perhaps turned or mirrored, with other light and colour. */
  #view(random: RandomSource, picture: Picture, { left, top, side }: Crop, size: number): Pick<CaptionedImage, 'pixels' | 'mask'> {
    const from = this.options.size;
    const [turned, mirrorX, mirrorY] = [random.uniform() < 0.5, random.uniform() < 0.5, random.uniform() < 0.5];
    const contrast = random.uniform(0.85, 1.15);
    const gains = [0, 1, 2].map(() => contrast * random.uniform(0.95, 1.05));
    const offset = 127.5 * (1 - contrast) + random.uniform(-16, 16);
    const pixels = new Uint8Array(3 * size * size);
    const mask = new Float32Array(size * size);
    const scale = side / size;
    // A triangle as wide as two pixels of the larger grid: bilinear when it grows, antialiased when it shrinks.
    const taps = (origin: number, mirrored: boolean): { readonly first: number; readonly weights: readonly number[] }[] =>
      Array.from({ length: size }, (_, i) => {
        const centre = origin + ((mirrored ? size - 1 - i : i) + 0.5) * scale - 0.5;
        const reach = Math.max(1, scale);
        const first = Math.max(0, Math.ceil(centre - reach));
        const last = Math.min(from - 1, Math.floor(centre + reach));
        const weights = Array.from({ length: last - first + 1 }, (_, k) => Math.max(0, 1 - Math.abs(first + k - centre) / reach));
        const total = weights.reduce((a, b) => a + b, 0);
        return { first, weights: weights.map((weight) => weight / total) };
      });
    const [columns, rows] = [taps(left, mirrorX), taps(top, mirrorY)];
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const sums = [0, 0, 0];
        let covered = 0;
        for (const [row, down] of rows[y].weights.entries()) {
          for (const [column, across] of columns[x].weights.entries()) {
            const at = (rows[y].first + row) * from + columns[x].first + column;
            for (let c = 0; c < 3; c++) sums[c] += down * across * picture.pixels[3 * at + c];
            covered += down * across * picture.mask[at];
          }
        }
        const to = turned ? x * size + y : y * size + x;
        for (let c = 0; c < 3; c++) pixels[3 * to + c] = Math.max(0, Math.min(255, Math.round(sums[c] * gains[c] + offset)));
        mask[to] = covered;
      }
    }
    return { pixels, mask };
  }
}
