/**
 * What every ranking metric is computed from: for each distinct threshold, from the highest down, how many positives and
 * negatives score at least as high. Tied scores share a threshold, so nothing depends on their order.
 */
export interface Ranking {
  /** All positives: a count, or a sum of weights. */
  readonly positives: number;
  /** All negatives. */
  readonly negatives: number;
  /**
   * Visits the thresholds in descending order, with the true and false positives at each. What came in since the threshold
   * before is tied, or else it has scores down to this threshold in an unknown order, of which the metrics then take the
   * even one.
   *
   * A walk and not arrays: a data set can have as many thresholds as pixels.
   */
  walk(visit: (threshold: number, truePositives: number, falsePositives: number, tied: boolean) => void): void;
}

/** The metrics of a ranking that look at all of it. */
export interface RankingMetrics {
  /** Area under the receiver operating characteristic (sklearn.metrics.roc_auc_score). */
  readonly auroc: number;
  /** Average precision: precision weighted by the gain in recall (sklearn.metrics.average_precision_score). */
  readonly averagePrecision: number;
  /** The largest F1 over all thresholds (from sklearn.metrics.precision_recall_curve). */
  readonly f1Max: number;
  /** The highest threshold that reaches `f1Max`: what scores at least this much is called abnormal. */
  readonly f1Threshold: number;
}

/** Scores in ascending order. */
export function ascending(scores: Float32Array): Float32Array {
  return scores.every((score, i) => i === 0 || score >= scores[i - 1]) ? scores : scores.slice().sort();
}

/**
 * The ranking of single scores; exact.
 *
 * @param positives in ascending order
 * @param negatives in ascending order
 * @param weights of the positives, in their order; default: 1 each
 */
export function rankScores(positives: Float32Array, negatives: Float32Array, weights?: Float64Array): Ranking {
  return {
    // Summed as the walk sums, so that it ends at exactly this.
    positives: weights ? weights.reduceRight((sum, weight) => sum + weight, 0) : positives.length,
    negatives: negatives.length,
    walk(visit) {
      let p = positives.length - 1;
      let n = negatives.length - 1;
      let hits = 0;
      while (p >= 0 || n >= 0) {
        const threshold = p < 0 ? negatives[n] : n < 0 ? positives[p] : Math.max(positives[p], negatives[n]);
        for (; p >= 0 && positives[p] === threshold; p--) hits += weights ? weights[p] : 1;
        while (n >= 0 && negatives[n] === threshold) n--;
        visit(threshold, hits, negatives.length - 1 - n, true);
      }
    },
  };
}

/** What is known of the scores in a bin. */
export interface Bins {
  /** The lowest score that a bin can have. */
  thresholdOf(bin: number): number;
  /** Whether all scores in the bin are the same. */
  tied(bin: number): boolean;
}

/**
 * The ranking of counted scores.
 *
 * @param positives per bin, bins in ascending order of their scores; any non-negative weights
 * @param negatives per bin
 */
export function rankHistogram(positives: Float64Array, negatives: Float64Array, bins: Bins): Ranking {
  const sum = (counts: Float64Array): number => counts.reduceRight((total, count) => total + count, 0);
  return {
    positives: sum(positives),
    negatives: sum(negatives),
    walk(visit) {
      let hits = 0;
      let misses = 0;
      for (let bin = positives.length - 1; bin >= 0; bin--) {
        if (positives[bin] === 0 && negatives[bin] === 0) continue;
        hits += positives[bin];
        misses += negatives[bin];
        visit(bins.thresholdOf(bin), hits, misses, bins.tied(bin));
      }
    },
  };
}

/** @returns undefined where there are no positives or no negatives: nothing is ranked then */
export function rankingMetrics(ranking: Ranking): RankingMetrics | undefined {
  const { positives, negatives } = ranking;
  if (positives === 0 || negatives === 0) return undefined;
  let area = 0;
  let precision = 0;
  let f1Max = 0;
  let f1Threshold = Number.NaN;
  let lastHits = 0;
  let lastMisses = 0;
  ranking.walk((threshold, hits, misses, tied) => {
    area += ((misses - lastMisses) * (hits + lastHits)) / 2;
    precision += tied ? (hits - lastHits) * (hits / (hits + misses)) : precisionInBetween(lastHits, lastMisses, hits, misses);
    // 2TP / (2TP + FP + FN) with TP + FN = positives.
    const f1 = (2 * hits) / (hits + misses + positives);
    if (f1 > f1Max) {
      f1Max = f1;
      f1Threshold = threshold;
    }
    lastHits = hits;
    lastMisses = misses;
  });
  return { auroc: area / (positives * negatives), averagePrecision: precision / positives, f1Max, f1Threshold };
}

/**
 * The sum of the precisions at each of the positives between two thresholds, if the negatives in between are spread evenly
 * among them. Counting them as tied instead would take the precision behind all of them: an error of the first order in
 * the width of the bins, where this has one of the second.
 *
 * The i-th of `a` positives has b·i / (a + 1) of the `b` negatives before it, so with h hits and m misses before the bin its
 * precision is (h + i) / (h + m + c·i), c = 1 + b / (a + 1). The sum over i = 1..a is taken as the integral from 1/2 to
 * a + 1/2.
 */
