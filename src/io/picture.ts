import { PNG } from 'pngjs';
import { paintText } from './glyphs.ts';

/** An 8-bit RGB picture that is drawn on. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  /** height × width × 3. */
  readonly pixels: Uint8Array;
}

/** Red, green and blue, 0 to 255. */
export type Colour = readonly [red: number, green: number, blue: number];

/** A picture in one colour. */
export function createPicture(width: number, height: number, colour: Colour): Picture {
  const pixels = new Uint8Array(width * height * 3);
  pixels.set(colour);
  // What is filled already is copied behind itself.
  for (let filled = 3; filled < pixels.length; filled *= 2) pixels.copyWithin(filled, 0, filled);
  return { width, height, pixels };
}

/** Mixes a colour into a pixel; outside the picture nothing happens. */
export function blendPixel({ width, height, pixels }: Picture, x: number, y: number, colour: Colour, opacity: number): void {
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const at = (y * width + x) * 3;
  for (let channel = 0; channel < 3; channel++) pixels[at + channel] = Math.round(pixels[at + channel] + (colour[channel] - pixels[at + channel]) * opacity);
}

/** Fills a rectangle of whole pixels. */
export function fillRectangle(picture: Picture, left: number, top: number, width: number, height: number, colour: Colour): void {
  for (let y = top; y < top + height; y++) for (let x = left; x < left + width; x++) blendPixel(picture, x, y, colour, 1);
}

/** Copies a picture into another. */
export function placePicture(target: Picture, source: Picture, left: number, top: number): void {
  for (let y = 0; y < source.height; y++) {
    target.pixels.set(source.pixels.subarray(y * source.width * 3, (y + 1) * source.width * 3), ((top + y) * target.width + left) * 3);
  }
}

/**
 * Writes a line of text.
 *
 * @param left left end
 * @param top top of the capitals
 * @param size height of the capitals in pixels
 * @param weight 1 is regular, 1.5 bold
 */
export function drawText(picture: Picture, text: string, left: number, top: number, size: number, colour: Colour, weight = 1): void {
  paintText(text, left, top, size, weight, (x, y, coverage) => blendPixel(picture, x, y, colour, coverage));
}

/** For each target position the first source position and the weights from there on: a triangle as wide as the scale. */
function resizeWeights(from: number, to: number): { readonly first: number; readonly weights: Float64Array }[] {
  const scale = from / to;
  const support = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(from, Math.floor(centre + support + 0.5));
    const weights = Float64Array.from({ length: Math.max(1, last - first) }, (_, k) => Math.max(0, 1 - Math.abs(first + k + 0.5 - centre) / support));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** A picture at another size, bilinear, averaged over the pixels that fall together when it becomes smaller. For viewing. */
export function resizePicture({ width, height, pixels }: Picture, toWidth: number, toHeight: number): Picture {
  if (toWidth === width && toHeight === height) return { width, height, pixels: pixels.slice() };
  const columns = resizeWeights(width, toWidth);
  const rows = resizeWeights(height, toHeight);
  const narrow = new Float32Array(toWidth * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < toWidth; x++) {
      const { first, weights } = columns[x];
      const to = (y * toWidth + x) * 3;
      for (let k = 0; k < weights.length; k++) {
        const from = (y * width + first + k) * 3;
        narrow[to] += weights[k] * pixels[from];
        narrow[to + 1] += weights[k] * pixels[from + 1];
        narrow[to + 2] += weights[k] * pixels[from + 2];
      }
    }
  }
  const result = new Uint8Array(toWidth * toHeight * 3);
  const stride = toWidth * 3;
  const sums = new Float64Array(stride);
  for (let y = 0; y < toHeight; y++) {
    const { first, weights } = rows[y];
    sums.fill(0);
    for (let k = 0; k < weights.length; k++) for (let i = 0; i < stride; i++) sums[i] += weights[k] * narrow[(first + k) * stride + i];
    for (let i = 0; i < stride; i++) result[y * stride + i] = Math.round(sums[i]);
  }
  return { width: toWidth, height: toHeight, pixels: result };
}

/** The bytes of a PNG file of a picture. The same picture gives the same bytes. */
export function encodePng({ width, height, pixels }: Picture): Uint8Array {
  if (pixels.length !== width * height * 3) throw new Error(`encodePng: ${pixels.length} bytes are not ${width}×${height} RGB pixels`);
  const png = new PNG({ width, height });
  png.data = Buffer.from(pixels.buffer, pixels.byteOffset, pixels.byteLength);
  return PNG.sync.write(png, { bitDepth: 8, colorType: 2, inputColorType: 2, inputHasAlpha: false });
}
