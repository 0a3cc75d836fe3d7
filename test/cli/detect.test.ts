import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { readNpy } from '../../src/io/npy.ts';
import { type TensorToWrite, openCheckpoint, writeSafetensors } from '../../src/io/safetensors.ts';
import { command, scratchFolder } from '../support/command.ts';
import { writeTestDataset } from '../support/dataset.ts';
import { goldenFolder } from '../support/golden.ts';
import { assertClose } from '../support/gpu.ts';

const checkpoint = join(goldenFolder, 'half');
const model = ['--clip', join(checkpoint, 'clip'), '--cnn', join(checkpoint, 'cnn'), '--mfp', join(checkpoint, 'mfp.safetensors'), '--variants', 'default'];

/** Photos of a test data set's class. */
function photos(folder: string, good = 2, bad = 1): string {
  writeTestDataset(folder, { classes: ['plate'], good, bad, size: 50 });
  return join(folder, 'plate', 'test');
}

test('scores photos, writes maps and heatmaps, and goes on after a bad one', async () => {
  const folder = scratchFolder();
  const images = photos(join(folder, 'data'));
  writeFileSync(join(images, 'good', 'broken.png'), readFileSync(join(images, 'good', '000.png')).subarray(0, 60));
  const out = join(folder, 'out');
  const { code, output, errors } = await command(['detect', images, '--class', 'metal_plate', ...model, '--out', out, '--batch', '2']);
  assert.is(code, 1, errors);
  assert.match(errors, /broken\.png.*truncated/);
  assert.match(errors, /1 of 4 images could not be processed/);
  const lines = output.trim().split('\n').map((line) => JSON.parse(line));
  assert.is(lines.length, 4);
  assert.is(lines.filter(({ error }) => error).length, 1);
  for (const line of lines.filter(({ error }) => !error)) {
    assert.is(line.class, 'metal plate');
    assert.type(line.seconds, 'number');
    const { data, shape } = await readNpy(line.map);
    assert.equal(shape, [40, 40]);
    assert.is(Math.max(...data), line.score);
    assert.is(line.abnormal, line.score >= 0.5);
    assert.equal([...readFileSync(line.heatmap).subarray(1, 4)], [...Buffer.from('PNG')]);
  }
  // Nothing half-written, and nothing of the image that could not be read.
  const written = readdirSync(out, { recursive: true }).map(String).filter((name) => /\.\w+$/.test(name)).sort();
  assert.equal(written, ['good/000.heatmap.png', 'good/000.npy', 'good/001.heatmap.png', 'good/001.npy', 'spot/000.heatmap.png', 'spot/000.npy']);
});

test('two runs give the same bits, and a batch the same results', async () => {
  const folder = scratchFolder();
  const images = photos(join(folder, 'data'));
  const scores = [];
  for (const [run, batch] of [['a', '1'], ['b', '1'], ['c', '3']]) {
    const { code, output, errors } = await command(['detect', images, '--class', 'plate', ...model, '--out', join(folder, run), '--batch', batch]);
    assert.is(code, 0, errors);
    scores.push(output.trim().split('\n').map((line) => JSON.parse(line).score));
  }
  assert.equal(scores[1], scores[0]);
  for (const file of ['good/000.npy', 'good/001.npy', 'spot/000.npy']) {
    const first = readFileSync(join(folder, 'a', file));
    assert.ok(first.length > 1000, file);
    assert.ok(readFileSync(join(folder, 'b', file)).equals(first), `${file} of the second run`);
    // Larger products may run on another kernel, which rounds differently in the last bits.
    const [alone, batched] = [await readNpy(join(folder, 'a', file)), await readNpy(join(folder, 'c', file))];
    assertClose(batched.data, alone.data, 1e-5, `${file} of the batch`);
  }
});

test('without a trained file it runs plain zero-shot CLIP, and needs no CNN', async () => {
  const folder = scratchFolder();
  const images = photos(join(folder, 'data'), 1, 0);
  const { code, output, errors } = await command(['detect', join(images, 'good', '000.png'), '--class', 'plate', '--clip', join(checkpoint, 'clip'), '--variants', 'default', '--out', join(folder, 'out'), '--size', '32', '--precision', 'f16']);
  assert.is(code, 0, errors);
  const { score, map } = JSON.parse(output);
  assert.ok(score > 0 && score < 1);
  assert.equal((await readNpy(map)).shape, [32, 32]);
});

/** A copy of a checkpoint to spoil. */
function spoiled(folder: string, spoil: (clip: string) => void): string {
  const copy = join(folder, 'clip');
  cpSync(join(checkpoint, 'clip'), copy, { recursive: true });
  spoil(copy);
  return copy;
}

