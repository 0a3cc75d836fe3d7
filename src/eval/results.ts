import { classWords } from '../data/dataset.ts';
import { UserError } from '../errors.ts';
import { ExactPixels, type PixelRecords, type RecordPlace } from './exact_pixels.ts';
import { type EvaluationIdentity, identityDifferences } from './identity.ts';
import { PixelCounts, type PixelRankings } from './pixel_counts.ts';
import { type Curve, type ScoreDistribution, ascending, aupro, precisionRecallCurve, proLimit, rankScores, rankingMetrics, rocCurve, scoreDistribution } from './ranking.ts';
import { EvaluationState, type ImageRecord } from './state.ts';

/** The metrics of one class, from 0 to 1; null where a metric has no value: without normal or without abnormal images, say. */
export interface Metrics {
  readonly imageAuroc: number | null;
  readonly imageAveragePrecision: number | null;
  readonly imageF1Max: number | null;
  readonly pixelAuroc: number | null;
  readonly pixelAveragePrecision: number | null;
  readonly pixelF1Max: number | null;
  /** Per-region overlap up to a false positive rate of 0.3. */
  readonly aupro: number | null;
}

/** The metrics in the order of tables, with the names that the field gives them. */
export const metricNames: readonly (readonly [key: keyof Metrics, name: string])[] = [
  ['imageAuroc', 'I-AUROC'],
  ['imageAveragePrecision', 'I-AP'],
  ['imageF1Max', 'I-F1max'],
  ['pixelAuroc', 'P-AUROC'],
  ['pixelAveragePrecision', 'P-AP'],
  ['pixelF1Max', 'P-F1max'],
  ['aupro', 'AUPRO'],
];

/** One image, for a report: which ones a class does best and worst on. */
export type ImageResult = Pick<ImageRecord, 'file' | 'mask' | 'defect' | 'label' | 'score' | 'pixelAuroc'>;

/** Everything about one class. */
export interface ClassResults {
  /** As the data set spells it: "metal_nut". */
  readonly class: string;
  /** As the prompts name it: "metal nut". */
  readonly words: string;
  readonly normalImages: number;
  readonly abnormalImages: number;
  /** Images by kind of defect, in alphabetical order. */
  readonly defects: Readonly<Record<string, number>>;
  /** Connected regions of all masks. */
  readonly regions: number;
  /** Number of bins that the pixels' scores lie in; null where no bin holds different scores, as in an exact evaluation. */
  readonly pixelBins: number | null;
  readonly metrics: Metrics;
  /** The scores from which an image, and a pixel, must be called abnormal to reach the F1s in `metrics`. */
  readonly f1Thresholds: { readonly image: number | null; readonly pixel: number | null };
  /** For drawing: thinned, and rounded to five digits. Empty where the metric has no value. */
  readonly curves: {
    /** True over false positive rate. */
    readonly imageRoc: Curve;
    /** Precision over recall. */
    readonly imagePrecisionRecall: Curve;
    readonly pixelRoc: Curve;
    readonly pixelPrecisionRecall: Curve;
    /** Mean overlap of regions over false positive rate, up to the limit of the metric. */
    readonly pro: Curve;
  };
  /** Counts of scores in 50 equal parts of [0, 1]. */
  readonly distributions: { readonly image: ScoreDistribution; readonly pixel: ScoreDistribution };
  /** In the order of the data set. */
  readonly images: readonly ImageResult[];
}

/** An evaluation: what `results.json` holds. The same data, model and settings give the same bytes. */
export interface EvaluationResults {
  readonly format: 1;
  readonly identity: EvaluationIdentity;
  /** The false positive rate up to which AUPRO is integrated. */
  readonly proLimit: number;
  /** In alphabetical order. */
  readonly classes: readonly ClassResults[];
  /** Each metric's mean over the classes that have it. */
  readonly mean: Metrics;
}

function classResults(name: string, images: readonly ImageRecord[], regions: number, pixels: PixelRankings): ClassResults {
  const scores = (label: 0 | 1): Float32Array => ascending(Float32Array.from(images.filter((image) => image.label === label), ({ score }) => score));
  const imageRanking = rankScores(scores(1), scores(0));
  const pixelRanking = pixels.pixels();
  const overlapRanking = pixels.overlap();
  const image = rankingMetrics(imageRanking);
  const pixel = rankingMetrics(pixelRanking);
  const defects = new Map<string, number>();
  for (const { defect } of images) defects.set(defect, (defects.get(defect) ?? 0) + 1);
  return {
    class: name,
    words: classWords(name),
    normalImages: imageRanking.negatives,
    abnormalImages: imageRanking.positives,
    defects: Object.fromEntries([...defects].sort(([a], [b]) => (a < b ? -1 : 1))),
    regions,
    pixelBins: pixels.bins,
    metrics: {
      imageAuroc: image?.auroc ?? null,
      imageAveragePrecision: image?.averagePrecision ?? null,
      imageF1Max: image?.f1Max ?? null,
      pixelAuroc: pixel?.auroc ?? null,
      pixelAveragePrecision: pixel?.averagePrecision ?? null,
      pixelF1Max: pixel?.f1Max ?? null,
      aupro: aupro(overlapRanking) ?? null,
    },
    f1Thresholds: { image: image?.f1Threshold ?? null, pixel: pixel?.f1Threshold ?? null },
    curves: {
      imageRoc: rocCurve(imageRanking),
      imagePrecisionRecall: precisionRecallCurve(imageRanking),
      pixelRoc: rocCurve(pixelRanking),
      pixelPrecisionRecall: precisionRecallCurve(pixelRanking),
      pro: rocCurve(overlapRanking, proLimit),
    },
    distributions: { image: scoreDistribution(imageRanking), pixel: scoreDistribution(pixelRanking) },
    images: images.map(({ file, mask, defect, label, score, pixelAuroc }) => ({ file, mask, defect, label, score, pixelAuroc })),
  };
}

