import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { type ImageSize, checkResize, emptyBands, imageResize, resizeTable, resizeTables } from '../../src/ops/image_resize.ts';
import { freeTensor } from '../../src/tensor/tensor.ts';
import { errorOf } from '../support/errors.ts';
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
  const [output] = await evaluate([{ values: pixels, shape: [from.height, from.width, 3], dtype: 'u8' }], (input) => imageResize([input], tables, { mean, std, dtype }));
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

test('a photo in bands of rows gives the same bits as in one', async () => {
  const gpu = await testGpu();
  // Heights of one row, a prime, a whole number of bands, one row past a band; widths whose rows end inside a word.
  for (const [width, height, rows] of [[37, 1, 3], [37, 29, 1], [37, 29, 3], [37, 29, 7], [41, 28, 7], [41, 29, 28], [40, 8, 7], [5, 211, 13]]) {
    for (const to of [{ width: 8, height: 11 }, { width: 70, height: 64 }, { width, height }]) {
      const tables = resizeTables(gpu, { width, height }, to);
      const pixels = source('noise', { width, height });
      const starts = Array.from({ length: Math.ceil(height / rows) }, (_, band) => band * rows);
      const bands = starts.map((start) => {
        const values = pixels.subarray(3 * width * start, 3 * width * Math.min(start + rows, height));
        return { values, shape: [values.length / width / 3, width, 3], dtype: 'u8' } as const;
      });
      const [banded] = await evaluate(bands, (...inputs) => imageResize(inputs, tables, { mean: [0, 0, 0], std: [1, 1, 1], dtype: 'f32' }));
      assert.equal(banded, await resize(pixels, { width, height }, to), `${width}x${height} in bands of ${rows} rows to ${to.width}x${to.height}`);
      for (const table of [tables.horizontal, tables.vertical]) freeTensor(gpu, table);
    }
  }
});

test('bands hold a whole number of rows, and all of them', async () => {
  const gpu = await testGpu();
  const heights = (size: ImageSize, bytes: number): number[] => {
    const bands = emptyBands(gpu, size, bytes);
    for (const band of bands) {
      assert.equal(band.shape.slice(1), [size.width, 3]);
      freeTensor(gpu, band);
    }
    return bands.map(({ shape }) => shape[0]);
  };
  assert.equal(heights({ width: 10, height: 7 }, 210), [7]);
  assert.equal(heights({ width: 10, height: 8 }, 210), [7, 1]);
  assert.equal(heights({ width: 10, height: 7 }, 89), [2, 2, 2, 1]);
  assert.equal(heights({ width: 10, height: 1 }, 1), [1]);
});

test('a photo too long for the adapter is one clear error that names sizes', () => {
  const limit = 128 * 1024 * 1024;
  const to = { width: 518, height: 518 };
  for (const size of [{ width: 10000, height: 10000 }, { width: 65535, height: 1525 }, { width: 1543, height: 64776 }]) checkResize(size, to, limit);
  for (const [width, height, expected] of [
    [1, 64777, /photo of 1×64777 pixels cannot be resized to 518×518: its rows at their new width take 134\.2 MB, this adapter binds at most 134\.2 MB/],
    [1, 100_000_000, /the weights of its columns take 1\.60 GB/],
    [100_000_000, 1, /the weights of its rows take 1\.60 GB/],
  ] as const) {
    assert.throws(() => checkResize({ width, height }, to, limit), (error: Error) => error instanceof UserError && expected.test(error.message));
  }
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
      await evaluate([{ values: new Uint8Array(shape.reduce((a, b) => a * b, 1)), shape, dtype }], (input) => imageResize([input], tables, { mean: [0, 0, 0], std: [1, 1, 1], dtype: 'f32' }));
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt([4, 4, 3], 'f32'), /image_resize: pixels must be u8\[height, width, 3\]; got .*, pixels f32\[4, 4, 3\]/);
  assert.match(await attempt([4, 4, 4], 'u8'), /image_resize: pixels must be u8\[height, width, 3\]; got .*, pixels u8\[4, 4, 4\]/);
  assert.match(await attempt([4, 4, 3], 'u8'), /image_resize: the tables must be those of resizeTables for the size of pixels/);
  const bands = [[2, 300, 3], [2, 299, 3]].map((shape) => ({ values: new Uint8Array(shape.reduce((a, b) => a * b, 1)), shape, dtype: 'u8' }) as const);
  const error = await errorOf(() => evaluate(bands, (...inputs) => imageResize(inputs, tables, { mean: [0, 0, 0], std: [1, 1, 1], dtype: 'f32' })));
  assert.match(error.message, /image_resize: the bands of a photo must have one width; got .*, pixels u8\[2, 300, 3\], input 3 u8\[2, 299, 3\]/);
  assert.throws(() => resizeTable(0, 5), /cannot resize an axis of 0 pixels to 5/);
  for (const table of [tables.horizontal, tables.vertical]) freeTensor(gpu, table);
});

test.run();
