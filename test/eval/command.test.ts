import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { shardOf } from '../../src/cli/eval.ts';
import { openDataset } from '../../src/data/dataset.ts';
import { loadModel } from '../../src/eval/detector.ts';
import { evaluateShard } from '../../src/eval/evaluate.ts';
import { modelFiles } from '../../src/eval/identity.ts';
import { type EvaluationResults, resultsOf } from '../../src/eval/results.ts';
import { resultsJson } from '../../src/eval/tables.ts';
import { readNpy } from '../../src/io/npy.ts';
import { goldenFolder } from '../support/golden.ts';
import { testGpu } from '../support/gpu.ts';
import { makeDataset } from './synthetic.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const program = join(root, 'src', 'cli', 'main.ts');
const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-eval-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const data = makeDataset(join(folder, 'data'), { size: 44, classes: { bottle: [4, 4], metal_nut: [3, 3], tile: [3, 4] } });
const golden = join(goldenFolder, 'default');
const model = { clip: join(golden, 'clip'), cnn: join(golden, 'cnn', 'model.safetensors'), mfp: join(golden, 'mfp.safetensors') };
const modelFlags = ['--clip', model.clip, '--cnn', model.cnn, '--mfp', model.mfp];
const command = [process.execPath, '--import', 'tsx', program];

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. @param watch is called now and then, and may stop it */
function start(argv: readonly string[], { environment = {}, watch }: { environment?: Record<string, string>; watch?: (stop: (signal: NodeJS.Signals) => void) => void } = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), { cwd: root, env: { ...process.env, NO_COLOR: '1', ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const timer = watch && setInterval(() => watch((signal) => child.kill(signal)), 5);
    child.on('close', (code, signal) => {
      clearInterval(timer);
      resolve({ code, signal, stdout, stderr });
    });
  });
}

const mfpClip = (...options: string[]): Promise<Ended> => start([...command, ...options]);

function succeed({ code, stdout, stderr }: Ended): string {
  if (code !== 0) throw new Error(`ended with ${code}:\n${stderr}`);
  return stdout;
}

const read = (...path: string[]): string => readFileSync(join(folder, ...path), 'utf8');

test('eval prints the table and writes results, maps, state and times', async () => {
  const stdout = succeed(await mfpClip('eval', '--data', data, ...modelFlags, '--out', join(folder, 'whole'), '--batch', '2', '--maps', '--variants', 'default'));
  assert.match(stdout, /^\| class +\| normal \| abnormal \| I-AUROC /);
  assert.match(stdout, /\| mean +\| +10 \| +11 \|/);
  assert.equal(readdirSync(join(folder, 'whole')).sort(), ['maps', 'report.html', 'results.csv', 'results.json', 'results.md', 'shards']);
  assert.equal(readdirSync(join(folder, 'whole', 'shards')).sort(), ['1-of-1.safetensors', '1-of-1.times.json']);
  const results = JSON.parse(read('whole', 'results.json')) as EvaluationResults;
  assert.equal(results.classes.map((found) => found.class), ['bottle', 'metal_nut', 'tile']);
  assert.is(results.identity.model.size, 35);
  assert.match(results.identity.model.files!.mfp!, /^[0-9a-f]{16}$/);
  for (const { metrics } of results.classes) for (const value of Object.values(metrics)) assert.ok(value! >= 0 && value! <= 1);
  // What the scores are: the largest values of the maps.
  for (const { class: name, images } of results.classes) {
    for (const { file, defect, score } of images) {
      const { data: map } = await readNpy(join(folder, 'whole', 'maps', name, defect, file.replace(/.*\/(.*)\.png$/, '$1.npy')));
      assert.is(map.length, 35 * 35);
      assert.is(score, map.reduce((most, value) => Math.max(most, value)));
    }
  }
  const { runs } = JSON.parse(read('whole', 'shards', '1-of-1.times.json')) as { runs: { images: number; seconds: number }[] };
  assert.is(runs.length, 1);
  assert.is(runs[0].images, 21);
  assert.ok(runs[0].seconds > 0);
});

