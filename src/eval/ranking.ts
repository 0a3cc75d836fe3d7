/**
 * What every ranking metric is computed from: how many positives and negatives score at least as high as each distinct
 * threshold, from the highest threshold down. Tied scores share a threshold, so nothing depends on their order.
 */
export interface Ranking {
  /** Cumulative true positives. */
  readonly truePositives: Float64Array;
  /** Cumulative false positives. */
  readonly falsePositives: Float64Array;
  /** The thresholds themselves, descending. */
  readonly thresholds: Float64Array;
}

/** All positives and negatives of a ranking. */
function totals({ truePositives, falsePositives }: Ranking): { readonly positives: number; readonly negatives: number } {
  return { positives: truePositives.at(-1) ?? 0, negatives: falsePositives.at(-1) ?? 0 };
}

/** The ranking of single scores; exact. @param labels 1 for positives, 0 for negatives */
export function rankScores(scores: ArrayLike<number>, labels: ArrayLike<number>): Ranking {
  const order = Uint32Array.from({ length: scores.length }, (_, i) => i).sort((a, b) => scores[b] - scores[a]);
  const truePositives: number[] = [];
  const falsePositives: number[] = [];
  const thresholds: number[] = [];
  let hits = 0;
  let misses = 0;
  order.forEach((index, i) => {
    if (labels[index]) hits++;
    else misses++;
    if (i + 1 < order.length && scores[order[i + 1]] === scores[index]) return;
    truePositives.push(hits);
    falsePositives.push(misses);
    thresholds.push(scores[index]);
  });
  return { truePositives: Float64Array.from(truePositives), falsePositives: Float64Array.from(falsePositives), thresholds: Float64Array.from(thresholds) };
}

/**
 * The ranking of counted scores: all scores of one bin count as tied.
 *
 * @param positives per bin, bins in ascending order of their scores; any non-negative weights
 * @param thresholdOf the lowest score of a bin
 */
export function rankHistogram(positives: ArrayLike<number>, negatives: ArrayLike<number>, thresholdOf: (bin: number) => number): Ranking {
  const bins: number[] = [];
  for (let bin = positives.length - 1; bin >= 0; bin--) if (positives[bin] > 0 || negatives[bin] > 0) bins.push(bin);
  const truePositives = new Float64Array(bins.length);
  const falsePositives = new Float64Array(bins.length);
  let hits = 0;
  let misses = 0;
  bins.forEach((bin, i) => {
    hits += positives[bin];
    misses += negatives[bin];
    truePositives[i] = hits;
    falsePositives[i] = misses;
  });
  return { truePositives, falsePositives, thresholds: Float64Array.from(bins, thresholdOf) };
}

/**
 * Area under the receiver operating characteristic (sklearn.metrics.roc_auc_score).
 *
 * @returns undefined where there are no positives or no negatives
 */
export function auroc(ranking: Ranking): number | undefined {
  const { positives, negatives } = totals(ranking);
  if (positives === 0 || negatives === 0) return undefined;
  let area = 0;
  let lastHits = 0;
  let lastMisses = 0;
  for (let i = 0; i < ranking.truePositives.length; i++) {
    const hits = ranking.truePositives[i];
    const misses = ranking.falsePositives[i];
    area += ((misses - lastMisses) * (hits + lastHits)) / 2;
    lastHits = hits;
    lastMisses = misses;
  }
  return area / (positives * negatives);
}

/**
 * Average precision (sklearn.metrics.average_precision_score): precision weighted by the gain in recall.
 *
 * @returns undefined where there are no positives or no negatives
 */
export function averagePrecision(ranking: Ranking): number | undefined {
  const { positives, negatives } = totals(ranking);
  if (positives === 0 || negatives === 0) return undefined;
  let sum = 0;
  let lastHits = 0;
  for (let i = 0; i < ranking.truePositives.length; i++) {
    const hits = ranking.truePositives[i];
    sum += (hits - lastHits) * (hits / (hits + ranking.falsePositives[i]));
    lastHits = hits;
  }
  return sum / positives;
}

/**
 * The largest F1 over all thresholds (from sklearn.metrics.precision_recall_curve).
 *
 * @returns undefined where there are no positives or no negatives
 */
export function f1Max(ranking: Ranking): { readonly f1: number; readonly threshold: number } | undefined {
  const { positives, negatives } = totals(ranking);
  if (positives === 0 || negatives === 0) return undefined;
  let best = { f1: 0, threshold: ranking.thresholds[0] };
  for (let i = 0; i < ranking.truePositives.length; i++) {
    const hits = ranking.truePositives[i];
    // 2TP / (2TP + FP + FN) with TP + FN = positives.
    const f1 = (2 * hits) / (hits + ranking.falsePositives[i] + positives);
    if (f1 > best.f1) best = { f1, threshold: ranking.thresholds[i] };
  }
  return best;
}

/**
 * Area under the per-region overlap curve up to a false positive rate (AUPRO), divided by that rate: MVTec's own
 * definition, with the curve cut off by linear interpolation.
 *
 * @param ranking its true positives are the overlaps: each defect region adds 1 in total, spread evenly over its pixels;
 *   its false positives are pixels of no defect
 * @returns undefined where there are no regions or no normal pixels
 */
export function aupro(ranking: Ranking, limit = 0.3): number | undefined {
  const { positives, negatives } = totals(ranking);
  if (positives === 0 || negatives === 0) return undefined;
  let area = 0;
  let lastRate = 0;
  let lastOverlap = 0;
  for (let i = 0; i < ranking.truePositives.length; i++) {
    const rate = ranking.falsePositives[i] / negatives;
    const overlap = ranking.truePositives[i] / positives;
    if (rate >= limit) {
      const share = rate === lastRate ? 0 : (limit - lastRate) / (rate - lastRate);
      area += ((limit - lastRate) * (lastOverlap + lastOverlap + share * (overlap - lastOverlap))) / 2;
      return area / limit;
    }
    area += ((rate - lastRate) * (overlap + lastOverlap)) / 2;
    lastRate = rate;
    lastOverlap = overlap;
  }
  return area / limit;
}

/** Points of the receiver operating characteristic, for drawing: false and true positive rates, from (0, 0) on. */
export function rocCurve(ranking: Ranking): [falsePositiveRate: number, truePositiveRate: number][] {
  const { positives, negatives } = totals(ranking);
  return [[0, 0], ...Array.from(ranking.truePositives, (hits, i): [number, number] => [ranking.falsePositives[i] / negatives, hits / positives])];
}
