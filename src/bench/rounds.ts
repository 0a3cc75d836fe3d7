import type { Gpu } from '../gpu/device.ts';
import type { BenchCase, Op } from '../tensor/op.ts';
import { type BenchOptions, type BenchResult, type CeilingProbe, type CeilingTimes, benchCase, timingOf } from './bench.ts';

/** One variant of one op on one case. */
export interface BenchJob {
  readonly op: Op<unknown>;
  readonly given: BenchCase<unknown>;
  readonly variant: string;
}

/** Runs of a case that were made together, and how fast the adapter was around them. */
export interface Round extends CeilingTimes {
  /** Milliseconds of each run. */
  readonly times: readonly number[];
}

/** A case measured in several rounds, some time apart: what the machine does beside shows as a difference between them. */
export interface RoundedResult extends BenchResult {
  readonly rounds: readonly Round[];
}

/** Rounds of a benchmark. */
export const roundCount = 3;
/** Runs of each ceiling's kernel in a round of a case. */
const ceilingRuns = 3;

/** Measures a job once, between runs of the ceilings' kernels. */
export async function measureRound(gpu: Gpu, { op, given, variant }: BenchJob, probe: CeilingProbe, options: BenchOptions): Promise<{ result: BenchResult; round: Round }> {
  const before = await probe.sample(ceilingRuns);
  const result = await benchCase(gpu, op, given, variant, options);
  const after = await probe.sample(ceilingRuns);
  return { result, round: { times: result.times, copy: (before.copy + after.copy) / 2, multiplyAdd: (before.multiplyAdd + after.multiplyAdd) / 2 } };
}

/** How long one round of a case takes of the time for the whole case. */
export function roundOptions(seconds: number): BenchOptions {
  return { seconds: seconds / roundCount, runs: 20, leastRuns: 2 };
}

/** Measures all jobs, round after round. @param step called after every round of a job */
export async function benchInRounds(gpu: Gpu, jobs: readonly BenchJob[], probe: CeilingProbe, seconds: number, step: (job: BenchJob) => void): Promise<RoundedResult[]> {
  const measured = jobs.map(() => [] as Awaited<ReturnType<typeof measureRound>>[]);
  for (let round = 0; round < roundCount; round++) {
    for (const [i, job] of jobs.entries()) {
      measured[i].push(await measureRound(gpu, job, probe, roundOptions(seconds)));
      step(job);
    }
  }
  return measured.map((parts) => ({
    ...parts[0].result,
    ...timingOf(parts.flatMap(({ result }) => result.times), parts.flatMap(({ result }) => result.wallTimes)),
    rounds: parts.map(({ round }) => round),
  }));
}
