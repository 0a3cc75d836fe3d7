import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDataset, resizeMask } from '../../src/data/dataset.ts';
import { readImage, readMask } from '../../src/data/image.ts';
import { loadModel } from '../../src/eval/detector.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { parseRunConfig } from '../../src/train/config.ts';
import type { LogLine } from '../../src/train/log.ts';
import { type RunOptions, type RunResult, trainMfp } from '../../src/train/run.ts';
import { command, scratchFolder } from '../support/command.ts';
import { writeTestDataset } from '../support/dataset.ts';
import { errorOf } from '../support/errors.ts';
import { goldenFolder } from '../support/golden.ts';
import { testGpu } from '../support/gpu.ts';

const checkpoint = join(goldenFolder, 'half');
const source = { clip: join(checkpoint, 'clip'), cnn: join(checkpoint, 'cnn') };

/** The area under the ROC by its definition: how often a defect pixel scores above a normal one; ties count half. */
function shareOfPairsInOrder(scores: readonly number[], labels: readonly number[]): number {
  const defects = scores.filter((_, i) => labels[i] === 1);
  const normal = scores.filter((_, i) => labels[i] === 0);
  let inOrder = 0;
  for (const high of defects) for (const low of normal) inOrder += high > low ? 1 : high === low ? 0.5 : 0;
  return inOrder / (defects.length * normal.length);
}

const hash = (file: string): string => createHash('sha256').update(readFileSync(file)).digest('hex');