function precisionInBetween(lastHits: number, lastMisses: number, hits: number, misses: number): number {
  const a = hits - lastHits;
  const b = misses - lastMisses;
  if (a === 0) return 0;
  const c = 1 + b / (a + 1);
  const before = lastHits + lastMisses;
  return a / c + ((lastHits - before / c) / c) * Math.log1p((c * a) / (before + c / 2));
}

/** The false positive rate up to which the per-region overlap is integrated. */
export const proLimit = 0.3;

/**
 * Area under the per-region overlap curve up to a false positive rate (AUPRO), divided by that rate: MVTec's own
 * definition, with the curve cut off by linear interpolation.
 *
 * @param ranking its positives are the overlaps: each defect region adds 1 in total, spread evenly over its pixels; its
 *   negatives are the pixels of no defect
 * @returns undefined where there are no regions or no normal pixels
 */
export function aupro(ranking: Ranking, limit = proLimit): number | undefined {
  const { positives, negatives } = ranking;
  if (positives === 0 || negatives === 0) return undefined;
  let area = 0;
  let lastRate = 0;
  let lastOverlap = 0;
  ranking.walk((_, hits, misses) => {
    const rate = misses / negatives;
    const overlap = hits / positives;
    if (lastRate >= limit) return;
    if (rate > limit) {
      const atLimit = lastOverlap + ((overlap - lastOverlap) * (limit - lastRate)) / (rate - lastRate);
      area += ((limit - lastRate) * (lastOverlap + atLimit)) / 2;
    } else area += ((rate - lastRate) * (overlap + lastOverlap)) / 2;
    lastRate = rate;
    lastOverlap = overlap;
  });
  return area / limit;
}

/** Points of a curve, for drawing. */
export type Curve = readonly (readonly [x: number, y: number])[];

/**
 * Receiver operating characteristic for drawing, from (0, 0) on: true over false positive rate, or, of a ranking whose
 * positives are overlaps, the per-region overlap curve. Points that no eye can tell apart are left out.
 *
 * @param limit where to stop, in false positive rate; the curve ends with an interpolated point there
 * @returns empty where there are no positives or no negatives
 */
export function rocCurve(ranking: Ranking, limit = 1): Curve {
  const { positives, negatives } = ranking;
  if (positives === 0 || negatives === 0) return [];
  const curve = new ThinCurve(limit);
  curve.add(0, 0);
  ranking.walk((_, hits, misses) => curve.add(misses / negatives, hits / positives));
  return curve.finish();
}

/** Precision over recall for drawing, from the highest threshold on. @returns empty where there are no positives or no negatives */
export function precisionRecallCurve(ranking: Ranking): Curve {
  const { positives, negatives } = ranking;
  if (positives === 0 || negatives === 0) return [];
  const curve = new ThinCurve(1);
  ranking.walk((_, hits, misses) => curve.add(hits / positives, hits / (hits + misses)));
  return curve.finish();
}

/** Steps that a curve's point must be away from the last one, as a share of the axes. */
const curveStep = 1 / 100;

/** Collects a curve with x ascending, and keeps only the points that change what is drawn. */
class ThinCurve {
  readonly #limit: number;
  readonly #points: [number, number][] = [];
  #last: [number, number] | undefined;
  #ended = false;

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(x: number, y: number): void {
    if (this.#ended) return;
    let point: [number, number] = [x, y];
    if (x > this.#limit) {
      const [x0, y0] = this.#last!;
      point = [this.#limit, y0 + ((y - y0) * (this.#limit - x0)) / (x - x0)];
      this.#ended = true;
    }
    const kept = this.#points.at(-1);
    if (!kept || this.#far(kept, point)) {
      // Before a jump its foot is kept, or the line would be drawn from further away.
      if (this.#last && kept !== this.#last && this.#far(this.#last, point)) this.#points.push(this.#last);
      this.#points.push(point);
      this.#last = point;
    } else this.#last = point;
  }

  #far([x0, y0]: readonly [number, number], [x1, y1]: readonly [number, number]): boolean {
    return Math.abs(x1 - x0) >= curveStep * this.#limit || Math.abs(y1 - y0) >= curveStep;
  }

  finish(): Curve {
    if (this.#last && this.#last !== this.#points.at(-1)) this.#points.push(this.#last);
    return this.#points.map(([x, y]) => [rounded(x), rounded(y)] as const);
  }
}

/** Five digits behind the point: finer than any drawing. */
function rounded(value: number): number {
  return Math.round(value * 1e5) / 1e5;
}

/** Counts of scores from 0 to 1, for drawing. */
export interface ScoreDistribution {
  /** Per equal part of [0, 1], the last one with 1. */
  readonly normal: readonly number[];
  readonly abnormal: readonly number[];
}

/** Counts of a ranking's scores in `parts` equal parts of [0, 1]. */
export function scoreDistribution(ranking: Ranking, parts = 50): ScoreDistribution {
  const normal: number[] = new Array(parts).fill(0);
  const abnormal: number[] = new Array(parts).fill(0);
  let lastHits = 0;
  let lastMisses = 0;
  ranking.walk((threshold, hits, misses) => {
    const part = Math.min(parts - 1, Math.max(0, Math.floor(threshold * parts)));
    abnormal[part] += hits - lastHits;
    normal[part] += misses - lastMisses;
    lastHits = hits;
    lastMisses = misses;
  });
  return { normal, abnormal };
}
