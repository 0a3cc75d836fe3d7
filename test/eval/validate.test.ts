import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDataset } from '../../src/data/dataset.ts';
import { Detector } from '../../src/eval/detector.ts';
import { evaluateModel } from '../../src/eval/evaluate.ts';
import { metricNames } from '../../src/eval/results.ts';
import { validateModel } from '../../src/eval/validate.ts';
import { loadMfp } from '../../src/models/mfp/load.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { goldenFolder } from '../support/golden.ts';
import { testGpu } from '../support/gpu.ts';
import { makeDataset } from './synthetic.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-validate-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const data = makeDataset(join(folder, 'data'), { size: 40, classes: { tile: [2, 2] } });
const golden = join(goldenFolder, 'default');
const model = { clip: join(golden, 'clip'), cnn: join(golden, 'cnn', 'model.safetensors') };

test('a model in training, with parameters in f32, is measured like any other and gives back its memory', async () => {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default' });
  const dataset = openDataset(data);
  // Parameters of another type than the rest are the case that differs from a loaded model.
  const loaded = await loadMfp(gpu, { ...model, mfp: join(golden, 'mfp.safetensors'), precision: gpu.f16 ? 'f16' : 'f32', parameterPrecision: 'f32' });
  const metrics = await validateModel(gpu, loaded, dataset);
  const allocated = gpu.memory.allocated;
  assert.equal(await validateModel(gpu, loaded, dataset), metrics);
  assert.is(gpu.memory.allocated, allocated);
  assert.equal(Object.keys(metrics!), metricNames.map(([key]) => key));
  // Stopped, it has no figures.
  assert.is(await validateModel(gpu, loaded, dataset, AbortSignal.abort()), undefined);
  assert.is(gpu.memory.allocated, allocated);
  loaded.destroy();
  const stored = await loadMfp(gpu, { ...model, mfp: join(golden, 'mfp.safetensors'), precision: gpu.f16 ? 'f16' : 'f32' });
  const detector = new Detector(gpu, stored, { gpu: false, model: true });
  const { mean } = await evaluateModel(detector, dataset);
  detector.close();
  assert.equal(metrics, mean);
});

test('train --val writes all metrics into the log, at the epochs asked for', () => {
  const out = join(folder, 'run');
  const options = ['--data', data, '--val', data, '--clip', model.clip, '--cnn', model.cnn, '--size', '35', '--set', 'cnn.size=33', '--out', out, '--epochs', '3', '--validate-every', '2', '--variants', 'default'];
  const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', join(root, 'src', 'cli', 'main.ts'), 'train', ...options], { cwd: root, encoding: 'utf8' });
  assert.is(status, 0, stderr);
  assert.match(stderr, /--val is the folder that is trained on/);
  assert.match(stderr, /: I-AUROC \d+\.\d, I-AP \d+\.\d, I-F1max \d+\.\d, P-AUROC \d+\.\d, P-AP \d+\.\d, P-F1max \d+\.\d, AUPRO \d+\.\d\n/);
  const lines = readFileSync(join(out, 'log.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as { epoch: number; validation?: Record<string, number> });
  const measured = lines.filter(({ validation }) => validation);
  assert.equal(measured.map(({ epoch }) => epoch), [1, 2]);
  for (const { validation } of measured) assert.equal(Object.keys(validation!), metricNames.map(([key]) => key));
});

test.run();