test('overfits four images', async () => {
  const folder = scratchFolder();
  writeTestDataset(join(folder, 'data'), { classes: ['plate'], good: 1, bad: 3, size: 80 });
  const dataset = openDataset(join(folder, 'data'));
  const { samples } = dataset;
  const gpu = await testGpu();
  const config = parseRunConfig(
    {
      image: { size: 80 },
      cnn: { size: 32 },
      i2tp: { enabled: true },
      sp: { count: 2, stages: [1, 2] },
      // Ten patches a side: averaging over neighbours would blur what is to be learned by heart.
      mpfa: { size: 1 },
      training: { epochs: 30, seed: 3 },
      optimizer: { learningRate: 3e-3 },
      schedule: { kind: 'cosine' },
    },
    'test',
  );
  const { file, finished } = await trainMfp({ gpu, source, dataset, out: join(folder, 'run'), config });
  assert.ok(finished);
  const detector = await loadModel({ gpu, ...source, mfp: file });
  const scores: number[] = [];
  const labels: number[] = [];
  for (const { image, mask } of samples) {
    const [{ map, size }] = await detector.detect([await readImage(image)], 'plate');
    scores.push(...map);
    labels.push(...(mask ? resizeMask(await readMask(mask), size) : new Float32Array(size * size)));
  }
  detector.close();
  const area = shareOfPairsInOrder(scores, labels);
  assert.ok(area > 0.99, `P-AUROC ${area}`);
  const log = readFileSync(join(folder, 'run', 'log.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  assert.is(log.length, 120);
  for (const field of ['step', 'epoch', 'loss', 'focal', 'dice', 'bce', 'learningRate', 'gradientNorm', 'seconds', 'memoryBytes']) assert.type(log[0][field], 'number', field);
  assert.match(readFileSync(join(folder, 'run', 'loss.svg'), 'utf8'), /^<svg/);
});

test('runs that are killed at 20 random moments end with the bits of one that never was', async () => {
  const folder = scratchFolder();
  writeTestDataset(join(folder, 'data'), { classes: ['plate', 'metal_nut'], good: 2, bad: 3, size: 40 });
  const config = join(folder, 'config.json');
  // What is trained matters little here, but each kernel more makes all the starts longer.
  const small = { image: { size: 40 }, cnn: { size: 32 }, i2tp: { enabled: false }, sp: { count: 2, stages: [1, 2] }, mp: { enabled: false } };
  writeFileSync(config, JSON.stringify({ ...small, training: { epochs: 10, seed: 5, accumulation: 2 } }));
  const train = (out: string, more: readonly string[], killWhen?: (errors: string) => boolean) =>
    command(['train', '--data', join(folder, 'data'), '--clip', source.clip, '--cnn', source.cnn, '--out', join(folder, out), '--save-every', '3', '--variants', 'default', ...more], killWhen);
  const whole = await train('whole', ['--config', config]);
  assert.is(whole.code, 0, whole.errors);
  const assertSame = (out: string): void => {
    for (const file of ['mfp.safetensors', 'checkpoint.safetensors']) assert.is(hash(join(folder, out, file)), hash(join(folder, 'whole', file)), `${out}/${file}`);
  };

  /** Trains in a folder, killed again and again. */
  const killedRun = async (out: string, kills: number, random: RandomSource): Promise<void> => {
    const log = join(folder, out, 'log.jsonl');
    const updates = (): number => (existsSync(log) ? readFileSync(log, 'utf8').split('\n').length - 1 : 0);
    for (let killed = 0; ; ) {
      const started = existsSync(join(folder, out, 'checkpoint.safetensors'));
      // Killed before the first checkpoint: the folder holds a start that a new run may overwrite.
      if (!started) rmSync(join(folder, out), { recursive: true, force: true });
      // One kill in four falls anywhere, mostly into the start, the others some updates after it.
      const begin = performance.now();
      const anywhere = random.uniform(0, 1) < 0.25 ? random.uniform(0, 0.7) * whole.milliseconds : Number.POSITIVE_INFINITY;
      const more = random.integer(0, 8);
      const delay = random.uniform(0, 100);
      let first: number | undefined;
      let reached: number | undefined;
      const killWhen = (errors: string): boolean => {
        const now = performance.now();
        if (anywhere !== Number.POSITIVE_INFINITY) return now - begin > anywhere;
        // The start is over, and the log has been cut back to the checkpoint.
        if (!errors.includes(' updates')) return false;
        first ??= updates();
        if (updates() >= first + more) reached ??= now;
        return reached !== undefined && now - reached >= delay;
      };
      const { code, errors } = await train(out, started ? ['--resume'] : ['--config', config], killed < kills ? killWhen : undefined);
      if (code === null) killed++;
      else {
        assert.is(code, 0, errors);
        assertSame(out);
        if (killed === kills) return;
        // Finished before all the kills: begun anew, so that every one counts.
        rmSync(join(folder, out), { recursive: true });
      }
    }
  };
  await Promise.all([killedRun('one', 10, new RandomSource(11)), killedRun('other', 10, new RandomSource(12))]);
});

test('an interrupted run finishes its update, saves, and goes on', async () => {
  const folder = scratchFolder();
  writeTestDataset(join(folder, 'data'), { classes: ['plate'], good: 1, bad: 2, size: 40 });
  const gpu = await testGpu();
  const dataset = openDataset(join(folder, 'data'));
  const config = parseRunConfig({ image: { size: 40 }, cnn: { size: 32 }, training: { epochs: 3 } }, 'test');
  const run = (out: string, stopAfter?: number, resume = false) => {
    const stop = new AbortController();
    return trainMfp({ gpu, source, dataset, out: join(folder, out), config, resume, signal: stop.signal, onUpdate: ({ step }) => void (step === stopAfter && stop.abort()) });
  };
  await run('whole');
  const first = await run('parts', 4);
  assert.equal([first.finished, first.step], [false, 4]);
  const second = await run('parts', undefined, true);
  assert.equal([second.finished, second.step], [true, 9]);
  assert.is(hash(join(folder, 'parts', 'mfp.safetensors')), hash(join(folder, 'whole', 'mfp.safetensors')));
  const steps = readFileSync(join(folder, 'parts', 'log.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line).step);
  assert.equal(steps, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('a run that was killed before its first checkpoint begins again, and one that has moved goes on', async () => {
  const folder = scratchFolder();
  writeTestDataset(join(folder, 'data'), { classes: ['plate'], good: 1, bad: 1, size: 40 });
  const gpu = await testGpu();
  const config = parseRunConfig({ image: { size: 40 }, cnn: { size: 32 }, training: { epochs: 2 } }, 'test');
  const run = (data: string, options: Partial<RunOptions> = {}) => trainMfp({ gpu, source, dataset: openDataset(join(folder, data)), out: join(folder, 'run'), config, ...options });
  const logged = () => readFileSync(join(folder, 'run', 'log.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line).step);
  mkdirSync(join(folder, 'run'));
  writeFileSync(join(folder, 'run', 'log.jsonl'), '{"step":1,"loss":1}\n{"step":2,"lo');
  writeFileSync(join(folder, 'run', 'config.json'), JSON.stringify(config));
  const stop = new AbortController();
  await run('data', { signal: stop.signal, onUpdate: ({ step }) => void (step === 1 && stop.abort()) });
  assert.equal(logged(), [1]);
  renameSync(join(folder, 'data'), join(folder, 'moved'));
  assert.ok((await run('moved', { resume: true })).finished);
  assert.equal(logged(), [1, 2, 3, 4]);
  // A model that somebody deleted is there again.
  const model = hash(join(folder, 'run', 'mfp.safetensors'));
  rmSync(join(folder, 'run', 'mfp.safetensors'));
  await run('moved', { resume: true });
  assert.is(hash(join(folder, 'run', 'mfp.safetensors')), model);
  // Killed between its last checkpoint and its model, a run has that of the epoch before.
  writeFileSync(join(folder, 'run', 'mfp.safetensors'), 'of the epoch before');
  await run('moved', { resume: true });
  assert.is(hash(join(folder, 'run', 'mfp.safetensors')), model);
});

test('refuses to overwrite a run, to resume none, or to resume with other data', async () => {
  const folder = scratchFolder();
  writeTestDataset(join(folder, 'data'), { classes: ['plate'], good: 1, bad: 1, size: 40 });
  const gpu = await testGpu();
  const dataset = openDataset(join(folder, 'data'));
  const config = parseRunConfig({ image: { size: 40 }, cnn: { size: 32 }, training: { epochs: 1 } }, 'test');
  const options = { gpu, source, dataset, out: join(folder, 'run'), config };
  assert.match((await errorOf(() => trainMfp({ ...options, resume: true }))).message, /there is no .*checkpoint\.safetensors/);
  await trainMfp(options);
  assert.match((await errorOf(() => trainMfp(options))).message, /holds a run already/);
  const refusal = async (changed: Partial<typeof options>): Promise<string> => (await errorOf(() => trainMfp({ ...options, ...changed, resume: true }))).message;
  assert.match(await refusal({ dataset: { ...dataset, samples: dataset.samples.slice(1) } }), /--resume: the data set is not the one that .*checkpoint\.safetensors was trained with/);
  cpSync(source.clip, join(folder, 'clip'), { recursive: true });
  const weights = join(folder, 'clip', 'model.safetensors');
  const changed = readFileSync(weights);
  changed[changed.length - 1] ^= 1;
  writeFileSync(weights, changed);
  assert.match(await refusal({ source: { ...source, clip: join(folder, 'clip') } }), /the CLIP \(--clip\) is not the one/);
  writeFileSync(dataset.samples[0].image, Buffer.concat([readFileSync(dataset.samples[0].image), Buffer.alloc(1)]));
  assert.match(await refusal({}), /the data set is not the one/);
  const other = { ...config, training: { ...config.training, epochs: 2 } };
  assert.match((await errorOf(() => trainMfp({ ...options, resume: true, config: other }))).message, /configuration differs/);
});

test('leaves a folder alone that holds a model or something else than a run', async () => {
  const folder = scratchFolder();
  writeTestDataset(join(folder, 'data'), { classes: ['plate'], good: 1, bad: 1, size: 40 });
  const gpu = await testGpu();
  const options = { gpu, source, dataset: openDataset(join(folder, 'data')), config: parseRunConfig({ image: { size: 40 }, cnn: { size: 32 }, training: { epochs: 1 } }, 'test') };
  for (const [name, content, expected] of [
    ['mfp.safetensors', 'a trained model', /out-mfp\.safetensors holds a model already .*Choose another --out/],
    ['model.safetensors', 'a CLIP', /holds a model already \(.*model\.safetensors\)/],
    ['config.json', '{"model_type":"clip"}', /config\.json is not the configuration of a training run/],
    ['config.json', '[', /config\.json is not the configuration of a training run/],
  ] as const) {
    const out = join(folder, `out-${name}`);
    rmSync(out, { recursive: true, force: true });
    mkdirSync(out);
    writeFileSync(join(out, name), content);
    assert.match((await errorOf(() => trainMfp({ ...options, out }))).message, expected);
    assert.equal(readdirSync(out), [name]);
    assert.is(readFileSync(join(out, name), 'utf8'), content);
  }
});

test('an epoch is saved before it is measured, and measured when the run goes on', async () => {
  const folder = scratchFolder();
  writeTestDataset(join(folder, 'data'), { classes: ['plate'], good: 1, bad: 1, size: 40 });
  const gpu = await testGpu();
  const out = join(folder, 'run');
  const config = parseRunConfig({ image: { size: 40 }, cnn: { size: 32 }, training: { epochs: 3 } }, 'test');
  const dataset = openDataset(join(folder, 'data'));
  const measured: string[] = [];
  let answer: 'fail' | 'stop' | 'measure' = 'measure';
  const run = (resume: boolean): Promise<RunResult> =>
    trainMfp({
      gpu, source, dataset, out, config, resume,
      validateEvery: 2,
      async validate() {
        assert.ok(existsSync(join(out, 'checkpoint.safetensors')) && existsSync(join(out, 'mfp.safetensors')));
        if (answer === 'fail') throw new Error('no memory is left');
        if (answer === 'stop') return undefined;
        measured.push(hash(join(out, 'mfp.safetensors')));
        return { pixelAuroc: measured.length };
      },
    });
  const lines = () => readFileSync(join(out, 'log.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line) as LogLine);
  const validations = () => lines().flatMap(({ epoch, step, validation }) => (validation ? [{ epoch, step, validation }] : []));
  answer = 'fail';
  assert.match((await errorOf(() => run(false))).message, /no memory is left/);
  answer = 'stop';
  assert.equal(await run(true), { finished: false, step: 4, file: join(out, 'mfp.safetensors'), hostShare: undefined });
  assert.equal(validations(), []);
  answer = 'measure';
  assert.ok((await run(true)).finished);
  assert.equal(validations(), [{ epoch: 1, step: 4, validation: { pixelAuroc: 1 } }, { epoch: 2, step: 6, validation: { pixelAuroc: 2 } }]);
  assert.equal(lines().map(({ step }) => step), [1, 2, 3, 4, 4, 5, 6, 6]);
  assert.is.not(measured[0], measured[1]);
  // Everything is measured.
  assert.ok((await run(true)).finished);
  assert.is(measured.length, 2);
});

for (const [what, spoil, expected] of [
  ['a missing mask', (data: string) => rmSync(join(data, 'plate/ground_truth/spot/000_mask.png')), /000\.png: has no mask/],
  ['a mask of another size', (data: string) => writeTestDataset(join(data, '../other'), { classes: ['plate'], good: 0, bad: 1, size: 30 }), /is 30 × 30 pixels, its image .* is 40 × 40/],
  ['an unreadable image', (data: string) => writeFileSync(join(data, 'plate/test/good/000.png'), 'no image'), /good\/000\.png/],
  ['an empty class', (data: string) => rmSync(join(data, 'plate/test/good/000.png')), /has no PNG or JPEG images/],
] as const) {
  test(`${what} is found before the first step`, async () => {
    const folder = scratchFolder();
    const data = join(folder, 'data');
    writeTestDataset(data, { classes: ['plate'], good: 1, bad: 1, size: 40 });
    spoil(data);
    const other = join(folder, 'other/plate/ground_truth/spot/000_mask.png');
    if (existsSync(other)) writeFileSync(join(data, 'plate/ground_truth/spot/000_mask.png'), readFileSync(other));
    const { code, errors } = await command(['train', '--data', data, '--clip', source.clip, '--cnn', source.cnn, '--out', join(folder, 'run')]);
    assert.is(code, 1);
    assert.match(errors, expected);
    assert.not(existsSync(join(folder, 'run')));
  });
}

test.run();