/** Each metric's mean over the classes that have it. */
export function meanMetrics(classes: readonly Pick<ClassResults, 'metrics'>[]): Metrics {
  const mean = (key: keyof Metrics): number | null => {
    const values = classes.flatMap(({ metrics }) => metrics[key] ?? []);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  };
  return Object.fromEntries(metricNames.map(([key]) => [key, mean(key)])) as unknown as Metrics;
}

/** "a, b and c"; of many the first few. */
function listed(items: readonly string[], most = 5): string {
  const shown = items.length > most ? [...items.slice(0, most - 1), `${items.length - most + 1} more`] : items;
  return shown.length > 1 ? `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)}` : shown.join('');
}

/** Puts the parts of an evaluation together, one after the other: memory does not grow with their number. */
export class EvaluationMerge {
  #identity: EvaluationIdentity | undefined;
  #identityOf = '';
  readonly #images = new Map<number, { readonly image: ImageRecord; readonly from: string }>();
  readonly #counts = new Map<string, PixelCounts>();
  readonly #regions = new Map<string, number>();
  readonly #places = new Map<number, readonly [PixelRecords, RecordPlace]>();
  readonly #shards: { readonly index: number; readonly count: number; readonly done: number; readonly total: number; readonly from: string }[] = [];

  /**
   * Adds a part. The state must stay open until the results are there.
   *
   * @throws UserError when it belongs to another evaluation or shares an image with an earlier part
   */
  add(state: EvaluationState): void {
    const { identity, images, shard } = state;
    const from = state.file ?? 'a state in memory';
    if (this.#identity) {
      const differences = identityDifferences(this.#identity, identity);
      if (differences.length) throw new UserError(`${from} does not belong to ${this.#identityOf}: ${listed(differences)}`);
    } else {
      this.#identity = identity;
      this.#identityOf = from;
    }
    for (const image of images) {
      const other = this.#images.get(image.index);
      if (other) throw new UserError(`${from} and ${other.from} overlap: both have the image ${image.file}. Give each part once, and parts of one division alone.`);
      this.#images.set(image.index, { image, from });
      if (image.pixels) this.#places.set(image.index, [state.records!, image.pixels]);
    }
    for (const [name, regions] of state.regions) this.#regions.set(name, (this.#regions.get(name) ?? 0) + regions);
    for (const [name, counts] of state.counts) {
      const sum = this.#counts.get(name);
      if (sum) sum.add(counts);
      else this.#counts.set(name, copyOfCounts(counts));
    }
    this.#shards.push({ ...shard, done: images.length, total: state.total, from });
  }

  /** @throws UserError when images are missing, with the parts that lack them */
  async results(): Promise<EvaluationResults> {
    const identity = this.#identity;
    if (!identity) throw new UserError('there are no states to put together');
    const missing = identity.data.images - this.#images.size;
    if (missing > 0) throw new UserError(`${missing} of ${identity.data.images} images are missing: ${this.#whatIsMissing()}`);
    const images = [...this.#images.values()].map(({ image }) => image).sort((a, b) => a.index - b.index);
    const classes: ClassResults[] = [];
    for (const name of [...new Set(images.map((image) => image.class))].sort()) {
      const own = images.filter((image) => image.class === name);
      const pixels = identity.exact ? await ExactPixels.collect(own.map(({ index }) => this.#places.get(index)!)) : this.#counts.get(name)!;
      classes.push(classResults(name, own, this.#regions.get(name) ?? 0, pixels));
    }
    return { format: 1, identity, proLimit, classes, mean: meanMetrics(classes) };
  }

  #whatIsMissing(): string {
    const unfinished = this.#shards.filter(({ done, total }) => done < total);
    if (unfinished.length) return listed(unfinished.map(({ from, done, total }) => `${from} has ${done} of its ${total}`)) + '. Run the command of that part again: it goes on where it stopped.';
    const [{ count }] = this.#shards;
    const absent = this.#shards.every((shard) => shard.count === count) ? Array.from({ length: count }, (_, i) => i + 1).filter((index) => !this.#shards.some((shard) => shard.index === index)) : [];
    return absent.length ? `there is no state of shard ${listed(absent.map((index) => `${index}/${count}`))}` : 'the states given do not cover the data set';
  }
}

function copyOfCounts(counts: PixelCounts): PixelCounts {
  const copy = new PixelCounts();
  copy.add(counts);
  return copy;
}

/** The results of parts that are in memory. @throws UserError as `EvaluationMerge` */
export async function resultsOf(states: readonly EvaluationState[]): Promise<EvaluationResults> {
  const merge = new EvaluationMerge();
  for (const state of states) merge.add(state);
  return merge.results();
}

/** The results of state files. @throws UserError as `EvaluationMerge`, or when a file is no state */
export async function mergeStates(files: readonly string[]): Promise<EvaluationResults> {
  const merge = new EvaluationMerge();
  const open: EvaluationState[] = [];
  try {
    for (const file of files) {
      const state = await EvaluationState.read(file);
      open.push(state);
      merge.add(state);
      // The counts are in the sum now; what stays is the pixel file.
      state.counts.clear();
    }
    return await merge.results();
  } finally {
    for (const state of open) await state.close();
  }
}
