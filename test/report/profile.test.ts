import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type TimedRun, busyNanoseconds, groupTimes, idleNanoseconds, layerOf, profileText, sharesOutsideKernels, typicalRun } from '../../src/report/profile.ts';
import { type TraceEvent, chromeTrace } from '../../src/report/trace.ts';
import { type KernelTime, joinTimes } from '../../src/tensor/program.ts';
import { errorOf } from '../support/errors.ts';
import { assertTrace } from '../support/trace.ts';

/** A kernel that ran at a time, in microseconds. */
function kernel(name: string, scope: string, start: number, duration: number, aliveBytes = 0): KernelTime {
  return { kernel: name, op: name.split('/')[0], scope, variant: 'plain', start: 1000 * start, nanoseconds: 1000 * duration, aliveBytes };
}

const run = [
  kernel('resize/x', 'resize', 0, 2, 10),
  kernel('gemm/tiled', 'first pass/layer 1/attention', 3, 4, 50),
  kernel('gemm/tiled', 'first pass/layer 1/mlp', 7, 5, 70),
  kernel('add/x', 'first pass/layer 2', 12, 3, 20),
  kernel('gemm/tiled', 'first pass/layer 1/mlp/backward', 15, 1, 30),
  kernel('adam/x', '', 20, 2, 0),
];

test('time between kernels is what they do not take', () => {
  assert.is(busyNanoseconds(run), 17000);
  assert.is(idleNanoseconds(run), 5000);
  assert.is(busyNanoseconds([]), 0);
  assert.is(idleNanoseconds([]), 0);
});

test('groups keep the order of their first kernel and add up', () => {
  assert.equal(groupTimes(run, ({ kernel: name }) => name), [
    { name: 'resize/x', dispatches: 1, nanoseconds: 2000, aliveBytes: 10 },
    { name: 'gemm/tiled', dispatches: 3, nanoseconds: 10000, aliveBytes: 70 },
    { name: 'add/x', dispatches: 1, nanoseconds: 3000, aliveBytes: 20 },
    { name: 'adam/x', dispatches: 1, nanoseconds: 2000, aliveBytes: 0 },
  ]);
});

test('layers are scopes down to a depth, with the direction apart', () => {
  assert.equal(run.map((time) => layerOf(time, 2)), ['resize', 'first pass/layer 1', 'first pass/layer 1', 'first pass/layer 2', 'first pass/layer 1 (backward)', 'outside of layers']);
  assert.is(layerOf(run[2], 1), 'first pass');
  assert.is(layerOf({ scope: 'text/layer 2/mlp/again' }, 3), 'text/layer 2/mlp (again)');
});

test('the share outside of kernels is the median over the runs, within the timed ones and against the plain ones', () => {
  const timed = (busy: number, wallMilliseconds: number): TimedRun => ({ times: [kernel('a', '', 0, busy)], wallMilliseconds });
  const runs = [timed(900, 1.2), timed(1000, 2), timed(750, 1.5)];
  const { timed: within, plain } = sharesOutsideKernels([1, 2, 1], runs);
  assert.ok(Math.abs(within - 0.5) < 1e-12);
  assert.ok(Math.abs(plain - 0.25) < 1e-12);
  // Noise can make the timed run the faster one.
  assert.is(sharesOutsideKernels([1], [timed(1100, 2)]).plain, 0);
  assert.is(typicalRun(runs)[0].nanoseconds, 900000);
});

