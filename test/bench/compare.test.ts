import { median } from 'simple-statistics';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ceilingsVersion } from '../../src/bench/bench.ts';
import type { BenchFile, MeasuredCase } from '../../src/bench/bench_file.ts';
import { checkCases, checkClock, compareBenches, compareRounds, comparisonNotes } from '../../src/bench/compare.ts';
import { type Round, roundCount } from '../../src/bench/rounds.ts';
import { UserError } from '../../src/errors.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { errorOf } from '../support/errors.ts';

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

test('of chosen variants a case is compared with itself in another variant, and the change of variant is named', async () => {
  const old = [{ ...caseOf(0), variant: 'subgroup', rounds: [round(1)] }, { ...caseOf(1), rounds: [round(1)] }];
  const fresh = [{ ...caseOf(0), variant: 'workgroup', rounds: [round(20)] }, { ...caseOf(1), rounds: [round(1)] }];
  const comparison = await compareBenches(old, fresh, async () => round(20), true);
  assert.equal(comparison.cases.map(({ measured, variantBefore, verdict }) => [measured.op, measured.variant, variantBefore, verdict]), [['op 0', 'workgroup', 'subgroup', 'slower'], ['op 1', 'only', 'only', 'same']]);
  assert.equal([comparison.unknown, comparison.missing], [[], []]);
  assert.equal(comparisonNotes(comparison, () => true), ['Another variant is chosen now:\n  op 0, case, f32: workgroup, then subgroup']);
  const byVariant = await compareBenches(old, fresh, async () => round(20));
  assert.equal(byVariant.cases.map(({ measured }) => measured.op), ['op 1']);
  assert.equal([byVariant.unknown, byVariant.missing].map(([{ variant }]) => variant), ['workgroup', 'subgroup']);
});

test('cases of one side only are named, those of ops that nobody asked for are counted', async () => {
  const old = [0, 1, 2, 3].map((i) => ({ ...caseOf(i), rounds: [round(1)] }));
  const fresh = [{ ...caseOf(0), rounds: [round(1)] }, { ...caseOf(7), rounds: [round(1)] }];
  const comparison = await compareBenches(old, fresh, async () => round(1));
  assert.equal(comparison.missing.map(({ op }) => op), ['op 1', 'op 2', 'op 3']);
  assert.equal(comparisonNotes(comparison, (op) => op !== 'op 3'), [
    'Not in the old file, or there with another count of operations or bytes:\n  op 7, case, f32 (only)',
    'In the old file, but not measured now:\n  op 1, case, f32 (only)\n  op 2, case, f32 (only)',
    '1 more in the old file is of ops that were not asked for',
  ]);
  const many = Array.from({ length: 25 }, (_, i) => ({ ...caseOf(i), rounds: [round(1)] }));
  const [list] = comparisonNotes(await compareBenches(many, [], async () => round(1)), () => true);
  assert.is(list.split('\n').length, 22);
  assert.match(list, /op 19, case, f32 \(only\)\n {2}5 more$/);
});

test('a bench that nothing can be held against is refused before anything is measured', async () => {
  const results = ['subgroup', 'workgroup'].map((variant) => ({ ...caseOf(0), variant, rounds: [round(1)] }));
  const old: BenchFile = { adapter: 'some adapter', dawn: '1.2.3', date: '2026-11-24T00:00:00.000Z', clock: 'gpu', ceilings: { gigabytes: 9, gigaflops: 10, version: ceilingsVersion }, results };
  checkClock('old.json', old, 'gpu');
  checkClock('old.json', { ...old, clock: 'wall' }, 'wall');
  checkCases('old.json', old, [{ op: 'op 0', case: 'case' }], false);
  checkCases('old.json', { ...old, results: results.slice(1) }, [{ op: 'op 0', case: 'case' }], true);
  for (const [check, message] of [
    [() => checkClock('old.json', old, 'wall'), /its times are of the adapter's clock, those of now would be of the wall clock: .* Measure again with --json\./],
    [() => checkClock('old.json', { ...old, clock: 'wall' }, 'gpu'), /its times are of the wall clock, those of now would be of the adapter's clock/],
    [() => checkCases('old.json', old, [{ op: 'op 0', case: 'other' }], false), /nothing can be compared: .* It has op 0, case, f32 \(subgroup\); op 0, case, f32 \(workgroup\)\./],
    [() => checkCases('old.json', { ...old, results: [] }, [{ op: 'op 0', case: 'case' }], false), /It has nothing\./],
    [() => checkCases('old.json', old, [{ op: 'op 0', case: 'case' }], true), /it has several variants of op 0, case, f32, and does not say which of them a model ran\. Leave --chosen out/],
  ] as const) {
    const error = await errorOf(check);
    assert.instance(error, UserError);
    assert.match(error.message, /^--compare old\.json: /);
    assert.match(error.message, message);
  }
});

test.run();
