import { median, quantile } from 'simple-statistics';
import type { MeasuredCase } from './bench_file.ts';
import type { Round } from './rounds.ts';

/** Text that a case has in both files. */
export function caseKey({ op, case: name, variant, dtype }: Pick<MeasuredCase, 'op' | 'case' | 'variant' | 'dtype'>): string {
  return [op, name, variant, dtype].join(' | ');
}

/** A smaller change is never called one: memory that lies elsewhere in another process moves times that far. */
const leastEffect = 0.05;
/** A case that looks changed is measured so many more times; only these runs decide. */
const confirmations = 5;
/** Of these, so many may lie among the old runs: one alone may be hit by something short. */
const doubtful = 1;

export type Verdict = 'slower' | 'faster' | 'same';

/** Two measurements of a case held against each other. */
export interface Comparison {
  readonly verdict: Verdict;
  /** Median milliseconds. */
  readonly before: number;
  readonly after: number;
  /** How many times slower the adapter itself was after than before: smallest and largest estimate, 1 always among them. */
  readonly drift: readonly [low: number, high: number];
}

function timesOf(rounds: readonly Round[]): number[] {
  return rounds.flatMap(({ times }) => times);
}

/**
 * How much slower the adapter itself got. Its two ceilings, measured around each round, need not agree, and a kernel may be
 * hit by other work as neither is: a change has to show under each of them, and without.
 */
function driftBetween(before: readonly Round[], after: readonly Round[]): [number, number] {
  const ratio = (of: 'copy' | 'multiplyAdd'): number => median(after.map((round) => round[of])) / median(before.map((round) => round[of]));
  const estimates = [1, ratio('copy'), ratio('multiplyAdd')];
  return [Math.min(...estimates), Math.max(...estimates)];
}

/**
 * Tells a change from noise. Quartiles of all runs are compared, which a few disturbed ones do not move: slower is where the
 * fast quarter of the new runs lies above the slow quarter of the old ones, after allowing for the adapter's drift, by the
 * least effect or, where the drift is larger, by as much as that again.
 */
export function compareRounds(before: readonly Round[], after: readonly Round[]): Comparison {
  const [old, fresh] = [timesOf(before), timesOf(after)];
  const drift = driftBetween(before, after);
  const margin = Math.max(1 + leastEffect, drift[1] / drift[0]);
  let verdict: Verdict = 'same';
  if (quantile(fresh, 0.25) / drift[1] > quantile(old, 0.75) * margin) verdict = 'slower';
  else if (quantile(fresh, 0.75) / drift[0] < quantile(old, 0.25) / margin) verdict = 'faster';
  return { verdict, before: median(old), after: median(fresh), drift };
}

/** A case that is in both files. */
export interface ComparedCase extends Comparison {
  readonly measured: MeasuredCase;
}

/** Result of `compareBenches`. */
export interface BenchComparison {
  readonly cases: readonly ComparedCase[];
  /** Cases of the new measurement that the old one lacks or has with other sizes. */
  readonly unknown: readonly MeasuredCase[];
  /** Cases that looked changed but were not when measured again. */
  readonly cleared: number;
}

/**
 * Compares all cases of two benches. What looks changed is measured again, several times, all such cases in turns; it counts
 * as changed only if those runs say so together and all rounds but one lie on that side: work beside the benchmark comes and
 * goes, a change of the kernel stays.
 *
 * @param remeasure one more round of a case of the new bench, by its index
 */
export async function compareBenches(old: readonly MeasuredCase[], fresh: readonly MeasuredCase[], remeasure: (index: number) => Promise<Round>): Promise<BenchComparison> {
  const known = new Map(old.map((result) => [caseKey(result), result]));
  const earlier = fresh.map((result) => {
    const match = known.get(caseKey(result));
    return match && match.flops === result.flops && match.bytes === result.bytes ? match : undefined;
  });
  const compared = fresh.map((result, i) => earlier[i] && { measured: result, ...compareRounds(earlier[i].rounds, result.rounds) });
  const suspects = new Map<number, { readonly rounds: Round[]; among: number }>();
  for (const [i, result] of compared.entries()) if (result && result.verdict !== 'same') suspects.set(i, { rounds: [], among: 0 });
  let cleared = 0;
  const clear = (i: number): void => {
    suspects.delete(i);
    compared[i] = { ...compared[i]!, verdict: 'same' };
    cleared++;
  };
  for (let turn = 0; turn < confirmations; turn++) {
    for (const [i, suspect] of suspects) {
      const round = await remeasure(i);
      suspect.rounds.push(round);
      if (!isBeyond(earlier[i]!.rounds, round, compared[i]!.verdict) && ++suspect.among > doubtful) clear(i);
    }
  }
  for (const [i, { rounds }] of suspects) {
    const confirmed = compareRounds(earlier[i]!.rounds, rounds);
    if (confirmed.verdict === compared[i]!.verdict) compared[i] = { measured: fresh[i], ...confirmed };
    else clear(i);
  }
  return { cases: compared.filter((result) => result !== undefined), unknown: fresh.filter((_, i) => !earlier[i]), cleared };
}

/** Whether one round lies on a side of the old runs' middle half, the adapter's drift allowed for. */
function isBeyond(before: readonly Round[], round: Round, side: Verdict): boolean {
  const [low, high] = driftBetween(before, [round]);
  const time = median([...round.times]);
  const old = timesOf(before);
  return side === 'slower' ? time / high > quantile(old, 0.75) : time / low < quantile(old, 0.25);
}
