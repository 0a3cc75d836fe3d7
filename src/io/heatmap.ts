import { textWidth } from './glyphs.ts';
import { type Colour, type Picture, blendPixel, createPicture, drawText, encodePng, fillRectangle, placePicture, resizePicture } from './picture.ts';

/** What to draw. */
export interface HeatmapOptions {
  /** The photo, at its own size. */
  readonly image: Picture;
  /** mapHeight × mapWidth values; resized bilinearly (align_corners = false) to the photo. */
  readonly map: Float32Array;
  readonly mapWidth: number;
  readonly mapHeight: number;
  /** Value whose contour is drawn; none when left out. */
  readonly threshold?: number;
  /**
   * Values at the two ends of the colour scale; default 0 to 1, the scale of probabilities. It is never fitted to the
   * image: a photo without defects must not look as if it had one.
   */
  readonly range?: readonly [low: number, high: number];
  /** One line above the photo: class, score. */
  readonly caption?: string;
}

/** The photo's long side in the drawing: larger photos are made smaller, small ones larger, so that labels fit. */
const LONGEST_SIDE = 1600;
const SHORTEST_LONG_SIDE = 512;

/** A longer caption is cut, in multiples of the height of its letters: about a hundred characters. */
const LONGEST_CAPTION = 70;

/** How much of the photo the strongest colour hides. */
const STRONGEST_OPACITY = 0.72;

const background: Colour = [24, 26, 30];
const textColour: Colour = [232, 234, 238];
const quietColour: Colour = [150, 155, 164];

/**
 * Ten colours at equal steps of the "inferno" scale (matplotlib's, by Stéfan van der Walt and Nathaniel Smith, CC0):
 * lightness grows evenly with the value, so that it reads the same to people who are colour-blind and in greyscale.
 */
const infernoColours: readonly Colour[] = [
  [0, 0, 4],
  [27, 12, 65],
  [74, 12, 107],
  [120, 28, 109],
  [165, 44, 96],
  [207, 68, 70],
  [237, 105, 37],
  [251, 155, 6],
  [247, 209, 61],
  [252, 255, 164],
];

/** The colour of a value between 0 and 1 on the scale. */
export function heatColour(value: number): Colour {
  const position = Math.min(1, Math.max(0, value)) * (infernoColours.length - 1);
  const below = Math.min(infernoColours.length - 2, Math.floor(position));
  const [a, b] = [infernoColours[below], infernoColours[below + 1]];
  return [0, 1, 2].map((channel) => a[channel] + (b[channel] - a[channel]) * (position - below)) as unknown as Colour;
}

/** How much the colour of a value (0 to 1) hides what is under it: nothing where the value is low. */
export function heatOpacity(value: number): number {
  const t = Math.min(1, Math.max(0, (value - 0.2) / 0.4));
  return STRONGEST_OPACITY * t * t * (3 - 2 * t);
}

/** A map at another size, bilinear with align_corners = false. */
export function resizeMap(map: Float32Array, mapWidth: number, mapHeight: number, width: number, height: number): Float32Array {
  const result = new Float32Array(width * height);
  const positions = (from: number, to: number): { low: number; high: number; part: number }[] =>
    Array.from({ length: to }, (_, i) => {
      const position = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
      const low = Math.floor(position);
      return { low, high: Math.min(from - 1, low + 1), part: position - low };
    });
  const columns = positions(mapWidth, width);
  for (const [y, { low, high, part }] of positions(mapHeight, height).entries()) {
    for (const [x, column] of columns.entries()) {
      const top = map[low * mapWidth + column.low] * (1 - column.part) + map[low * mapWidth + column.high] * column.part;
      const bottom = map[high * mapWidth + column.low] * (1 - column.part) + map[high * mapWidth + column.high] * column.part;
      result[y * width + x] = top * (1 - part) + bottom * part;
    }
  }
  return result;
}

/**
 * Lays the colours of a map over a photo, see-through where the map is low.
 *
 * @param field one value for each pixel
 * @param range values at the two ends of the colour scale
 */
