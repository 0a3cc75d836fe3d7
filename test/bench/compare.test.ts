import { median } from 'simple-statistics';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { MeasuredCase } from '../../src/bench/bench_file.ts';
import { compareBenches, compareRounds } from '../../src/bench/compare.ts';
import { type Round, roundCount } from '../../src/bench/rounds.ts';
import { RandomSource } from '../../src/tensor/random.ts';

/** A shared machine as the benchmark sees it. */
interface Machine {
  /** Relative deviation of single runs. */
  readonly jitter: number;
  /** Relative deviation of a case from process to process: memory lies elsewhere. */
  readonly placement: number;
  /** How much slower other work makes it from round to round, at most; it wanders. */
  readonly load: number;
  /** How unlike the load hits the kernels, relative. */
  readonly unlike: number;
  /** Probability that a single run is hit by something short, which takes half as long again to three times as long. */
  readonly bursts: number;
}

const quiet: Machine = { jitter: 0.02, placement: 0.01, load: 0.02, unlike: 0.005, bursts: 0.02 };
const noisy: Machine = { jitter: 0.06, placement: 0.02, load: 0.5, unlike: 0.08, bursts: 0.1 };

const caseCount = 40;
const caseOf = (i: number): Omit<MeasuredCase, 'rounds'> => ({ op: `op ${i}`, case: 'case', variant: 'only', dtype: 'f32', flops: 1e6 * (i + 1), bytes: 1e5 });

/** One process that benchmarks. @param factors how much slower its cases are than the original kernels */
class Process {
  readonly #random: RandomSource;
  readonly #machine: Machine;
  readonly #placement: number[];
  readonly #factors: ReadonlyMap<number, number>;
  #load: number;
  remeasured = 0;

  constructor(random: RandomSource, machine: Machine, factors: ReadonlyMap<number, number> = new Map()) {
    this.#random = random;
    this.#machine = machine;
    this.#factors = factors;
    this.#placement = Array.from({ length: caseCount }, () => Math.exp(random.normal(0, machine.placement)));
    this.#load = random.uniform(0, machine.load);
  }

