import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { opsWithFiles } from '../../src/bench/registry.ts';
import { repeatOnChange, testsOf, watchOps } from '../../src/bench/watch.ts';
import { UserError } from '../../src/errors.ts';
import { errorOf } from '../support/errors.ts';

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'mfp-clip-watch-test-'));
  mkdirSync(join(folder, 'family'));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

/** Waits until something holds; the test's runner ends a wait without end. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(10);
}

test('changes of watched files start the work, those that come together once', async () => {
  const stop = new AbortController();
  const runs: string[][] = [];
  const done = repeatOnChange([folder, join(folder, 'family')], (file) => file.endsWith('.wgsl'), async (changed) => void runs.push(changed.map((file) => basename(file)).sort()), stop.signal);
  writeFileSync(join(folder, 'notes.txt'), '1');
  for (const name of ['a.wgsl', 'b.wgsl']) writeFileSync(join(folder, 'family', name), '1');
  await until(() => runs.length === 1);
  assert.equal(runs[0], ['a.wgsl', 'b.wgsl']);
  // As editors write: a new file takes the old one's place.
  writeFileSync(join(folder, 'family', 'a.tmp'), '2');
  renameSync(join(folder, 'family', 'a.tmp'), join(folder, 'family', 'a.wgsl'));
  await until(() => runs.length === 2);
  assert.equal(runs[1], ['a.wgsl']);
  stop.abort();
  await done;
  writeFileSync(join(folder, 'family', 'a.wgsl'), '3');
  await sleep(400);
  assert.is(runs.length, 2);
});

test('a change while the work runs aborts it and starts it anew', async () => {
  const stop = new AbortController();
  const log: string[] = [];
  const file = join(folder, 'a.wgsl');
  const done = repeatOnChange(
    [folder],
    () => true,
    async (_changed, signal) => {
      log.push('start');
      if (log.length > 1) return;
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      log.push('aborted');
    },
    stop.signal,
  );
  writeFileSync(file, '1');
  await until(() => log.length === 1);
  writeFileSync(file, '2');
  await until(() => log.length === 3);
  assert.equal(log, ['start', 'aborted', 'start']);
  stop.abort();
  await done;
});

test('stopping ends work that runs', async () => {
  const stop = new AbortController();
  const done = repeatOnChange([folder], () => true, (_changed, signal) => new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve());
    stop.abort();
  }), stop.signal);
  writeFileSync(join(folder, 'a.wgsl'), '1');
  await done;
});

test('every op has a test file that watching it runs', async () => {
  for (const { op, file } of await opsWithFiles()) assert.ok(testsOf(file).length > 0, `no test imports src/ops/${file}.ts, which has ${op.name}`);
  assert.equal(testsOf('gemm').map((file) => basename(file)), ['gemm.test.ts']);
  assert.equal(testsOf('slice').map((file) => basename(file)).includes('movement.test.ts'), true);
});

test('watching needs an op', async () => {
  const error = await errorOf(() => watchOps([]));
  assert.instance(error, UserError);
  assert.match(error.message, /--watch: name the op/);
});

test.run();