test('merge draws the same report from the maps that were kept, or says how to get its pictures', async () => {
  const [whole, other] = [join(folder, 'whole'), join(folder, 'other')];
  const report = read('whole', 'report.html');
  assert.is(report.match(/class="panel"/g)!.length, 17);
  rmSync(join(whole, 'report.html'));
  succeed(await mfpClip('merge', whole, '--data', data, '--out', whole));
  assert.is(read('whole', 'report.html'), report);
  succeed(await mfpClip('merge', whole, '--data', data, '--out', other));
  assert.match(read('other', 'report.html'), /No pictures: they need the maps and the photos\. Evaluate the shards with --maps/);
  rmSync(other, { recursive: true });
  succeed(await mfpClip('merge', whole, '--no-report', '--out', other));
  assert.equal(readdirSync(other).sort(), ['results.csv', 'results.json', 'results.md']);
  const fewer = makeDataset(join(folder, 'fewer'), { size: 44, classes: { bottle: [4, 4], metal_nut: [3, 3], tile: [3, 3] } });
  assert.match((await mfpClip('merge', whole, '--data', fewer, '--out', whole)).stderr, /is not the data set that was evaluated/);
});

test('the model gives the same bytes in 1, 2, 3 and 7 shards', async () => {
  const detector = await loadModel({ ...model, gpu: await testGpu(), variants: { mode: 'default' } });
  const dataset = openDataset(data);
  const files = await modelFiles(model);
  for (const count of [1, 2, 3, 7]) {
    const states = [];
    for (let index = 1; index <= count; index++) states.push((await evaluateShard(detector, dataset, { batch: 2, shard: { index, count }, files })).state);
    assert.is(resultsJson(await resultsOf(states)), read('whole', 'results.json'), `${count} shards`);
  }
  detector.close();
});

/** Settings that the job files take from the environment. */
const jobEnvironment = (out: string): Record<string, string> => ({
  DATA: data,
  CLIP: model.clip,
  CNN: model.cnn,
  MFP: model.mfp,
  OUT: join(folder, out),
  OPTIONS: '--batch 2',
  MFP_CLIP: command.join(' '),
});

/** Stops a program with a signal once a file is there. */
function stopAt(file: string, signal: NodeJS.Signals): (stop: (signal: NodeJS.Signals) => void) => void {
  let sent = false;
  return (stop) => {
    if (sent || !existsSync(file)) return;
    sent = true;
    stop(signal);
  };
}

if (process.platform !== 'win32') {
  test('the Slurm array job, with a task that ran out of time, gives the same bytes', async () => {
    const out = join(folder, 'slurm');
    const job = (task: number, watch?: ReturnType<typeof stopAt>): Promise<Ended> =>
      start(['bash', join(root, 'tools', 'cluster', 'eval.slurm')], { environment: { ...jobEnvironment('slurm'), SHARDS: '2', SLURM_ARRAY_TASK_ID: String(task) }, watch });
    // Slurm sends SIGTERM before the end; the state is there after the first class.
    const [stopped, second] = await Promise.all([job(1, stopAt(join(out, 'shards', '1-of-2.safetensors'), 'SIGTERM')), job(2)]);
    succeed(second);
    assert.is(stopped.code, 143, stopped.stderr);
    assert.match(stopped.stderr, /finishing this batch and saving[\s\S]*stopped. The same command goes on from here/);
    const incomplete = await mfpClip('merge', out, '--out', out);
    assert.is(incomplete.code, 1);
    assert.match(incomplete.stderr, /mfp-clip: \d+ of 21 images are missing: .*1-of-2.safetensors has \d+ of its 11/);
    assert.not.ok(existsSync(join(out, 'results.json')));
    const again = await job(1);
    succeed(again);
    assert.match(again.stderr, /shard 1\/2: 11 of 21 images of 3 classes, ([4-9]|10) of them done/);
    assert.match(again.stderr, /All are there: mfp-clip merge/);
    assert.match(succeed(await mfpClip('merge', out, '--out', out)), /\| mean/);
    assert.is(read('slurm', 'results.json'), read('whole', 'results.json'));
    assert.is(read('slurm', 'results.md'), read('whole', 'results.md'));
  });

  test('the Kubernetes Indexed Job, with a pod that was killed, and its merge give the same bytes', async () => {
    // What the manifests have the shell of a pod run.
    const script = (file: string): string => /- \|\n((?: +.*\n)+?)(?= {10}\S)/.exec(readFileSync(join(root, 'tools', 'cluster', file), 'utf8'))![1];
    const manifest = readFileSync(join(root, 'tools', 'cluster', 'eval-kubernetes.yaml'), 'utf8');
    assert.is(/completions: (\d+)/.exec(manifest)![1], /SHARDS, value: "(\d+)"/.exec(manifest)![1]);
    const pod = (file: string, environment: Record<string, string>, watch?: ReturnType<typeof stopAt>): Promise<Ended> =>
      start(['sh', '-euc', script(file)], { environment: { ...jobEnvironment('pods'), SHARDS: '2', ...environment }, watch });
    const [killed, second] = await Promise.all([
      pod('eval-kubernetes.yaml', { JOB_COMPLETION_INDEX: '0' }, stopAt(join(folder, 'pods', 'shards', '1-of-2.safetensors'), 'SIGKILL')),
      pod('eval-kubernetes.yaml', { JOB_COMPLETION_INDEX: '1' }),
    ]);
    assert.is(killed.signal, 'SIGKILL');
    succeed(second);
    succeed(await pod('eval-kubernetes.yaml', { JOB_COMPLETION_INDEX: '0' }));
    assert.match(succeed(await pod('merge-kubernetes.yaml', {})), /\| mean/);
    assert.is(read('pods', 'results.json'), read('whole', 'results.json'));
  });
}

