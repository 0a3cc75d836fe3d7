import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type ImageSize, imageResize, resizeTable, resizeTables } from '../../src/ops/image_resize.ts';
import { freeTensor } from '../../src/tensor/tensor.ts';
import { assertClose, evaluate, testGpu } from '../support/gpu.ts';

const goldens = fileURLToPath(new URL('../golden/resize/', import.meta.url));

/** The source images of tools/oracle/resize.py, by the same rules. */
function source(rule: string, { width, height }: ImageSize): Uint8Array {
  const values = new Uint8Array(width * height * 3);
  if (rule === 'noise') {
    let state = 1;
    for (let i = 0; i < values.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      values[i] = state >>> 24;
    }
    return values;
  }
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 3; channel++) {
        const ramp = (x * (3 + channel) + y * (7 - 2 * channel)) % 511;
        const white = (Math.floor(x / 16) + Math.floor(y / 16)) % 5 === 0;
        values[(y * width + x) * 3 + channel] = white ? 255 : ramp > 255 ? 510 - ramp : ramp;
      }
    }
  }
  return values;
}

/** Resizes and normalises one image. */
async function resize(pixels: ArrayLike<number>, from: ImageSize, to: ImageSize, mean: readonly [number, number, number] = [0, 0, 0], std: readonly [number, number, number] = [1, 1, 1], dtype: 'f32' | 'f16' = 'f32'): Promise<Float32Array> {
  const gpu = await testGpu();
  const tables = resizeTables(gpu, from, to);
  const [output] = await evaluate([{ values: pixels, shape: [from.height, from.width, 3], dtype: 'u8' }], (input) => imageResize(input, tables, { mean, std, dtype }));
  for (const table of [tables.horizontal, tables.vertical]) freeTensor(gpu, table);
  return output;
}

for (const file of readdirSync(goldens)) {
  const [, rule, ...sizes] = /^(\w+)-(\d+)x(\d+)-(\d+)x(\d+)\.png$/.exec(file)!;
  const [width, height, targetWidth, targetHeight] = sizes.map(Number);
  test(`image_resize ${rule} ${width}x${height} to ${targetWidth}x${targetHeight} is Pillow's, to the bit`, async () => {
    const golden = PNG.sync.read(readFileSync(goldens + file));
    assert.equal([golden.width, golden.height], [targetWidth, targetHeight]);
    const output = await resize(source(rule, { width, height }), { width, height }, { width: targetWidth, height: targetHeight });
    const plane = targetWidth * targetHeight;
    let different = 0;
    for (let i = 0; i < plane; i++) {
      for (let channel = 0; channel < 3; channel++) if (Math.round(output[channel * plane + i] * 255) !== golden.data[4 * i + channel]) different++;
    }
    assert.is(different, 0, `${different} of ${3 * plane} values differ from ${file}`);
  });
}

test('image_resize normalises each channel with its own mean and deviation', async () => {
  const size = { width: 5, height: 3 };
  const pixels = source('noise', size);
  const mean = [0.48145466, 0.4578275, 0.40821073] as const;
  const std = [0.26862954, 0.26130258, 0.27577711] as const;
  const expected = Float64Array.from({ length: 45 }, (_, i) => (pixels[(i % 15) * 3 + Math.floor(i / 15)] / 255 - mean[Math.floor(i / 15)]) / std[Math.floor(i / 15)]);
  assertClose(await resize(pixels, size, size, mean, std), expected, 1e-6, 'f32');
  assertClose(await resize(pixels, size, size, mean, std, 'f16'), expected, 1e-3, 'f16');
});

test('weights sum to one in fixed point and keep a constant image constant', async () => {
  for (const [from, to] of [[1, 9], [9, 1], [53, 64], [389, 224], [64, 64], [3, 1000]]) {
    const { taps, values } = resizeTable(from, to);
    const words = new Int32Array(values.buffer);
    for (let i = 0; i < to; i++) {
      let sum = 0;
      for (let tap = 0; tap < taps; tap++) sum += words[(1 + tap) * to + i];
      // Each weight is rounded by itself.
      assert.ok(Math.abs(sum - 2 ** 22) <= taps, `${from} to ${to}, cell ${i}: ${sum}`);
      assert.ok(words[i] >= 0 && words[i] + taps <= from, `${from} to ${to}, cell ${i} reads from ${words[i]}`);
    }
  }
  const output = await resize(new Uint8Array(19 * 11 * 3).fill(201), { width: 19, height: 11 }, { width: 8, height: 30 });
  assert.ok(output.every((value) => Math.round(value * 255) === 201));
});

test('image_resize names what does not fit', async () => {
  const gpu = await testGpu();
  const tables = resizeTables(gpu, { width: 300, height: 300 }, { width: 3, height: 3 });
  const attempt = async (shape: number[], dtype: 'u8' | 'f32'): Promise<string> => {
    try {
      await evaluate([{ values: new Uint8Array(shape.reduce((a, b) => a * b, 1)), shape, dtype }], (input) => imageResize(input, tables, { mean: [0, 0, 0], std: [1, 1, 1], dtype: 'f32' }));
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt([4, 4, 3], 'f32'), /image_resize: pixels must be u8\[height, width, 3\]; got pixels f32\[4, 4, 3\]/);
  assert.match(await attempt([4, 4, 4], 'u8'), /image_resize: pixels must be u8\[height, width, 3\]; got pixels u8\[4, 4, 4\]/);
  assert.match(await attempt([4, 4, 3], 'u8'), /image_resize: the tables must be those of resizeTables for the size of pixels/);
  assert.throws(() => resizeTable(0, 5), /cannot resize an axis of 0 pixels to 5/);
  for (const table of [tables.horizontal, tables.vertical]) freeTensor(gpu, table);
});

test.run();
