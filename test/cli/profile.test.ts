import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { TraceEvent } from '../../src/report/trace.ts';
import { command, scratchFolder } from '../support/command.ts';
import { writeTestDataset } from '../support/dataset.ts';
import { goldenFolder } from '../support/golden.ts';
import { assertTrace } from '../support/trace.ts';

const folder = scratchFolder();
const data = join(folder, 'data');
writeTestDataset(data, { classes: ['plate'], good: 1, bad: 2, size: 50 });
const image = join(data, 'plate', 'test', 'good', '000.png');
const checkpoint = join(goldenFolder, 'half');
const model = ['--clip', join(checkpoint, 'clip'), '--cnn', join(checkpoint, 'cnn'), '--variants', 'default'];

/** Rows of one of the two tables: name and number of dispatches. */
function rowsOf(output: string, table: 'kernel' | 'layer'): [string, number][] {
  const [, part] = output.split(new RegExp(`^\\| ${table} .*\\n.*\\n`, 'm'));
  const lines = part.split('\n');
  return lines.slice(0, lines.findIndex((line) => !line.startsWith('|'))).map((line) => {
    const [, name, dispatches] = line.split('|').map((cell) => cell.trim());
    return [name, Number(dispatches)];
  });
}

function readTrace(file: string): TraceEvent[] {
  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: TraceEvent[] };
  assertTrace(traceEvents);
  return traceEvents;
}

const total = (rows: readonly [string, number][]): number => rows.reduce((sum, [, count]) => sum + count, 0);

test('profile detect prints kernels, layers and the share outside of kernels, and writes a trace', async () => {
  const trace = join(folder, 'detect.json');
  const { code, output, errors } = await command(['profile', 'detect', image, '--class', 'plate', ...model, '--mfp', join(checkpoint, 'mfp.safetensors'), '--rounds', '2', '--trace', trace]);
  assert.is(code, 0, errors);
  assert.match(output, /^detect, 1 image at 40 × 40, f32, on /);
  assert.match(output, /Wall time +[\d.]+ ms +median of 2 runs/);
  const dispatches = Number(/Kernels +[\d.]+ ms +(\d+) dispatches/.exec(output)![1]);
  assert.match(output, /Outside kernels +[\d.]+% +of the wall time/);
  const [kernels, layers] = [rowsOf(output, 'kernel'), rowsOf(output, 'layer')];
  assert.is(total(kernels), dispatches);
  assert.is(total(layers), dispatches);
  const names = layers.map(([name]) => name);
  for (const name of ['resize', 'first pass/layer 1', 'first pass/layer 4', 'first pass/map']) assert.ok(names.includes(name), `${name} is not among ${names.join(', ')}`);
  const events = readTrace(trace);
  assert.is(events.filter(({ cat }) => cat === 'kernel').length, dispatches);
  assert.is(events.filter(({ ph }) => ph === 'C').length, dispatches);
  assert.is(events.filter(({ cat, name }) => cat === 'layer' && name === 'first pass').length, 1);
  assert.ok(events.some(({ ph, args }) => ph === 'C' && (args!.intermediates as number) > 0));
});

test('profile train has backward passes and the optimizer, and saves nothing but the trace', async () => {
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ image: { size: 40 }, cnn: { size: 32 }, sp: { stages: [1, 2], count: 2 }, training: { accumulation: 2 } }));
  const before = readdirSync(folder).sort();
  const trace = join(folder, 'train.json');
  const { code, output, errors } = await command(['profile', 'train', '--data', data, ...model, '--config', join(folder, 'config.json'), '--rounds', '1', '--depth', '3', '--trace', trace]);
  assert.is(code, 0, errors);
  assert.match(output, /^train, one update of 2 × 1 image at 40 × 40, f32, on /);
  const names = rowsOf(output, 'layer').map(([name]) => name);
  for (const name of ['first pass/layer 2/attention', 'second pass/layer 2/attention (backward)', 'losses', 'losses (backward)', 'optimizer']) assert.ok(names.includes(name), `${name} is not among ${names.join(', ')}`);
  const events = readTrace(trace);
  // Two passes for one update.
  assert.is(events.filter(({ cat, name }) => cat === 'layer' && name === 'embedding').length % 2, 0);
  assert.is(events.filter(({ cat, name }) => cat === 'layer' && name === 'optimizer').length, 1);
  assert.equal(readdirSync(folder).sort(), [...before, 'train.json'].sort());
});

test('the trace is written when nobody reads the tables, and where it cannot be is known before the model is loaded', async () => {
  const detect = ['profile', 'detect', image, '--class', 'plate', ...model, '--rounds', '1'];
  const trace = join(folder, 'unread.json');
  const { code, errors } = await command([...detect, '--trace', trace], undefined, 'at once');
  assert.is(code, 141, errors);
  assert.not.match(errors, /EPIPE|\n\s+at /);
  readTrace(trace);
  writeFileSync(join(folder, 'file'), '');
  for (const subject of [detect, ['profile', 'train', '--data', data, ...model]]) {
    const refused = await command([...subject, '--trace', join(folder, 'file', 'trace.json'), '--adapter', 'no such adapter']);
    assert.is(refused.code, 1);
    assert.match(refused.errors, /^mfp-clip: --trace .*trace\.json: cannot write there: /m);
  }
});

for (const [what, args, expected] of [
  ['a missing class', ['detect', image, ...model], /required option '--class/],
  ['an empty class', ['detect', image, '--class', ' ', ...model], /--class is empty/],
  ['an image that is not there', ['detect', join(folder, 'none.png'), '--class', 'plate', ...model], /none\.png/],
  ['no rounds', ['detect', image, '--class', 'plate', ...model, '--rounds', '0'], /whole number of at least 1/],
  ['a data set that is not there', ['train', '--data', join(folder, 'none'), ...model], /none/],
  ['nothing to profile', ['sleep'], /unknown command 'sleep'/],
] as const) {
  test(`${what} is one clear error`, async () => {
    const { code, output, errors } = await command(['profile', ...args, '--trace', join(folder, 'error.json')]);
    assert.is(code, 1);
    assert.is(output, '');
    assert.match(errors, expected);
    assert.not.match(errors, /\n\s+at /);
    assert.not(existsSync(join(folder, 'error.json')));
  });
}

test.run();
