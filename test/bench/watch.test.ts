import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { opsWithFiles } from '../../src/bench/registry.ts';
import { WatchedBench, repeatOnChange, testsOf, watchOps } from '../../src/bench/watch.ts';
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

test('a first benchmark that fails is said, and the next that does not takes its place', async () => {
  const codes = [1, null, 0, 1];
  const runs: (readonly string[])[] = [];
  const watched = new WatchedBench(['bench', 'gemm'], 'first.json', async (options) => {
    runs.push(options);
    return codes[runs.length - 1];
  });
  const { signal } = new AbortController();
  assert.match((await watched.run(signal))!, /^The benchmark failed with exit code 1, .* run again after the next change\.$/);
  assert.is(watched.isReady, false);
  assert.is(await watched.run(signal), undefined, 'one that was aborted is none');
  assert.is(watched.isReady, false);
  assert.is(await watched.run(signal), undefined);
  assert.is(watched.isReady, true);
  assert.is(await watched.run(signal), undefined, 'slower is no failure');
  assert.equal(runs, [...[0, 1, 2].map(() => ['bench', 'gemm', '--json', 'first.json']), ['bench', 'gemm', '--compare', 'first.json']]);
  const given: (readonly string[])[] = [];
  const comparing = new WatchedBench(['bench', 'gemm', '--compare=old.json'], 'first.json', async (options) => given.push(options));
  await comparing.run(signal);
  assert.is(comparing.isReady, true);
  assert.equal(given, [['bench', 'gemm', '--compare=old.json']]);
});

test('the command goes on watching when the first benchmark fails, and its exit code says that none succeeded', async () => {
  const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', program, 'bench', 'add', '--watch', '--shapes', '3'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  await Promise.race([until(() => output.includes('Ctrl-C ends.')), ended]);
  child.kill('SIGINT');
  assert.is(await ended, 1, output);
  assert.match(output, /^mfp-clip: --shapes 3: one number is given, not 2/m);
  assert.match(output, /^The benchmark failed with exit code 1/m);
});

test('watching needs an op', async () => {
  const error = await errorOf(() => watchOps([]));
  assert.instance(error, UserError);
  assert.match(error.message, /--watch: name the op/);
});

test.run();
