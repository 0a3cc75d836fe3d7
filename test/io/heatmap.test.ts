import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type HeatmapOptions, heatColour, heatmapOverlay } from '../../src/io/heatmap.ts';
import { type Colour, createPicture, encodePng, resizePicture } from '../../src/io/picture.ts';

/** A drawing decoded again. Its header, with the caption and the contour's value, is left on top of the photo. */
function draw(options: HeatmapOptions): { width: number; height: number; at(x: number, y: number): number[] } {
  const { width, height, data } = PNG.sync.read(Buffer.from(heatmapOverlay(options)));
  return { width, height, at: (x, y) => [...data.subarray((y * width + x) * 4, (y * width + x) * 4 + 3)] };
}

const side = 600;
const margin = 14; // 1.2 × the letters' height of 12 at this size
const grey = (level: number, width = side, height = side) => createPicture(width, height, [level, level, level]);

/** A map with one square spot. */
function spotMap(size: number, low: number, high: number): Float32Array {
  return Float32Array.from({ length: size * size }, (_, i) => {
    const [x, y] = [i % size, Math.floor(i / size)];
    return x >= size / 4 && x < size / 2 && y >= size / 4 && y < size / 2 ? high : low;
  });
}

test('where the map is low the photo shows, where it is high the colour does, on dark and on light photos', () => {
  for (const level of [12, 240]) {
    const drawing = draw({ image: grey(level), map: spotMap(40, 0.05, 0.95), mapWidth: 40, mapHeight: 40 });
    const at = (x: number, y: number): number[] => drawing.at(margin + Math.round(x * side), margin + Math.round(y * side));
    assert.equal(at(0.8, 0.8), [level, level, level]);
    assert.equal(at(0.1, 0.4), [level, level, level]);
    const [red, green, blue] = at(0.375, 0.375);
    const colour = heatColour(0.95);
    for (const [value, expected] of [[red, colour[0]], [green, colour[1]], [blue, colour[2]]]) assert.ok(Math.abs(value - (level * 0.28 + expected * 0.72)) < 2);
  }
});

test('the contour runs where the resized map crosses the threshold, light with a dark edge', () => {
  // A ramp from left to right: the threshold is crossed on one vertical line.
  const ramp = Float32Array.from({ length: 100 * 100 }, (_, i) => (i % 100) / 99);
  for (const level of [0, 255, 128]) {
    const drawing = draw({ image: grey(level), map: ramp, mapWidth: 100, mapHeight: 100, threshold: 0.25 });
    const top = margin + 24 + 300;
    const column = margin + Math.floor(((0.25 * 99 + 0.5) / 100) * side);
    const brightness = Array.from({ length: side }, (_, x) => Math.min(...drawing.at(margin + x, top)));
    assert.ok(brightness[column - margin] > 230, `the line on a photo of ${level}`);
    assert.ok(Math.min(...brightness.slice(column - margin - 5, column - margin + 6)) < 130, `its edge on a photo of ${level}`);
    const whites = brightness.flatMap((value, x) => (value > 225 && Math.abs(x + margin - column) > 3 ? [x] : []));
    if (level < 255) assert.equal(whites, [], 'nothing else is as light');
  }
});

test('a map that lies flat on the threshold, or never reaches it, has no contour', () => {
  for (const value of [0.5, 0.1]) {
    const options = { image: grey(90), map: new Float32Array(16).fill(value), mapWidth: 4, mapHeight: 4 };
    const [without, withThreshold] = [draw(options), draw({ ...options, threshold: 0.5 })];
    for (let y = 0; y < side; y += 7) for (let x = 0; x < side; x += 7) assert.equal(withThreshold.at(margin + x, margin + 24 + y), without.at(margin + x, margin + y));
  }
});

test('the colour scale does not follow the image: a weak map stays weak unless a range is given', () => {
  const options = { image: grey(100), map: spotMap(8, 0, 0.1), mapWidth: 8, mapHeight: 8 };
  const spot = (drawing: ReturnType<typeof draw>): number[] => drawing.at(margin + Math.round(side * 0.375), margin + Math.round(side * 0.375));
  assert.equal(spot(draw(options)), [100, 100, 100]);
  assert.ok(spot(draw({ ...options, range: [0, 0.1] }))[0] > 180);
});

