import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { command, scratchFolder } from '../support/command.ts';

const folder = scratchFolder();
const first = join(folder, 'first.json');
const quick = ['bench', 'add', '--shapes', '40x64', '--seconds', '0.05'];

test('sizes of one\'s own are timed, written, plotted, and their shaders dumped', async () => {
  const plot = join(folder, 'plot.svg');
  const shaders = join(folder, 'shaders');
  const { code, output, errors } = await command([...quick, '--json', first, '--plot', plot, '--dump-shaders', shaders]);
  assert.is(code, 0, errors);
  assert.match(output, /copy [\d.]+ GB\/s, multiply-add [\d.]+ GFLOP\/s/);
  assert.match(output, /^\| add +\| 40x64 /m);
  const { adapter, dawn, clock, results } = JSON.parse(readFileSync(first, 'utf8'));
  assert.ok(adapter.length > 0);
  assert.match(dawn, /^\d+\.\d+/);
  // The table says which clock its times are of, and so does the file.
  assert.match(output, clock === 'gpu' ? /\| +ms \(GPU\) \| +ms \(wall\) \|/ : /The adapter has no timestamps: .*\| +ms \(wall\) \| +GFLOP/s);
  assert.ok(clock === 'gpu' || clock === 'wall');
  assert.ok(results.length >= 1);
  for (const { rounds, flops, bytes } of results) {
    assert.is(rounds.length, 3);
    assert.ok(rounds.every(({ times, copy, multiplyAdd }: { times: number[]; copy: number; multiplyAdd: number }) => times.length >= 2 && copy > 0 && multiplyAdd > 0));
    assert.equal([flops, bytes], [2560, 3 * 10240]);
  }
  assert.match(readFileSync(plot, 'utf8'), /^<svg .*40x64/s);
  assert.ok(readdirSync(join(shaders, 'elementwise')).includes('add.wgsl'));
  assert.ok(existsSync(join(shaders, 'bench', 'copy.wgsl')));
});

test('--chosen times one variant of each case', async () => {
  const { code, output, errors } = await command(['bench', 'add', '--shapes', '40x64,40x65', '--seconds', '0.05', '--chosen', '--variants', 'default']);
  assert.is(code, 0, errors);
  assert.equal([...output.matchAll(/^\| add +\| (\S+) /gm)].map(([, name]) => name), ['40x64', '40x65']);
});

test('a bench beside one that was a thousand times faster ends with exit code 1 and a table', async () => {
  const bench = JSON.parse(readFileSync(first, 'utf8'));
  for (const result of bench.results) for (const round of result.rounds) round.times = round.times.map((time: number) => time / 1000);
  const faster = join(folder, 'faster.json');
  writeFileSync(faster, JSON.stringify(bench));
  const { code, output, errors } = await command([...quick, '--compare', faster]);
  assert.is(code, 1, `${output}${errors}`);
  assert.match(output, /^\| add .* slower +\|$/m);
  assert.match(output, /[1-9] slower, 0 faster/);
});

test('what a model would run is compared with what it would have run, whatever variants that were', async () => {
  const chosen = ['bench', 'add', '--shapes', '40x64', '--seconds', '0.05', '--chosen', '--variants', 'default'];
  const before = join(folder, 'chosen.json');
  assert.is((await command([...chosen, '--json', before])).code, 0);
  const bench = JSON.parse(readFileSync(before, 'utf8'));
  const [result] = bench.results;
  // As if another variant had been chosen and been a thousand times faster, and as if there had been another case.
  const rounds = result.rounds.map((round: { times: number[] }) => ({ ...round, times: round.times.map((time) => time / 1000) }));
  writeFileSync(before, JSON.stringify({ ...bench, results: [{ ...result, variant: 'earlier', rounds }, { ...result, case: '41x64' }] }));
  const { code, output, errors } = await command([...chosen, '--compare', before]);
  assert.is(code, 1, `${output}${errors}`);
  assert.match(output, new RegExp(`^\\| add +\\| 40x64 +\\| ${result.variant}, then earlier .* slower +\\|$`, 'm'));
  assert.match(output, new RegExp(`^Another variant is chosen now:\n {2}add, 40x64, f32: ${result.variant}, then earlier$`, 'm'));
  assert.match(output, new RegExp(`^In the old file, but not measured now:\n {2}add, 41x64, f32 \\(${result.variant}\\)$`, 'm'));
  assert.match(output, /^1 compared: 1 slower/m);
});

