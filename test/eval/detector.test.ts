import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RgbImage } from '../../src/data/image.ts';
import { loadModel } from '../../src/eval/detector.ts';
import { readTensor } from '../../src/tensor/tensor.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { errorOf } from '../support/errors.ts';
import { goldenFolder } from '../support/golden.ts';
import { testGpu } from '../support/gpu.ts';

const golden = join(goldenFolder, 'default');

test('calls that do not wait for each other get their own results', async () => {
  const gpu = await testGpu();
  const detector = await loadModel({ gpu, clip: join(golden, 'clip'), cnn: join(golden, 'cnn'), mfp: join(golden, 'mfp.safetensors'), variants: { mode: 'default' } });
  const random = new RandomSource(1);
  const photo = (side: number): RgbImage => ({ width: side, height: side, pixels: Uint8Array.from({ length: 3 * side * side }, () => random.integer(0, 255)) });
  const photos = [photo(30), photo(41), photo(35), photo(30)];
  const classes = ['metal nut', 'tile', 'tile', 'screw'];
  const expected = [];
  for (const [i, image] of photos.entries()) expected.push((await detector.detect([image], classes[i]))[0]);
  const pair = await detector.detect([photos[1], photos[2]], 'tile');
  const features = await detector.features(photos[1], classes[1]);
  assert.is(new Set(expected.map(({ score }) => score)).size, photos.length);
  // One after the other, each begins as soon as it is asked for: batches of one, one of two, a failure, and features between them.
  const [alone, both, failed, alsoFeatures, outputs] = await Promise.all([
    Promise.all(photos.map(async (image, i) => (await detector.detect([image], classes[i]))[0])),
    detector.detect([photos[1], photos[2]], 'tile'),
    errorOf(() => detector.detect([photos[0]], ' ')),
    detector.features(photos[1], classes[1]),
    detector.run([photos[3]], classes[3]),
  ]);
  assert.equal(alone, expected);
  assert.equal(both, pair);
  assert.match(failed.message, /the class of the object has no words/);
  assert.equal(alsoFeatures, features);
  assert.is((await readTensor(gpu, outputs.score))[0], expected[3].score);
  detector.close();
});

test.run();