  #run(milliseconds: number): number {
    const { jitter, bursts } = this.#machine;
    return milliseconds * Math.exp(Math.abs(this.#random.normal(0, jitter))) * (this.#random.uniform() < bursts ? this.#random.uniform(1.5, 3) : 1);
  }

  round(i: number): Round {
    const { load, unlike } = this.#machine;
    this.#load = Math.min(load, Math.max(0, this.#load + this.#random.normal(0, load / 8)));
    const hit = (): number => 1 + this.#load * Math.exp(this.#random.normal(0, 1)) * unlike + this.#load;
    const own = 0.02 * 1.3 ** i * this.#placement[i] * (this.#factors.get(i) ?? 1) * hit();
    // Three runs before and after, as in measureRound.
    const ceiling = (milliseconds: number): number => {
      const slowed = milliseconds * hit();
      const middle = (): number => median([0, 0, 0].map(() => this.#run(slowed)));
      return (middle() + middle()) / 2;
    };
    return { times: Array.from({ length: 8 }, () => this.#run(own)), copy: ceiling(13), multiplyAdd: ceiling(6) };
  }

  bench(): MeasuredCase[] {
    const rounds = Array.from({ length: roundCount }, () => Array.from({ length: caseCount }, (_, i) => this.round(i)));
    return Array.from({ length: caseCount }, (_, i) => ({ ...caseOf(i), rounds: rounds.map((round) => round[i]) }));
  }

  compareTo(old: readonly MeasuredCase[]) {
    return compareBenches(old, this.bench(), async (i) => {
      this.remeasured++;
      return this.round(i);
    });
  }
}

const tries = 60;

for (const [name, machine] of Object.entries({ quiet, noisy })) {
  test(`unchanged code shows no change in ${tries} pairs of benches of ${caseCount} cases on a ${name} machine`, async () => {
    const random = new RandomSource(1);
    for (let i = 0; i < tries; i++) {
      const old = new Process(random, machine).bench();
      const { cases, unknown } = await new Process(random, machine).compareTo(old);
      assert.is(cases.length, caseCount);
      assert.is(unknown.length, 0);
      const changed = cases.filter(({ verdict }) => verdict !== 'same');
      assert.equal(changed.map(({ measured, verdict, before, after, drift }) => ({ op: measured.op, verdict, before, after, drift })), [], `try ${i}`);
    }
  });
}

test('kernels that are 20% slower or faster are found, each time, and no other', async () => {
  const random = new RandomSource(2);
  for (let i = 0; i < tries; i++) {
    const old = new Process(random, quiet).bench();
    const changes = new Map([[3, 1.2], [17, 1 / 1.2], [29, 1.2]]);
    const { cases } = await new Process(random, quiet, changes).compareTo(old);
    const changed = cases.filter(({ verdict }) => verdict !== 'same');
    assert.equal(changed.map(({ measured, verdict }) => [measured.op, verdict]), [['op 3', 'slower'], ['op 17', 'faster'], ['op 29', 'slower']], `try ${i}`);
    for (const { before, after, verdict } of changed) assert.ok(Math.abs(Math.log(after / before)) > 0.1 && after > before === (verdict === 'slower'));
  }
});

test('a kernel that is three times slower is found on a noisy machine, too, almost each time, and no other', async () => {
  const random = new RandomSource(3);
  let found = 0;
  for (let i = 0; i < tries; i++) {
    const old = new Process(random, noisy).bench();
    const { cases } = await new Process(random, noisy, new Map([[5, 3]])).compareTo(old);
    const changed = cases.filter(({ verdict }) => verdict !== 'same').map(({ measured, verdict }) => `${measured.op} ${verdict}`);
    if (changed.length) assert.equal(changed, ['op 5 slower'], `try ${i}`);
    found += changed.length;
  }
  assert.ok(found >= 0.95 * tries, `${found} of ${tries}`);
});

const round = (milliseconds: number, copy = 10, multiplyAdd = 5): Round => ({ times: [milliseconds * 0.99, milliseconds, milliseconds * 1.01], copy, multiplyAdd });

test('an adapter that as a whole is slower has no slower kernels', () => {
  assert.is(compareRounds([round(2)], [round(3, 15, 7.5)]).verdict, 'same');
  assert.is(compareRounds([round(2)], [round(3, 15, 5)]).verdict, 'same', 'one ceiling is enough to doubt');
  assert.is(compareRounds([round(2)], [round(3)]).verdict, 'slower');
  assert.is(compareRounds([round(2)], [round(1.5, 8, 4)]).verdict, 'same');
  assert.is(compareRounds([round(2)], [round(2, 5, 2.5)]).verdict, 'same', 'a kernel need not gain from a faster adapter');
  assert.is(compareRounds([round(2)], [round(2.06)]).verdict, 'same', 'a small change is none');
});

test('a case that looks slower once is measured again and cleared at the second round that does not', async () => {
  const [old, fresh] = [2, 3].map((milliseconds) => [{ ...caseOf(0), rounds: [round(milliseconds)] }]);
  let turns = 0;
  const { cases, cleared } = await compareBenches(old, fresh, async () => (++turns % 2 ? round(3) : round(2)));
  assert.is(cases[0].verdict, 'same');
  assert.is(cleared, 1);
  assert.is(turns, 4);
  const { cases: kept } = await compareBenches(old, fresh, async () => (++turns === 6 ? round(2) : round(2.8)));
  assert.is(kept[0].verdict, 'slower');
  assert.is(kept[0].after, 2.8, 'only the later rounds count, one of which may be off');
});

test('cases that the old file lacks, or has with other sizes, are not compared', async () => {
  const old = [{ ...caseOf(0), rounds: [round(1)] }, { ...caseOf(1), flops: 7, rounds: [round(1)] }];
  const fresh = [0, 1, 2].map((i) => ({ ...caseOf(i), rounds: [round(9)] }));
  const { cases, unknown } = await compareBenches(old, fresh, async () => round(9));
  assert.equal(cases.map(({ measured }) => measured.op), ['op 0']);
  assert.equal(unknown.map(({ op }) => op), ['op 1', 'op 2']);
});

test.run();