test('a bench with nothing in common is no success', async () => {
  const bench = JSON.parse(readFileSync(first, 'utf8'));
  const other = join(folder, 'nothing.json');
  writeFileSync(other, JSON.stringify({ ...bench, results: bench.results.map((result: object) => ({ ...result, case: '9x9' })) }));
  const before = await command([...quick, '--compare', other]);
  assert.is(before.code, 1);
  assert.is(before.output, '');
  assert.match(before.errors, /^mfp-clip: --compare .*nothing\.json: nothing can be compared: it has none of the cases that would be measured\. It has add, 9x9, f32 \(/m);
  // The same names, but with other sizes: only what was measured tells.
  writeFileSync(other, JSON.stringify({ ...bench, results: bench.results.map((result: object) => ({ ...result, flops: 1 })) }));
  const after = await command([...quick, '--compare', other]);
  assert.is(after.code, 1);
  assert.match(after.output, /^Not in the old file, or there with another count of operations or bytes:\n {2}add, 40x64, f32 \(/m);
  assert.match(after.output, /^Nothing could be compared: .*nothing\.json has none of these cases as they are now\.$/m);
});

test('a bench of another adapter or clock, or no bench, is not compared with', async () => {
  const other = join(folder, 'other.json');
  writeFileSync(other, JSON.stringify({ ...JSON.parse(readFileSync(first, 'utf8')), adapter: 'Voodoo 2' }));
  const bench = JSON.parse(readFileSync(first, 'utf8'));
  const elsewhere = join(folder, 'elsewhere.json');
  writeFileSync(elsewhere, JSON.stringify({ ...bench, clock: bench.clock === 'gpu' ? 'wall' : 'gpu' }));
  for (const [file, message] of [
    [other, /^mfp-clip: --compare .*other\.json: it was measured on "Voodoo 2", this is ".+"\. Times of different adapters/m],
    [elsewhere, /^mfp-clip: --compare .*elsewhere\.json: its times are of the (wall|adapter's) clock, those of now would be of the (wall|adapter's) clock/m],
    [join(folder, 'absent.json'), /^mfp-clip: --compare .*absent\.json: /m],
  ] as const) {
    const { code, output, errors } = await command([...quick, '--compare', file]);
    assert.is(code, 1);
    assert.match(errors, message);
    assert.is(output, '');
  }
});

test('files are written when nobody reads what is printed', async () => {
  const json = join(folder, 'unread.json');
  // The adapter's line comes before the measuring, the table after it.
  const left = await command([...quick, '--json', json], undefined, 'after the first output');
  assert.not.match(left.errors, /EPIPE|\n\s+at /);
  assert.is(JSON.parse(readFileSync(json, 'utf8')).results[0].op, 'add');
  const fusion = join(folder, 'fusion.json');
  const { code, errors } = await command(['bench', 'fusion', 'adam', '--shapes', '64', '--seconds', '0.01', '--json', fusion], undefined, 'at once');
  assert.is(code, 141, errors);
  assert.not.match(errors, /EPIPE|\n\s+at /);
  assert.is(JSON.parse(readFileSync(fusion, 'utf8')).results[0].study, 'adam');
});

test('a file that cannot be written is known before a device is opened', async () => {
  writeFileSync(join(folder, 'file'), '');
  for (const [args, message] of [
    [['add', '--json', join(folder, 'file', 'bench.json')], /^mfp-clip: --json .*bench\.json: cannot write there: /m],
    [['add', '--plot', join(folder, 'file', 'plot.svg')], /^mfp-clip: --plot .*plot\.svg: cannot write there: /m],
    [['add', '--json', ''], /^mfp-clip: --json : it is a folder; name a file/m],
    [['add', '--json', folder], /^mfp-clip: --json .*: it is a folder; name a file/m],
    [['fusion', 'adam', '--json', join(folder, 'file', 'fusion.json')], /^mfp-clip: --json .*fusion\.json: cannot write there: /m],
  ] as const) {
    const { code, errors } = await command(['bench', ...args, '--adapter', 'no such adapter']);
    assert.is(code, 1);
    assert.match(errors, message);
  }
});

test('sizes need an op, and are explained', async () => {
  const { code, errors } = await command(['bench', '--shapes', '3x4']);
  assert.is(code, 1);
  assert.match(errors, /^mfp-clip: --shapes: name the op/m);
  const { output } = await command(['bench', '--shapes', 'help']);
  assert.match(output, /^ {2}gemm +rows x depth x columns, for example \d+x\d+x\d+$/m);
});

test.run();
