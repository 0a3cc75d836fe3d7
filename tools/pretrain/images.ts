import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startProgress } from '../../src/cli/progress.ts';
import { classWords } from '../../src/data/dataset.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { captionOf } from '../dataset/captions.ts';
import type { Category, DefectKind } from '../dataset/category.ts';
import type { SampleOptions } from '../dataset/sample.ts';

/** What a picture shows: a category with one kind of defect, or without any. */
export interface Concept {
  readonly category: Category;
  readonly defect: DefectKind | 'good';
}

/** A picture with its line of text. */
export interface CaptionedImage {
  /** RGB, size × size × 3. */
  readonly pixels: Uint8Array;
  readonly caption: string;
  /** Place of its concept in `concepts`. */
  readonly concept: number;
}

/** How many pictures of each concept are rendered. */
export interface PoolOptions {
  readonly perConcept: number;
  /** Side of the rendered pictures in pixels; batches are cut out of them. */
  readonly size: number;
  readonly seed: number;
  /** Folder that keeps the rendered pictures for the next run. */
  readonly work: string;
  readonly processes: number;
}

/** A pool of rendered pictures from which batches with fresh captions, crops and light are drawn. */
export class CaptionedImages {
  readonly concepts: readonly Concept[];
  readonly #pixels: Uint8Array;
  readonly #perConcept: number;
  readonly #size: number;

  private constructor(concepts: readonly Concept[], pixels: Uint8Array, { perConcept, size }: PoolOptions) {
    this.concepts = concepts;
    this.#pixels = pixels;
    this.#perConcept = perConcept;
    this.#size = size;
  }

  /** Renders the pool, or reads it from `work` when the same was rendered before. */
  static async render(concepts: readonly Concept[], options: PoolOptions): Promise<CaptionedImages> {
    const { perConcept, size, seed, work, processes } = options;
    const bytes = 3 * size * size;
    const names = concepts.map(({ category, defect }) => `${category.name}/${defect}`);
    const key = createHash('sha256').update(JSON.stringify({ names, perConcept, size, seed })).digest('hex').slice(0, 12);
    const file = join(work, `pool-${key}.bin`);
    if (existsSync(file)) return new CaptionedImages(concepts, readFileSync(file), options);
    const pixels = new Uint8Array(concepts.length * perConcept * bytes);
    const progress = startProgress('picture', concepts.length * perConcept);
    let next = 0;
    const renderConcepts = async (): Promise<void> => {
      const child = fork(fileURLToPath(new URL('./render_process.ts', import.meta.url)));
      const render = async (jobs: SampleOptions[]): Promise<(Uint8Array | undefined)[]> => {
        child.send(jobs);
        // Rejects when the process fails.
        const [images] = (await once(child, 'message')) as [(string | null)[]];
        return images.map((image) => (image ? Buffer.from(image, 'base64') : undefined));
      };
      while (next < concepts.length) {
        const concept = next++;
        const { category, defect } = concepts[concept];
        for (let done = 0, attempt = 0; done < perConcept; attempt++) {
          const wanted = Math.min(8, perConcept - done);
          const jobs = Array.from({ length: wanted }, (_, i): SampleOptions => ({ category: category.name, defect, seed: seed * 1000003 + attempt * 8 + i, size, over: 1 }));
          for (const image of await render(jobs)) {
            if (!image || done === perConcept) continue;
            pixels.set(image, (concept * perConcept + done++) * bytes);
            progress.step(names[concept]);
          }
        }
      }
      child.disconnect();
    };
    await Promise.all(Array.from({ length: processes }, renderConcepts));
    progress.stop();
    await writeFileAtomic(file, pixels);
    return new CaptionedImages(concepts, pixels, options);
  }

  /** Captions of all concepts, many each, for learning a vocabulary. */
  allCaptions(): string[] {
    const random = new RandomSource(0);
    return this.concepts.flatMap(({ category, defect }) => Array.from({ length: 60 }, () => captionOf(classWords(category.name), defect, random)));
  }

  /**
   * Draws pictures of different concepts, so that no caption of a batch fits another's picture.
   *
   * @param count at most as many as there are concepts
   * @param size side of the pictures in pixels
   */
  batch(random: RandomSource, count: number, size: number): CaptionedImage[] {
    const order = random.shuffled(this.concepts.map((_, i) => i));
    return order.slice(0, count).map((concept) => {
      const { category, defect } = this.concepts[concept];
      return { pixels: this.#view(random, concept, size), caption: captionOf(classWords(category.name), defect, random), concept };
    });
  }

  /** Draws pictures of any concepts: for classification. */
  anyBatch(random: RandomSource, count: number, size: number): CaptionedImage[] {
    return Array.from({ length: count }, () => {
      const concept = random.integer(0, this.concepts.length - 1);
      const { category, defect } = this.concepts[concept];
      return { pixels: this.#view(random, concept, size), caption: captionOf(classWords(category.name), defect, random), concept };
    });
  }

  /** A picture cut out (at least 85% of each side), perhaps mirrored, with other light and colour. */
  #view(random: RandomSource, concept: number, size: number): Uint8Array {
    const from = this.#size;
    const start = (concept * this.#perConcept + random.integer(0, this.#perConcept - 1)) * 3 * from * from;
    const side = from * random.uniform(0.85, 1);
    const [left, top] = [random.uniform(0, from - side), random.uniform(0, from - side)];
    const [mirrorX, mirrorY] = [random.uniform() < 0.5, random.uniform() < 0.5];
    const contrast = random.uniform(0.85, 1.15);
    const gains = [0, 1, 2].map(() => contrast * random.uniform(0.95, 1.05));
    const offset = 127.5 * (1 - contrast) + random.uniform(-16, 16);
    const result = new Uint8Array(3 * size * size);
    const scale = side / size;
    for (let y = 0; y < size; y++) {
      const sy = Math.min(from - 1.001, Math.max(0, top + ((mirrorY ? size - 1 - y : y) + 0.5) * scale - 0.5));
      const y0 = Math.floor(sy);
      const fy = sy - y0;
      for (let x = 0; x < size; x++) {
        const sx = Math.min(from - 1.001, Math.max(0, left + ((mirrorX ? size - 1 - x : x) + 0.5) * scale - 0.5));
        const x0 = Math.floor(sx);
        const fx = sx - x0;
        const at = start + 3 * (y0 * from + x0);
        for (let c = 0; c < 3; c++) {
          const upper = this.#pixels[at + c] * (1 - fx) + this.#pixels[at + 3 + c] * fx;
          const lower = this.#pixels[at + 3 * from + c] * (1 - fx) + this.#pixels[at + 3 * from + 3 + c] * fx;
          result[3 * (y * size + x) + c] = Math.max(0, Math.min(255, Math.round((upper * (1 - fy) + lower * fy) * gains[c] + offset)));
        }
      }
    }
    return result;
  }
}
