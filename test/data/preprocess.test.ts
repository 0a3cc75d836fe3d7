import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { RgbImage } from '../../src/data/image.ts';
import { PhotoError, Preprocessor } from '../../src/data/preprocess.ts';
import { UserError } from '../../src/errors.ts';
import { emptyTensor, freeTensor, readTensor } from '../../src/tensor/tensor.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

const targets = [
  { size: 16, mean: [0.48145466, 0.4578275, 0.40821073], std: [0.26862954, 0.26130258, 0.27577711] },
  { size: 9, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
] as const;

/** Noise, seeded by its size. */
function photo(width: number, height: number): RgbImage {
  const pixels = new Uint8Array(width * height * 3);
  let state = width + height;
  for (let i = 0; i < pixels.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    pixels[i] = state >>> 24;
  }
  return { width, height, pixels };
}

/** What a preprocessor makes of photos: per photo and target the values of the batch. */
async function preprocess(photos: readonly RgbImage[], bandBytes?: number): Promise<Float32Array[]> {
  const gpu = await testGpu();
  const preprocessor = new Preprocessor(gpu, targets, bandBytes);
  const batches = targets.map(({ size }) => emptyTensor(gpu, [1, 3, size, size], 'f32', 'batch'));
  const results: Float32Array[] = [];
  for (const image of photos) {
    await preprocessor.load(image, batches, 0);
    for (const batch of batches) results.push(Float32Array.from(await readTensor(gpu, batch)));
  }
  preprocessor.destroy();
  for (const batch of batches) freeTensor(gpu, batch);
  return results;
}

test('a photo that is cut into bands gives the same bits', async () => {
  const photos = [photo(37, 1), photo(37, 31), photo(37, 9), photo(37, 10), photo(41, 97), photo(37, 31)];
  const whole = await preprocess(photos);
  // One, three and nine rows of 37 pixels, with some bytes to spare.
  for (const bandBytes of [1, 350, 1000]) {
    (await preprocess(photos, bandBytes)).forEach((values, i) => assert.equal(values, whole[i], `bands of ${bandBytes} bytes, result ${i}`));
  }
});

test('a photo of more than 128 MiB gives what a narrow one with the same rows gives', async () => {
  // Every row is of one grey, which a resize along it leaves as it is. 45.1 megapixels.
  const [width, height] = [6016, 7500];
  const pixels = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) pixels.fill(row >> 5, row * width * 3, (row + 1) * width * 3);
  const narrow = { width: 3, height, pixels: Uint8Array.from({ length: 9 * height }, (_, i) => Math.floor(i / 9) >> 5) };
  const [large, small] = [await preprocess([{ width, height, pixels }]), await preprocess([narrow])];
  large.forEach((values, i) => assert.equal(values, small[i]));
});

test('a photo that cannot be resized is named by its size, and the next one is none the worse', async () => {
  const gpu = await testGpu();
  const preprocessor = new Preprocessor(gpu, targets);
  const batches = targets.map(({ size }) => emptyTensor(gpu, [1, 3, size, size], 'f32', 'batch'));
  const limit = gpu.device.limits.maxStorageBufferBindingSize;
  const before = gpu.memory.allocated;
  // Only the size is looked at.
  for (const [width, height] of [[1, limit], [limit, 1]]) {
    const image = { width, height, pixels: new Uint8Array() };
    const error = await errorOf(() => preprocessor.load(image, batches, 0));
    assert.instance(error, PhotoError);
    assert.instance(error, UserError);
    assert.is((error as PhotoError).image, image);
    assert.match(error.message, new RegExp(`photo of ${width}×${height} pixels cannot be resized to 16×16`));
  }
  assert.is(gpu.memory.allocated, before);
  assert.match((await errorOf(() => preprocessor.load({ width: 2, height: 2, pixels: new Uint8Array(16) }, batches, 0))).message, /a photo of 2x2 has 12 values, got 16/);
  const image = photo(20, 30);
  await preprocessor.load(image, batches, 0);
  assert.equal(await readTensor(gpu, batches[0]), (await preprocess([image]))[0]);
  preprocessor.destroy();
  for (const batch of batches) freeTensor(gpu, batch);
});

test('a photo without memory for it is an error of that photo, and leaves nothing behind', async () => {
  const gpu = await testGpu();
  const preprocessor = new Preprocessor(gpu, targets, 300_000);
  const batches = targets.map(({ size }) => emptyTensor(gpu, [1, 3, size, size], 'f32', 'batch'));
  gpu.memory.trim();
  const { allocated } = gpu.memory;
  gpu.memory.budget = allocated + 1_000_000;
  try {
    const image = photo(700, 700);
    const error = await errorOf(() => preprocessor.load(image, batches, 0));
    assert.instance(error, PhotoError);
    assert.match(error.message, /out of the memory budget at photo 700x700/);
    gpu.memory.trim();
    assert.is(gpu.memory.allocated, allocated);
    await preprocessor.load(photo(300, 300), batches, 0);
  } finally {
    gpu.memory.budget = Number.POSITIVE_INFINITY;
    preprocessor.destroy();
    for (const batch of batches) freeTensor(gpu, batch);
  }
});

test.run();