test('the text has the numbers, the kernels by time and the layers in order', () => {
  const text = profileText({ what: 'detect', adapter: 'a GPU', wallMilliseconds: [0.02, 0.034, 0.04], timedRuns: [1, 2, 3].map(() => ({ times: run, wallMilliseconds: 0.068 })), dispatches: 6, plannedBytes: 120, otherBytes: 3000 }, 2);
  assert.match(text, /^detect, on a GPU\n/);
  assert.match(text, /Wall time +0\.0 ms +median of 3 runs/);
  assert.match(text, /Kernels +0\.017 ms +6 dispatches/);
  assert.match(text, /Outside kernels +75\.0% +of the wall time of runs with every kernel timed, .*; 50\.0% with plain runs/);
  assert.match(text, /Between kernels +22\.7%/);
  assert.match(text, /Memory +120 B +of buffers for intermediates, at most 70 B of them alive \(first pass\/layer 1\/mlp\); weights, inputs and state 3\.0 kB/);
  const rows = [...text.matchAll(/^\| (\S.*?) +\| +(\d+) \| +([\d.]+) \|/gm)].map((match) => match.slice(1, 4));
  assert.equal(rows, [
    ['gemm/tiled', '3', '0.010'],
    ['add/x', '1', '0.003'],
    ['resize/x', '1', '0.002'],
    ['adam/x', '1', '0.002'],
    ['resize', '1', '0.002'],
    ['first pass/layer 1', '2', '0.009'],
    ['first pass/layer 2', '1', '0.003'],
    ['first pass/layer 1 (backward)', '1', '0.001'],
    ['outside of layers', '1', '0.002'],
  ]);
});

test('without timestamps it says what is missing', () => {
  const text = profileText({ what: 'detect', adapter: 'a GPU', wallMilliseconds: [5], timedRuns: undefined, dispatches: 6, plannedBytes: 120, otherBytes: 3000 }, 2);
  assert.match(text, /Wall time +5\.0 ms +one run/);
  assert.match(text, /Dispatches +6/);
  assert.match(text, /no timestamp-query: times of kernels and layers, the share of time outside of kernels and --trace cannot be had/);
  assert.not.match(text, /Outside kernels/);
});

test('programs one after the other are one line of time', () => {
  const joined = joinTimes([[kernel('a', '', 0, 2), kernel('b', '', 3, 2)], [], [kernel('c', '', 0, 1)]]);
  assert.equal(joined.map(({ kernel: name, start }) => [name, start]), [['a', 0], ['b', 3000], ['c', 5000]]);
});

test('a trace has the kernels, the layers around them and memory', () => {
  const trace = JSON.parse(JSON.stringify(chromeTrace(run, { adapter: 'a GPU', what: 'detect' }, 3000))) as { traceEvents: TraceEvent[]; otherData: unknown };
  assertTrace(trace.traceEvents);
  assert.equal(trace.otherData, { adapter: 'a GPU', what: 'detect' });
  const tracks = new Map(trace.traceEvents.filter(({ name }) => name === 'thread_name').map(({ tid, args }) => [args!.name, tid]));
  const onTrack = (track: string): TraceEvent[] => trace.traceEvents.filter(({ ph, tid }) => ph === 'X' && tid === tracks.get(track));
  assert.equal(onTrack('kernels').map(({ name, ts, dur }) => [name, ts, dur]), [['resize/x', 0, 2], ['gemm/tiled', 3, 4], ['gemm/tiled', 7, 5], ['add/x', 12, 3], ['gemm/tiled', 15, 1], ['adam/x', 20, 2]]);
  assert.equal(onTrack('kernels')[1].args, { op: 'gemm', variant: 'plain', scope: 'first pass/layer 1/attention' });
  assert.equal(onTrack('layers').map(({ name, ts, dur }) => [name, ts, dur]), [
    ['resize', 0, 2],
    ['first pass', 3, 13],
    ['layer 1', 3, 9],
    ['attention', 3, 4],
    ['mlp', 7, 5],
    ['layer 2', 12, 3],
    ['layer 1', 15, 1],
    ['mlp', 15, 1],
    ['backward', 15, 1],
  ]);
  assert.equal(trace.traceEvents.filter(({ ph }) => ph === 'C').map(({ ts, args }) => [ts, args!.intermediates, args!['weights and inputs']]), [[0, 10, 3000], [3, 50, 3000], [7, 70, 3000], [12, 20, 3000], [15, 30, 3000], [20, 0, 3000]]);
});

test('a trace that goes back or tears its nesting is seen by this check', async () => {
  const event = (ts: number, dur: number): TraceEvent => ({ name: 'x', ph: 'X', pid: 1, tid: 1, ts, dur });
  assertTrace([event(0, 5), event(1, 2), event(3, 2), event(5, 1)]);
  for (const [events, problem] of [[[event(2, 1), event(1, 1)], /follows/], [[event(0, 2), event(1, 2)], /ends after/]] as const) {
    assert.match((await errorOf(() => assertTrace(events))).message, problem);
  }
});

test.run();
