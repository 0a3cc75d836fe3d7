import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ceilingsVersion, timingOf } from '../../src/bench/bench.ts';
import { readBenchFile, writeBenchFile } from '../../src/bench/bench_file.ts';
import { UserError } from '../../src/errors.ts';
import { errorOf } from '../support/errors.ts';

let folder = '';
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), 'mfp-clip-bench-'));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const result = {
  op: 'gemm',
  case: '5x7x9',
  variant: 'tiled',
  dtype: 'f32',
  flops: 630,
  bytes: 572,
  ...timingOf([2.123456789, 1, 3], [4, 5, 6]),
  rounds: [{ times: [2.123456789, 1, 3], copy: 7, multiplyAdd: 8 }],
};
const bench = { adapter: 'some adapter', dawn: '1.2.3', date: '2026-11-24T00:00:00.000Z', clock: 'gpu' as const, ceilings: { gigabytes: 9, gigaflops: 10, version: ceilingsVersion }, results: [result] };

test('a bench is read as it was written, to five digits', async () => {
  const file = join(folder, 'bench.json');
  await writeBenchFile(file, bench);
  const read = await readBenchFile(file);
  const { times, wallTimes, ...kept } = result;
  assert.equal(read, { ...bench, results: [{ ...kept, milliseconds: 2.1235, spread: 1, rounds: [{ times: [2.1235, 1, 3], copy: 7, multiplyAdd: 8 }] }] });
  assert.is(kept.wallMilliseconds, 5);
});

test('a file whose ceilings other kernels have measured is refused', async () => {
  const file = join(folder, 'old.json');
  for (const version of [undefined, ceilingsVersion - 1]) {
    await writeBenchFile(file, { ...bench, ceilings: { ...bench.ceilings, version: version! } });
    const error = await errorOf(() => readBenchFile(file));
    assert.instance(error, UserError);
    assert.match(error.message, /^--compare .*old\.json: its ceilings were measured by kernels of another version .* Measure again with --json\.$/);
  }
});

test('a file that is no bench is named, with what it lacks', async () => {
  await writeBenchFile(join(folder, 'good.json'), bench);
  const good = JSON.parse(readFileSync(join(folder, 'good.json'), 'utf8'));
  const changed = (change: object): string => JSON.stringify({ ...good, results: [good.results[0], { ...good.results[0], ...change }] });
  for (const [text, message] of [
    ['{"adapter": "x"', /JSON/],
    ['null', /no adapter/],
    ['[]', /no adapter/],
    [JSON.stringify({ ...good, adapter: 3 }), /no adapter/],
    [JSON.stringify({ ...good, date: undefined }), /no adapter, Dawn, date/],
    [JSON.stringify({ ...good, ceilings: { gigabytes: 1 } }), /no ceilings/],
    [JSON.stringify({ ...good, clock: 7 }), /the clock "gpu" or "wall"/],
    [changed({ rounds: undefined }), /result 2 lacks/],
    [changed({ rounds: [] }), /result 2 lacks/],
    [changed({ rounds: [null] }), /result 2 lacks/],
    [changed({ rounds: [{ times: [], copy: 1, multiplyAdd: 1 }] }), /result 2 lacks/],
    [changed({ rounds: [{ times: [1, -1], copy: 1, multiplyAdd: 1 }] }), /result 2 lacks/],
    [changed({ rounds: [{ times: [1], copy: 1 }] }), /result 2 lacks/],
    [changed({ op: 7 }), /result 2 lacks/],
    [JSON.stringify({ ...good, results: [null] }), /result 1 lacks/],
  ] as const) {
    const file = join(folder, 'bad.json');
    writeFileSync(file, text);
    const error = await errorOf(() => readBenchFile(file));
    assert.instance(error, UserError, text);
    assert.match(error.message, /^--compare .*bad\.json: .*It must be a file of mfp-clip bench --json\.$/s, text);
    assert.match(error.message, message, text);
  }
  const error = await errorOf(() => readBenchFile(join(folder, 'none.json')));
  assert.instance(error, UserError);
});

test.run();