export function blendHeat({ pixels }: Picture, field: Float32Array, [low, high]: readonly [low: number, high: number]): void {
  for (let i = 0; i < field.length; i++) {
    const value = (field[i] - low) / (high - low);
    const opacity = heatOpacity(value);
    if (opacity === 0) continue;
    const colour = heatColour(value);
    for (let channel = 0; channel < 3; channel++) pixels[3 * i + channel] += (colour[channel] - pixels[3 * i + channel]) * opacity;
  }
}

/**
 * Draws the line where a field crosses a value: light, with a dark edge, so that it shows on every photo. A pixel's distance from
 * the line is its difference from the value over the field's slope there.
 */
function drawContour(picture: Picture, field: Float32Array, value: number, lineWidth: number): void {
  const { width, height } = picture;
  const at = (x: number, y: number): number => field[Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))];
  const core = lineWidth / 2;
  const edge = core + Math.max(1.5, lineWidth * 0.6);
  const reach = Math.ceil(edge) + 1;
  /** Whether the line really passes near: on a plateau at the value, slope and difference are both almost nothing. */
  const crossesNear = (x: number, y: number): boolean => {
    const above = at(x, y) >= value;
    for (let dy = -reach; dy <= reach; dy++) for (let dx = -reach; dx <= reach; dx++) if (at(x + dx, y + dy) >= value !== above) return true;
    return false;
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [slopeX, slopeY] = [(at(x + 1, y) - at(x - 1, y)) / 2, (at(x, y + 1) - at(x, y - 1)) / 2];
      const slope = Math.sqrt(slopeX * slopeX + slopeY * slopeY);
      const distance = Math.abs(field[y * width + x] - value) / Math.max(slope, 1e-12);
      if (distance > edge + 0.5 || !crossesNear(x, y)) continue;
      blendPixel(picture, x, y, [0, 0, 0], 0.7 * Math.min(1, edge + 0.5 - distance));
      if (distance < core + 0.5) blendPixel(picture, x, y, [255, 255, 255], Math.min(1, core + 0.5 - distance));
    }
  }
}

/** Round numbers that divide a range into about four parts. */
function ticksOf(low: number, high: number): number[] {
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough * 0.999)!;
  const ticks: number[] = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high + step * 1e-6; i++) ticks.push(i * step);
  return ticks;
}

/** A number with as many digits as its distance to its neighbours calls for. */
function label(value: number, range: number): string {
  return value.toFixed(Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(range) + 1e-9))));
}

/**
 * The photo with its defect map over it, as a PNG file for a person to look at: the map in a perceptually uniform colour
 * scale, see-through where it is low; the contour at the threshold; a colour bar with numbers; a caption. The photo's long
 * side is between 512 and 1600 pixels in the drawing, whatever it was. The same input gives the same bytes.
 *
 * @throws Error when the map does not have mapHeight × mapWidth finite values
 */
