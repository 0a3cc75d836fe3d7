import { median, quantile } from 'simple-statistics';
import { type BenchFile, type Clock, type MeasuredCase, compareProblem } from './bench_file.ts';
import type { Round } from './rounds.ts';

/** What tells the cases of a file apart. */
export type CaseName = Pick<MeasuredCase, 'op' | 'case' | 'variant' | 'dtype'>;

/** Text that a case has in both files. @param anyVariant whether it is the same case in another variant */
export function caseKey({ op, case: name, variant, dtype }: CaseName, anyVariant = false): string {
  return [op, name, ...(anyVariant ? [] : [variant]), dtype].join(' | ');
}

/** A case as people read it. */
function caseText({ op, case: name, variant, dtype }: CaseName): string {
  return `${op}, ${name}, ${dtype} (${variant})`;
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
  /** Variant in the old file: another than now only where any is compared with any. */
  readonly variantBefore: string;
}

/** Result of `compareBenches`. */
export interface BenchComparison {
  readonly cases: readonly ComparedCase[];
  /** Cases of the new measurement that the old one lacks or has with other sizes. */
  readonly unknown: readonly MeasuredCase[];
  /** Cases of the old measurement that the new one lacks. */
  readonly missing: readonly MeasuredCase[];
  /** Cases that looked changed but were not when measured again. */
  readonly cleared: number;
}

/**
 * Refuses an old bench whose times are of another clock.
 *
 * @param file its name, for the error
 * @param clock whose clock the new times will be read from
 * @throws UserError naming the file and what to do
 */
export function checkClock(file: string, { clock: before }: BenchFile, clock: Clock): void {
  const names: Readonly<Record<Clock, string>> = { gpu: 'the adapter\'s clock', wall: 'the wall clock' };
  if (before !== clock) throw compareProblem(file, `its times are of ${names[before]}, those of now would be of ${names[clock]}: the difference says nothing about kernels. Measure again with --json.`);
}

/**
 * Refuses an old bench that has nothing to hold new times against, before these are measured.
 *
 * @param file its name, for the error
 * @param wanted the cases that will be measured
 * @param anyVariant as `compareBenches` takes it: then the old bench must have one variant of each case
 * @throws UserError naming the file and what to do
 */
export function checkCases(file: string, old: BenchFile, wanted: readonly Pick<CaseName, 'op' | 'case'>[], anyVariant: boolean): void {
  const withoutType = ({ op, case: name }: Pick<CaseName, 'op' | 'case'>): string => `${op} | ${name}`;
  const names = new Set(wanted.map(withoutType));
  const common = old.results.filter((result) => names.has(withoutType(result)));
  if (!common.length) throw compareProblem(file, `nothing can be compared: it has none of the cases that would be measured. It has ${listed(old.results.map(caseText), '; ', 5)}.`);
  if (!anyVariant) return;
  const variants = new Map<string, string>();
  for (const result of common) {
    const key = caseKey(result, true);
    if ((variants.get(key) ?? result.variant) !== result.variant) {
      throw compareProblem(file, `it has several variants of ${result.op}, ${result.case}, ${result.dtype}, and does not say which of them a model ran. Leave --chosen out, or measure again with --chosen --json.`);
    }
    variants.set(key, result.variant);
  }
}

/** The first words of a list, and how many more there are; "nothing" of an empty one. */
function listed(words: readonly string[], separator: string, most: number): string {
  if (!words.length) return 'nothing';
  return [...words.slice(0, most), ...(words.length > most ? [`${words.length - most} more`] : [])].join(separator);
}

/**
 * What a comparison says beside its table of changes, one line each: where another variant is chosen now, and the cases of one
 * side only, by name.
 *
 * @param isAskedFor whether the new bench was to have cases of an op: the old one may have many others
 */
export function comparisonNotes({ cases, unknown, missing }: BenchComparison, isAskedFor: (op: string) => boolean): string[] {
  const lacking = missing.filter(({ op }) => isAskedFor(op));
  const others = missing.length - lacking.length;
  const list = (title: string, names: readonly string[]): string[] => (names.length ? [`${title}:\n  ${listed(names, '\n  ', 20)}`] : []);
  return [
    ...list('Another variant is chosen now', cases.flatMap(({ measured: { op, case: name, dtype, variant }, variantBefore }) => (variant === variantBefore ? [] : [`${op}, ${name}, ${dtype}: ${variant}, then ${variantBefore}`]))),
    ...list('Not in the old file, or there with another count of operations or bytes', unknown.map(caseText)),
    ...list('In the old file, but not measured now', lacking.map(caseText)),
    ...(others ? [`${others} more in the old file ${others === 1 ? 'is' : 'are'} of ops that were not asked for`] : []),
  ];
}

/**
 * Compares all cases of two benches. What looks changed is measured again, several times, all such cases in turns; it counts
 * as changed only if those runs say so together and all rounds but one lie on that side: work beside the benchmark comes and
 * goes, a change of the kernel stays.
 *
 * @param remeasure one more round of a case of the new bench, by its index
 * @param anyVariant compare a case with itself in whatever variant the other bench has it. For benches of chosen variants: an edited
 *   kernel can bring about another choice, and a model that is slower for it is slower
 */
export async function compareBenches(old: readonly MeasuredCase[], fresh: readonly MeasuredCase[], remeasure: (index: number) => Promise<Round>, anyVariant = false): Promise<BenchComparison> {
  const known = new Map(old.map((result) => [caseKey(result, anyVariant), result]));
  const measuredNow = new Set(fresh.map((result) => caseKey(result, anyVariant)));
  const earlier = fresh.map((result) => {
    const match = known.get(caseKey(result, anyVariant));
    return match && match.flops === result.flops && match.bytes === result.bytes ? match : undefined;
  });
  const compared = fresh.map((result, i) => earlier[i] && { measured: result, variantBefore: earlier[i].variant, ...compareRounds(earlier[i].rounds, result.rounds) });
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
    if (confirmed.verdict === compared[i]!.verdict) compared[i] = { ...compared[i]!, ...confirmed };
    else clear(i);
  }
  return {
    cases: compared.filter((result) => result !== undefined),
    unknown: fresh.filter((_, i) => !earlier[i]),
    missing: old.filter((result) => !measuredNow.has(caseKey(result, anyVariant))),
    cleared,
  };
}

/** Whether one round lies on a side of the old runs' middle half, the adapter's drift allowed for. */
function isBeyond(before: readonly Round[], round: Round, side: Verdict): boolean {
  const [low, high] = driftBetween(before, [round]);
  const time = median([...round.times]);
  const old = timesOf(before);
  return side === 'slower' ? time / high > quantile(old, 0.75) : time / low < quantile(old, 0.25);
}
