// Batches of pretraining, drawn in other processes while the device is busy with earlier ones.
import { availableParallelism } from 'node:os';
import { ProcessPool } from '../dataset/pool.ts';
import { randomFor } from '../dataset/render/numbers.ts';
import type { DefectKind } from '../dataset/category.ts';
import type { CaptionedImage, CaptionedImages, Cut, PoolOptions } from './images.ts';

/** How a batch is drawn: `CaptionedImages.pairs` or `CaptionedImages.any`. */
export interface BatchOptions {
  readonly kind: 'pairs' | 'any';
  readonly count: number;
  /** Side of the pictures in pixels. */
  readonly size: number;
  /** What pairs show of a picture; default "whole". */
  readonly cut?: Cut;
  readonly seed: number;
}

/** What a process needs to know to draw a batch. */
export interface BatchTask extends BatchOptions {
  readonly pool: PoolOptions;
  readonly subjects: readonly { readonly category: string; readonly defects: readonly DefectKind[] }[];
  readonly step: number;
}

/** Most processes that draw: more are no faster than a GPU that trains a small model. */
const mostProcesses = 8;
/** Batches that are drawn ahead, for each process. */
const aheadEach = 2;

/** Draws the batch of a step. It depends on seed and step alone. */
export function drawBatch(images: CaptionedImages, { kind, count, size, cut, seed }: BatchOptions, step: number): CaptionedImage[] {
  return images[kind](randomFor(seed, 'batch', step), count, size, cut);
}

/** The batches of one step after the other. Close it, or this process stays alive. */
export class Batches {
  readonly #task: Omit<BatchTask, 'step'>;
  readonly #drawn = new Map<number, Promise<CaptionedImage[]>>();
  #pool: ProcessPool<BatchTask, CaptionedImage[]> | undefined;

  constructor({ subjects, options: pool }: CaptionedImages, options: BatchOptions) {
    this.#task = { ...options, pool, subjects: subjects.map(({ category, defects }) => ({ category: category.name, defects })) };
  }

  /** @param step from 0; the next ones are drawn meanwhile */
  async batch(step: number): Promise<CaptionedImage[]> {
    const processes = Math.min(mostProcesses, Math.max(1, availableParallelism() - 1));
    this.#pool ??= new ProcessPool(new URL('./batch_process.ts', import.meta.url), processes);
    for (let next = step; next <= step + aheadEach * processes; next++) {
      if (this.#drawn.has(next)) continue;
      const drawn = this.#pool.run({ ...this.#task, step: next });
      // Who waits for it hears of it.
      drawn.catch(() => undefined);
      this.#drawn.set(next, drawn);
    }
    const drawn = this.#drawn.get(step)!;
    this.#drawn.delete(step);
    return drawn;
  }

  close(): void {
    this.#pool?.close();
    this.#pool = undefined;
    this.#drawn.clear();
  }
}