export function heatmapOverlay(options: HeatmapOptions): Uint8Array {
  const { image, map, mapWidth, mapHeight, threshold, range: [low, high] = [0, 1], caption } = options;
  if (map.length !== mapWidth * mapHeight || map.length === 0) throw new Error(`heatmapOverlay: ${map.length} values are not ${mapHeight}×${mapWidth}`);
  const wrong = map.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new Error(`heatmapOverlay: value ${wrong} of the map is ${map[wrong]}`);
  if (!(high > low)) throw new Error(`heatmapOverlay: the colour scale runs from ${low} to ${high}`);

  const longest = Math.max(image.width, image.height);
  const scale = Math.min(LONGEST_SIDE, Math.max(SHORTEST_LONG_SIDE, longest)) / longest;
  const [width, height] = [Math.max(1, Math.round(image.width * scale)), Math.max(1, Math.round(image.height * scale))];
  const photo = resizePicture(image, width, height);
  const field = resizeMap(map, mapWidth, mapHeight, width, height);
  blendHeat(photo, field, [low, high]);
  // Text grows with the drawing, so that it is read equally well when a large drawing is fitted to a screen.
  const size = Math.round(Math.min(26, Math.max(11, Math.max(width, height) / 52)));
  if (threshold !== undefined) drawContour(photo, field, threshold, Math.max(1.5, size / 8));

  const margin = Math.round(size * 1.2);
  const title = caption === undefined ? '' : shortened(caption, size, LONGEST_CAPTION * size);
  const note = threshold === undefined ? '' : `contour at ${Number(threshold.toPrecision(3))}`;
  const [titleWidth, noteWidth] = [Math.ceil(textWidth(title, size)), Math.ceil(textWidth(note, size))];
  const barWidth = Math.round(size * 1.3);
  const ticks = ticksOf(low, high).map((value) => ({ value, text: label(value, high - low) }));
  const scaleWidth = margin + barWidth + Math.round(size * 0.9) + Math.ceil(Math.max(...ticks.map(({ text }) => textWidth(text, size))));
  // However narrow or flat the photo is, the caption and the bar have room.
  const photoWidth = Math.max(width, titleWidth - scaleWidth, noteWidth - scaleWidth);
  const barHeight = Math.max(height, size * 12);
  const oneLine = titleWidth + noteWidth + 2 * size <= photoWidth + scaleWidth;
  const lines = oneLine ? (title || note ? 1 : 0) : 2;
  const headerHeight = margin + lines * size * 2;
  const barLeft = margin + photoWidth + margin;
  const canvas = createPicture(margin + photoWidth + scaleWidth + margin, headerHeight + barHeight + margin, background);

  const photoTop = headerHeight + Math.floor((barHeight - height) / 2);
  placePicture(canvas, photo, margin + Math.floor((photoWidth - width) / 2), photoTop);
  drawScale(canvas, barLeft, headerHeight, barWidth, barHeight, size, [low, high], ticks, threshold);
  drawText(canvas, title, margin, margin, size, textColour, 1.3);
  if (oneLine) drawText(canvas, note, canvas.width - margin - noteWidth, margin, size, quietColour);
  else drawText(canvas, note, margin, margin + 2 * size, size, quietColour);
  return encodePng(canvas);
}

/** The colour bar with its numbers and a mark at the threshold. */
function drawScale(
  picture: Picture,
  left: number,
  top: number,
  width: number,
  height: number,
  size: number,
  [low, high]: readonly [number, number],
  ticks: readonly { readonly value: number; readonly text: string }[],
  threshold: number | undefined,
): void {
  // The bar is see-through where the map is: a checkerboard stands for the photo.
  const square = Math.max(4, Math.round(width / 3));
  for (let y = 0; y < height; y++) {
    const value = 1 - (y + 0.5) / height;
    for (let x = 0; x < width; x++) {
      blendPixel(picture, left + x, top + y, (Math.floor(x / square) + Math.floor(y / square)) % 2 ? [104, 106, 110] : [140, 142, 146], 1);
      blendPixel(picture, left + x, top + y, heatColour(value), heatOpacity(value) / STRONGEST_OPACITY);
    }
  }
  const rowOf = (value: number): number => top + (1 - (value - low) / (high - low)) * height;
  for (const { value, text } of ticks) {
    const row = Math.min(top + height - 1, Math.round(rowOf(value)));
    fillRectangle(picture, left + width, row, Math.round(size * 0.4), 1, quietColour);
    const labelTop = Math.min(top + height - size, Math.max(top, row - Math.round(size / 2)));
    drawText(picture, text, left + width + Math.round(size * 0.9), labelTop, size, textColour);
  }
  if (threshold !== undefined && threshold > low && threshold < high) {
    const row = Math.round(rowOf(threshold));
    fillRectangle(picture, left - 1, row - 2, width + 2, 5, [0, 0, 0]);
    fillRectangle(picture, left - 1, row - 1, width + 2, 3, [255, 255, 255]);
  }
}

/** A text cut to a width. */
function shortened(text: string, size: number, width: number): string {
  if (textWidth(text, size) <= width) return text;
  let kept = '';
  for (const character of text) {
    if (textWidth(`${kept}${character}...`, size) > width) break;
    kept += character;
  }
  return `${kept.trimEnd()}...`;
}
