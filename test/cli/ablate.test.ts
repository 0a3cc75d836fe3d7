import { spawn } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { command, scratchFolder } from '../support/command.ts';
import { writeTestDataset } from '../support/dataset.ts';
import { goldenFolder } from '../support/golden.ts';

const folder = scratchFolder();
const data = join(folder, 'data');
writeTestDataset(data, { classes: ['plate', 'metal_nut'], good: 1, bad: 1, size: 40 });
const checkpoint = join(goldenFolder, 'half');
writeFileSync(join(folder, 'config.json'), JSON.stringify({ image: { size: 40 }, cnn: { size: 32 }, sp: { stages: [1, 2], count: 2 }, training: { epochs: 2 } }));
const [clip, cnn] = [join(checkpoint, 'clip'), join(checkpoint, 'cnn')];
const options = ['--classes', 'plate', '--eval-classes', 'metal_nut', '--config', join(folder, 'config.json'), '--seeds', '1'];
const flags = ['ablate', '--data', data, '--eval', data, '--clip', clip, '--cnn', cnn, '--variants', 'default', ...options];
const root = fileURLToPath(new URL('../../', import.meta.url));
const program = [process.execPath, '--import', 'tsx', join(root, 'src', 'cli', 'main.ts')];

/** Runs the command and interrupts it, as Ctrl+C does, when it prints what is waited for. */
function interrupted(args: readonly string[], when: RegExp): Promise<{ readonly code: number | null; readonly errors: string }> {
  const child = spawn(program[0], [...program.slice(1), ...args], { stdio: ['ignore', 'ignore', 'pipe'], cwd: root });
  let errors = '';
  let sent = false;
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
    if (sent || !when.test(errors)) return;
    sent = true;
    child.kill('SIGINT');
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, errors })));
}

/** Runs what a job file has a shell run. */
function job(argv: readonly string[], environment: Readonly<Record<string, string>>): Promise<{ readonly code: number | null; readonly output: string; readonly errors: string }> {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'pipe'], cwd: root, env: { ...process.env, DATA: data, EVAL: data, CLIP: clip, CNN: cnn, MFP_CLIP: program.join(' '), ...environment } });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, output, errors })));
}

test('an interrupted ablation goes on, in shards too, and ends with its tables', async () => {
  const out = join(folder, 'out');
  const run = [...flags, '--out', out, '--tables', '2'];
  const first = await interrupted(run, /baseline-seed-0 is done/);
  assert.is(first.code, 130, first.errors);
  assert.match(first.errors, /finishing this step and saving; interrupt again to leave at once/);
  assert.match(first.errors, /stopped\. The same command goes on from here/);
  assert.not.ok(existsSync(join(out, 'ablation.md')));

  const environment = { OUT: out, OPTIONS: [...options, '--tables', '2'].join(' ') };
  const shard = process.platform === 'win32' ? await command([...run, '--shard', '2/2']) : await job(['bash', join(root, 'tools/cluster/ablate.slurm')], { ...environment, SHARDS: '2', SLURM_ARRAY_TASK_ID: '2' });
  assert.is(shard.code, 0, shard.errors);
  assert.is(shard.output, '');
  assert.match(shard.errors, /shard 2\/2 is done; \d of 6 runs are missing still/);

  const script = /- \|\n((?: +.*\n)+?)(?= {10}\S)/.exec(readFileSync(join(root, 'tools/cluster/ablate-kubernetes.yaml'), 'utf8'))![1];
  const rest = process.platform === 'win32' ? await command(run) : await job(['sh', '-euc', script], { ...environment, SHARDS: '1', JOB_COMPLETION_INDEX: '0' });
  assert.is(rest.code, 0, rest.errors);
  for (const name of ['baseline: adapters alone', '\\+ I2TP', '\\+ MPFA', 'all four']) assert.match(rest.errors, new RegExp(`${name}, seed 0: there already`));
  assert.match(rest.output, /^Table 2: Contribution of the parts\n\| row +\| +I-AUROC \|/);
  assert.is(rest.output.trim().split('\n').length, 3 + 6);
  assert.match(readFileSync(join(out, 'ablation.md'), 'utf8'), /\| \+ SP .*\| i2tp\.enabled=false, mpfa\.enabled=false, mp\.enabled=false +\|/);
  assert.equal(readdirSync(join(out, 'sp-seed-0')).sort(), ['config.json', 'log.jsonl', 'loss.svg', 'mfp.safetensors', 'results.csv', 'results.json', 'results.md', 'unit.json']);

  // Everything is there: only the tables are put together, on no device.
  const again = await command([...run, '--adapter', 'no such adapter']);
  assert.is(again.code, 0, again.errors);
  assert.is(again.output, rest.output);

  const other = await command([...run, '--epochs', '1']);
  assert.is(other.code, 1);
  assert.match(other.errors, /baseline-seed-0 belongs to another ablation: another configuration/);
});

test('training and evaluating on the same images is pointed out, and mistakes are named', async () => {
  const overlapping = await command([...flags.map((flag) => (flag === 'metal_nut' ? 'plate' : flag)), '--out', join(folder, 'other'), '--tables', '3', '--shard', '4/4']);
  assert.is(overlapping.code, 0, overlapping.errors);
  assert.match(overlapping.errors, /trained and evaluated on the same images of plate: the figures will not be zero-shot/);
  for (const [mistake, expected] of [
    [['--tables', '1'], /It must be some of 2,3,4/],
    [['--set', 'sp.count=0'], /--set sp\.count=0: sp\.count must be a whole number from 1 to 1024, not 0/],
    [['--published', join(folder, 'none.json')], /cannot read .*none\.json/],
  ] as const) {
    const { code, errors } = await command([...flags, '--out', join(folder, 'none'), ...mistake]);
    assert.is(code, 1);
    assert.match(errors, expected);
  }
  assert.not.ok(existsSync(join(folder, 'none')));
});

test.run();