test('the drawing of a photo has 512 to 1600 pixels on the long side, and room for bar and caption whatever its form', () => {
  const map = new Float32Array(9);
  const sizeOf = (width: number, height: number, caption?: string): { width: number; height: number } => draw({ image: grey(50, width, height), map, mapWidth: 3, mapHeight: 3, threshold: 0.5, caption });
  const tiny = sizeOf(1, 1);
  assert.ok(tiny.width > 512 && tiny.width < 640 && tiny.height > 512 && tiny.height < 640);
  const large = sizeOf(2000, 1500);
  assert.ok(large.width > 1600 && large.width < 1850 && large.height > 1200 && large.height < 1400);
  const flat = sizeOf(2000, 3);
  assert.ok(flat.height > 250);
  const narrow = sizeOf(3, 2000, 'a class with a long name of many words   score 0.123');
  assert.ok(narrow.width > 600);
  assert.ok(sizeOf(3, 2000, 'x'.repeat(5000)).width < 2200);
});

test('captions and numbers are drawn: other texts give other pixels, the same the same bytes', () => {
  const options = { image: grey(50), map: new Float32Array(4), mapWidth: 2, mapHeight: 2, threshold: 0.5 };
  const header = (caption: string): string => {
    const drawing = draw({ ...options, caption });
    let text = '';
    for (let y = margin; y < margin + 16; y++) for (let x = margin; x < margin + 250; x++) text += drawing.at(x, y)[0] > 128 ? '#' : '.';
    return text;
  };
  const texts = ['metal nut 0.953', 'metal nut 0.958', 'Metal nut 0.953', 'été', 'ete', ''].map(header);
  assert.is(texts[3], texts[4]);
  assert.is(new Set(texts).size, 5);
  assert.ok([...texts[0]].filter((dot) => dot === '#').length > 300);
  assert.equal(heatmapOverlay({ ...options, caption: 'a' }), heatmapOverlay({ ...options, caption: 'a' }));
});

test('a map that is not finite or has another size is refused', () => {
  const options = { image: grey(50), mapWidth: 2, mapHeight: 2 };
  assert.throws(() => heatmapOverlay({ ...options, map: Float32Array.of(0, 1, Number.NaN, 0) }), /value 2 of the map is NaN/);
  assert.throws(() => heatmapOverlay({ ...options, map: new Float32Array(3) }), /3 values are not 2×2/);
  assert.throws(() => heatmapOverlay({ ...options, map: new Float32Array(4), range: [1, 1] }), /from 1 to 1/);
});

test('the colour scale gets lighter evenly', () => {
  const lightness = ([red, green, blue]: Colour): number => {
    const linear = [red, green, blue].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return luminance > 0.008856 ? 116 * Math.cbrt(luminance) - 16 : 903.3 * luminance;
  };
  for (let i = 0; i <= 20; i++) assert.ok(Math.abs(lightness(heatColour(i / 20)) - 98 * (i / 20)) < 9, `at ${i / 20}: ${lightness(heatColour(i / 20))}`);
});

test('pictures are resized by averaging and interpolation, and encoded without loss', () => {
  const picture = { width: 4, height: 2, pixels: Uint8Array.from({ length: 24 }, (_, i) => i * 10) };
  const half = resizePicture(picture, 2, 1);
  // A triangle two source pixels wide to each side: rows weigh the same, columns 3 : 3 : 1 as far as they exist.
  const row = (x: number, channel: number): number => (picture.pixels[3 * x + channel] + picture.pixels[12 + 3 * x + channel]) / 2;
  for (let c = 0; c < 3; c++) {
    assert.is(half.pixels[c], Math.round((3 * row(0, c) + 3 * row(1, c) + row(2, c)) / 7));
    assert.is(half.pixels[3 + c], Math.round((row(1, c) + 3 * row(2, c) + 3 * row(3, c)) / 7));
  }
  const flat = resizePicture(createPicture(3, 5, [7, 99, 250]), 11, 2);
  assert.equal([...new Set(flat.pixels.filter((_, i) => i % 3 === 1))], [99]);
  const decoded = PNG.sync.read(Buffer.from(encodePng(picture)));
  assert.equal([...decoded.data.filter((_, i) => i % 4 !== 3)], [...picture.pixels]);
});

test.run();
