import { readFile } from 'node:fs/promises';
import { UserError } from '../errors.ts';
import { writeFileAtomic } from '../io/files.ts';
import { type BenchResult, type Ceilings, ceilingsVersion } from './bench.ts';
import type { Round, RoundedResult } from './rounds.ts';

/** What `--compare` needs of a case. */
export interface MeasuredCase extends Pick<BenchResult, 'op' | 'case' | 'variant' | 'dtype' | 'flops' | 'bytes'> {
  readonly rounds: readonly Round[];
}

/** Whose clock times are read from: the adapter's, which has the kernels alone, or the wall clock, which has all until they are done. */
export type Clock = 'gpu' | 'wall';

/** What `bench --json` writes. */
export interface BenchFile<Result extends MeasuredCase = MeasuredCase> {
  /** Adapter and driver, as `Gpu.key` has them. */
  readonly adapter: string;
  /** Version of the package `webgpu`. */
  readonly dawn: string;
  readonly date: string;
  /** Of the times of all cases. */
  readonly clock: Clock;
  readonly ceilings: Ceilings;
  readonly results: readonly Result[];
}

/** Writes a bench: sums for people and their scripts, and the runs of each round for `--compare`. */
export function writeBenchFile(file: string, bench: BenchFile<RoundedResult>): Promise<void> {
  // Five digits are more than a clock gives.
  const digits = (_key: string, value: unknown): unknown => (typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value);
  const { results, ...head } = bench;
  const fields = Object.entries(head).map(([name, value]) => ` ${JSON.stringify(name)}: ${JSON.stringify(value, digits)},\n`);
  // A line for each case.
  const lines = results.map(({ times, wallTimes, ...result }) => `  ${JSON.stringify(result, digits)}`);
  return writeFileAtomic(file, `{\n${fields.join('')} "results": [\n${lines.join(',\n')}\n ]\n}\n`);
}

/** The error about the file of `--compare`. */
export function compareProblem(file: string, problem: string): UserError {
  return new UserError(`--compare ${file}: ${problem}`);
}

/** @throws UserError naming the file and what it lacks */
export async function readBenchFile(file: string): Promise<BenchFile> {
  const fail = (problem: string): UserError => compareProblem(file, `${problem}. It must be a file of mfp-clip bench --json.`);
  let parsed: BenchFile;
  try {
    parsed = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw fail((error as Error).message);
  }
  const positive = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value > 0;
  const named = ['adapter', 'dawn', 'date'].every((field) => typeof parsed?.[field as 'adapter'] === 'string');
  if (!named || !Array.isArray(parsed.results)) throw fail('there is no adapter, Dawn, date or list of results in it');
  if (!positive(parsed.ceilings?.gigabytes) || !positive(parsed.ceilings.gigaflops)) throw fail('there are no ceilings in it');
  if (parsed.ceilings.version !== ceilingsVersion) throw compareProblem(file, `its ceilings were measured by kernels of another version of mfp-clip, so that the adapter's drift since then cannot be told. Measure again with --json.`);
  if (parsed.clock !== 'gpu' && parsed.clock !== 'wall') throw fail('it does not say whether its times are of the clock "gpu" or "wall"');
  for (const [i, result] of (parsed.results as Partial<MeasuredCase>[]).entries()) {
    const isNamed = ['op', 'case', 'variant', 'dtype'].every((field) => typeof result?.[field as 'op'] === 'string');
    const rounds: unknown = result?.rounds;
    const measured =
      Array.isArray(rounds) &&
      rounds.length > 0 &&
      rounds.every((round: Partial<Round> | null) => Array.isArray(round?.times) && round.times.length > 0 && round.times.every(positive) && positive(round.copy) && positive(round.multiplyAdd));
    if (!isNamed || !measured || typeof result.flops !== 'number' || typeof result.bytes !== 'number') throw fail(`result ${i + 1} lacks its name or its rounds of times`);
  }
  return parsed;
}