test('exact evaluation agrees, and without a trained model it is plain CLIP', async () => {
  succeed(await mfpClip('eval', '--data', data, '--clip', model.clip, '--out', join(folder, 'plain'), '--size', '35', '--exact', '--classes', 'tile, bottle'));
  const results = JSON.parse(read('plain', 'results.json')) as EvaluationResults;
  assert.equal(results.classes.map((found) => found.class), ['bottle', 'tile']);
  assert.equal([results.identity.model.files!.cnn, results.identity.model.files!.mfp, results.identity.exact], [null, null, true]);
  assert.not.ok(results.identity.model.config.mp.enabled);
});

test('mistakes of flags are named', async () => {
  for (const shard of ['0/3', '4/3', '2', '1/0', 'a/b', '1/3/5', '-1/3', '1.5/3', '']) assert.throws(() => shardOf(shard), /It must be a part and the number of parts, counted from 1/);
  assert.equal(shardOf('3/7'), { index: 3, count: 7 });
  const { code, stderr } = await mfpClip('eval', '--data', data, ...modelFlags, '--out', join(folder, 'wrong'), '--shard', '0/3');
  assert.is(code, 1);
  assert.match(stderr, /--shard <i\/n>' argument '0\/3' is invalid. It must be a part and the number of parts, counted from 1/);
  assert.match((await mfpClip('merge', data, '--out', folder)).stderr, /has no states of shards/);
  assert.not.ok(existsSync(join(folder, 'wrong')));
});

test('check counts classes and defects, and lists every problem with its file', async () => {
  const good = await mfpClip('check', data);
  assert.is(good.code, 0, good.stderr);
  assert.match(good.stdout, /layout of MVTec, test split, 21 images of 3 classes/);
  assert.match(good.stdout, /\| metal_nut \| +6 \| +3 \| +3 \| bent 2, cut 1, good 3 +\|/);
  assert.match(good.stdout, /\| all +\| +21 \| +10 \| +11 \|/);
  assert.match(good.stdout, /No problems\.\n$/);
  const broken = makeDataset(join(folder, 'broken'), { size: 12, classes: { bottle: [2, 2] } });
  truncateSync(join(broken, 'bottle', 'test', 'good', '000.png'), 50);
  writeFileSync(join(broken, 'bottle', 'test', 'good', 'other.png'), 'text');
  rmSync(join(broken, 'bottle', 'ground_truth', 'bent', '003_mask.png'));
  const bad = await mfpClip('check', broken);
  assert.is(bad.code, 1);
  assert.match(bad.stdout, /bent.003.png: has no mask/);
  assert.match(bad.stdout, /000.png: the PNG file is truncated/);
  assert.match(bad.stdout, /other.png: is not an image that can be read/);
  assert.match(bad.stdout, /\n3 problems\n$/);
  // An evaluation of it stops before anything is written.
  const refused = await mfpClip('eval', '--data', broken, ...modelFlags, '--out', join(folder, 'refused'));
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /has 1 problem:\n.*has no mask/);
  assert.not.ok(existsSync(join(folder, 'refused')));
});

test.run();