const changeConfig = (clip: string, change: (config: { vision_config: Record<string, unknown>; text_config: Record<string, unknown> }) => void): void => {
  const config = JSON.parse(readFileSync(join(clip, 'config.json'), 'utf8'));
  change(config);
  writeFileSync(join(clip, 'config.json'), JSON.stringify(config));
};

for (const [what, args, expected] of [
  ['an unknown flag', (images: string) => [images, '--class', 'plate', ...model, '--sizes', '4'], /unknown option '--sizes'/],
  ['an empty class', (images: string) => [images, '--class', ' _ ', ...model], /--class is empty/],
  ['a missing class', (images: string) => [images, ...model], /required option '--class/],
  ['a size that is no multiple of the patch', (images: string) => [images, '--class', 'plate', ...model, '--size', '41'], /image size 41 is not a multiple of 8.*--size 40/s],
  ['an image that is not there', (images: string) => [join(images, 'none.png'), '--class', 'plate', ...model], /none\.png/],
  ['a trained file without the CNN that it needs', (images: string) => [images, '--class', 'plate', '--clip', join(checkpoint, 'clip'), '--mfp', join(checkpoint, 'mfp.safetensors')], /--cnn/],
  ['a trained file of another CLIP', (images: string) => [images, '--class', 'plate', '--clip', join(checkpoint, 'clip'), '--cnn', join(checkpoint, 'cnn'), '--mfp', join(goldenFolder, 'default', 'mfp.safetensors')], /mfp\.safetensors: tensor ".*" has the shape/],
  ['a variant that does not exist', (images: string) => [images, '--class', 'plate', ...model, '--variant', 'gemm=fast'], /gemm has the variants/],
] as const) {
  test(`${what} is one clear error`, async () => {
    const folder = scratchFolder();
    const out = join(folder, 'out');
    const { code, output, errors } = await command(['detect', ...args(photos(join(folder, 'data'), 1, 0)), '--out', out]);
    assert.is(code, 1);
    assert.is(output, '');
    assert.match(errors, expected);
    assert.not.match(errors, /\n\s+at /);
    assert.not(existsSync(out) && readdirSync(out, { recursive: true }).some((name) => /\.(npy|png|tmp)$/.test(String(name))));
  });
}

for (const [what, spoil, expected] of [
  ['no tokenizer', (clip: string) => rmSync(join(clip, 'tokenizer.json')), /tokenizer\.json/],
  ['no config.json', (clip: string) => rmSync(join(clip, 'config.json')), /no config\.json/],
  ['a config that contradicts the tensors', (clip: string) => changeConfig(clip, (config) => (config.vision_config.intermediate_size = 64)), /model\.safetensors: tensor "vision_model\.encoder\.layers\.0\.mlp\.fc1\.weight" has the shape \[128, 32\], .*config\.json asks for \[64, 32\]/],
  ['more layers in the config than in the file', (clip: string) => changeConfig(clip, (config) => (config.text_config.num_hidden_layers = 5)), /there is no tensor "text_model\.encoder\.layers\.2\./],
  ['fewer layers in the config than in the file', (clip: string) => changeConfig(clip, (config) => (config.text_config.num_hidden_layers = 1)), /model\.safetensors: tensor "text_model\.encoder\.layers\.1\.[^"]*" has no place in the model that .*config\.json describes/],
  ['another activation', (clip: string) => changeConfig(clip, (config) => (config.vision_config.hidden_act = 'gelu')), /hidden_act is "gelu"/],
  ['weights that are cut off', (clip: string) => writeFileSync(join(clip, 'model.safetensors'), readFileSync(join(clip, 'model.safetensors')).subarray(0, 20000)), /model\.safetensors/],
  ['a ResNet in place of CLIP', (clip: string) => copyFileSync(join(checkpoint, 'cnn', 'model.safetensors'), join(clip, 'model.safetensors')), /no CLIP image tower/],
] as const) {
  test(`a CLIP folder with ${what} is one clear error`, async () => {
    const folder = scratchFolder();
    const clip = spoiled(folder, spoil);
    const { code, output, errors } = await command(['detect', photos(join(folder, 'data'), 1, 0), '--class', 'plate', '--clip', clip, '--out', join(folder, 'out')]);
    assert.is(code, 1);
    assert.is(output, '');
    assert.match(errors, expected);
    assert.not.match(errors, /\n\s+at /);
  });
}

test('a relative of the ResNet is not taken for one', async () => {
  const folder = scratchFolder();
  const original = await openCheckpoint(join(checkpoint, 'cnn'));
  const tensors: TensorToWrite[] = [];
  for (const [name, { shape }] of original.tensors) tensors.push({ name, shape, data: await original.readFloat32(name), dtype: 'F32' });
  await original.close();
  // What training counts and what classifies are of no use, and no sign of another network.
  assert.ok(tensors.some(({ name }) => name === 'layer1.0.bn1.num_batches_tracked') && tensors.some(({ name }) => name === 'fc.weight'));
  const squeezed = join(folder, 'squeezed.safetensors');
  await writeSafetensors(squeezed, [...tensors, { name: 'layer1.0.se.fc1.weight', shape: [1], data: new Float32Array(1), dtype: 'F32' }]);
  const { code, errors } = await command(['detect', photos(join(folder, 'data'), 1, 0), '--class', 'plate', '--clip', join(checkpoint, 'clip'), '--mfp', join(checkpoint, 'mfp.safetensors'), '--cnn', squeezed, '--out', join(folder, 'out')]);
  assert.is(code, 1);
  assert.match(errors, /squeezed\.safetensors: tensor "layer1\.0\.se\.fc1\.weight" has no place in the model/);
});

test('no result takes the place of another one, or of a photo, and none is taken for a photo', async () => {
  const folder = scratchFolder();
  const photo = readFileSync(join(photos(join(folder, 'data'), 1, 0), 'good', '000.png'));
  const shots = join(folder, 'shots');
  mkdirSync(shots);
  const names = ['a.jpg.png', 'a.png', 'a.jpg', 'a.jpg-2.png'];
  for (const name of names) writeFileSync(join(shots, name), photo);
  const detect = async (...args: readonly string[]) => command(['detect', ...args, '--class', 'plate', ...model]);
  const first = await detect(...names.map((name) => join(shots, name)), '--out', join(folder, 'out'));
  assert.is(first.code, 0, first.errors);
  const files = first.output.trim().split('\n').flatMap((line) => [JSON.parse(line).map, JSON.parse(line).heatmap] as string[]);
  assert.is(new Set(files).size, 8, files.join(' '));
  assert.ok(files.every((file) => existsSync(file)));
  // Results beside the photos: each run finds the photos alone.
  for (const out of [join(shots, 'results'), shots]) {
    for (let run = 0; run < 2; run++) {
      const { code, output, errors } = await detect(shots, '--out', out);
      assert.is(code, 0, errors);
      assert.is(output.trim().split('\n').length, names.length);
      rmSync(join(shots, run ? 'results' : 'none'), { recursive: true, force: true });
    }
  }
  for (const name of names) assert.ok(readFileSync(join(shots, name)).equals(photo), name);
  writeFileSync(join(folder, 'b.png'), photo);
  writeFileSync(join(folder, 'b.heatmap.png'), photo);
  const { code, errors } = await detect(join(folder, 'b.png'), join(folder, 'b.heatmap.png'), '--out', folder);
  assert.is(code, 1);
  assert.match(errors, /the heatmap of .*b\.png would take the place of the photo .*b\.heatmap\.png\. Choose another --out/);
  assert.ok(readFileSync(join(folder, 'b.heatmap.png')).equals(photo));
});

test('a map of values that are not numbers is the error of its photo', async () => {
  const folder = scratchFolder();
  const images = photos(join(folder, 'data'), 1, 0);
  const damaged = join(folder, 'mfp.safetensors');
  const bytes = readFileSync(join(checkpoint, 'mfp.safetensors'));
  writeFileSync(damaged, Buffer.concat([bytes.subarray(0, -4), Buffer.alloc(4, 0xff)]));
  const { code, output, errors } = await command(['detect', images, '--class', 'plate', ...model.slice(0, 4), '--mfp', damaged, '--out', join(folder, 'out')]);
  assert.is(code, 1);
  assert.match(JSON.parse(output).error, /the map of .*000\.png has values that are not numbers\. Are the weights of the model damaged\?/);
  assert.not.match(errors, /\n\s+at /);
  assert.equal(readdirSync(join(folder, 'out'), { recursive: true }).filter((name) => /\.(npy|png)$/.test(String(name))), []);
});

test('an output folder that cannot be written is found before the model is loaded', async () => {
  const folder = scratchFolder();
  const images = photos(join(folder, 'data'), 1, 0);
  writeFileSync(join(folder, 'file'), '');
  const { code, errors } = await command(['detect', images, '--class', 'plate', ...model, '--out', join(folder, 'file', 'out')]);
  assert.is(code, 1);
  assert.match(errors, /--out .*file/);
  // Root may write everywhere, so this holds for others only.
  if (process.getuid?.() !== 0) {
    const locked = join(folder, 'locked');
    mkdirSync(locked);
    chmodSync(locked, 0o555);
    assert.match((await command(['detect', images, '--class', 'plate', ...model, '--out', locked])).errors, /--out .*locked/);
  }
});

test.run();
