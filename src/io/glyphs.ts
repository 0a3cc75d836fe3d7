/**
 * A small stroke font of this project, for labels in pictures: no font file to ship, and smooth at any size.
 *
 * Coordinates: y = 0 is the top of capitals, y = 10 the baseline, lower-case letters begin at 3.4, descenders end at 13.
 * A glyph is its width and its strokes: `M x y` begins a stroke, `L x y` draws a line, `A cx cy rx ry from to` goes on along
 * an ellipse (degrees, 0 to the right, 90 downwards).
 */
const glyphTable: Readonly<Record<string, readonly [width: number, strokes: string]>> = {
  ' ': [2.6, ''],
  '0': [6, 'A 3 5 2.8 5 0 360'],
  '1': [6, 'M 1.2 2.2 L 3.6 0 L 3.6 10'],
  '2': [6, 'A 3 2.9 2.7 2.9 195 395 L 0.3 10 L 5.9 10'],
  '3': [6, 'A 2.9 2.45 2.5 2.45 205 450 M 1.9 4.9 L 2.8 4.9 A 2.8 7.45 3 2.55 270 515'],
  '4': [6, 'M 4.5 10 L 4.5 0 L 0 7 L 6.1 7'],
  '5': [6, 'M 5.3 0 L 1.1 0 L 0.7 4.4 A 2.8 6.7 3 3.3 225 515'],
  '6': [6, 'A 3 6.8 2.8 3.2 0 360 M 0.2 6.8 A 5.2 6.8 5 6.8 180 260'],
  '7': [6, 'M 0.2 0 L 5.9 0 L 2 10'],
  '8': [6, 'A 3 2.4 2.4 2.4 0 360 M 5.9 7.4 A 3 7.4 2.9 2.6 0 360'],
  '9': [6, 'A 3 3.2 2.8 3.2 0 360 M 5.8 3.2 A 0.8 3.2 5 6.8 0 80'],
  A: [7, 'M 0 10 L 3.5 0 L 7 10 M 1.15 6.7 L 5.85 6.7'],
  B: [6.1, 'M 0.5 0 L 0.5 10 L 3.4 10 A 3.4 7.4 2.6 2.6 90 -90 L 0.5 4.8 M 0.5 0 L 3.1 0 A 3.1 2.4 2.4 2.4 -90 90'],
  C: [6.8, 'A 3.9 5 3.6 5 -48 -312'],
  D: [6.7, 'M 0.5 0 L 0.5 10 L 2.5 10 A 2.5 5 4 5 90 -90 L 0.5 0'],
  E: [5.2, 'M 5 0 L 0.5 0 L 0.5 10 L 5.1 10 M 0.5 4.8 L 4.5 4.8'],
  F: [5, 'M 5 0 L 0.5 0 L 0.5 10 M 0.5 4.9 L 4.4 4.9'],
  G: [7.4, 'A 3.9 5 3.6 5 -48 -345 L 7.4 5.4 L 4.6 5.4'],
  H: [6.6, 'M 0.5 0 L 0.5 10 M 6.1 0 L 6.1 10 M 0.5 4.8 L 6.1 4.8'],
  I: [1, 'M 0.5 0 L 0.5 10'],
  J: [4.6, 'M 4.2 0 L 4.2 7.2 A 2.1 7.2 2.1 2.8 0 165'],
  K: [6.2, 'M 0.5 0 L 0.5 10 M 5.8 0 L 0.5 6.2 M 2.4 4.1 L 6.2 10'],
  L: [5, 'M 0.5 0 L 0.5 10 L 5 10'],
  M: [8, 'M 0.5 10 L 0.5 0 L 4 6.8 L 7.5 0 L 7.5 10'],
  N: [6.8, 'M 0.5 10 L 0.5 0 L 6.3 10 L 6.3 0'],
  O: [7.6, 'A 3.8 5 3.6 5 0 360'],
  P: [5.8, 'M 0.5 10 L 0.5 0 L 3.1 0 A 3.1 2.75 2.6 2.75 -90 90 L 0.5 5.5'],
  Q: [7.6, 'A 3.8 5 3.6 5 0 360 M 4.8 7.5 L 7.2 10.7'],
  R: [6, 'M 0.5 10 L 0.5 0 L 3.1 0 A 3.1 2.75 2.6 2.75 -90 90 L 0.5 5.5 M 3.1 5.5 L 5.9 10'],
  S: [6, 'A 3 2.5 2.6 2.5 -20 -270 A 3 7.5 2.8 2.5 -90 160'],
  T: [6.4, 'M 0 0 L 6.4 0 M 3.2 0 L 3.2 10'],
  U: [6.6, 'M 0.5 0 L 0.5 6.8 A 3.3 6.8 2.8 3.2 180 0 L 6.1 0'],
  V: [6.8, 'M 0 0 L 3.4 10 L 6.8 0'],
  W: [9.6, 'M 0 0 L 2.4 10 L 4.8 1 L 7.2 10 L 9.6 0'],
  X: [6.4, 'M 0.2 0 L 6.2 10 M 6.2 0 L 0.2 10'],
  Y: [6.4, 'M 0 0 L 3.2 5.2 L 6.4 0 M 3.2 5.2 L 3.2 10'],
  Z: [6, 'M 0.3 0 L 5.8 0 L 0.2 10 L 6 10'],
  a: [5.6, 'A 2.6 6.7 2.5 3.3 0 360 M 5.1 3.4 L 5.1 10'],
  b: [5.6, 'M 0.4 0 L 0.4 10 M 5.5 6.7 A 2.95 6.7 2.55 3.3 0 360'],
  c: [4.9, 'A 2.8 6.7 2.6 3.3 -48 -312'],
  d: [5.6, 'A 2.6 6.7 2.5 3.3 0 360 M 5.1 0 L 5.1 10'],
  e: [5.5, 'M 0.3 6.6 L 5.3 6.6 A 2.8 6.7 2.5 3.3 -2 -312'],
  f: [3.4, 'M 3.7 0.3 A 3.2 2.3 1.9 2.2 -75 -180 L 1.3 10 M 0 3.6 L 3.3 3.6'],
  g: [5.6, 'A 2.6 6.7 2.5 3.3 0 360 M 5.1 3.4 L 5.1 10.4 A 2.7 10.4 2.4 2.6 0 150'],
  h: [5.4, 'M 0.4 0 L 0.4 10 M 0.4 6.2 A 2.7 6.2 2.3 2.8 180 360 L 5 10'],
  i: [0.8, 'M 0.4 3.4 L 0.4 10 M 0.4 0.7 L 0.4 1'],
  j: [1.6, 'M 1.2 3.4 L 1.2 11 A -0.6 11 1.8 2 0 90 M 1.2 0.7 L 1.2 1'],
  k: [5, 'M 0.4 0 L 0.4 10 M 4.7 3.4 L 0.4 7.4 M 1.9 6 L 5 10'],
  l: [0.8, 'M 0.4 0 L 0.4 10'],
  m: [8.4, 'M 0.4 3.4 L 0.4 10 M 0.4 5.6 A 2.3 5.6 1.9 2.2 180 360 L 4.2 10 M 4.2 5.6 A 6.1 5.6 1.9 2.2 180 360 L 8 10'],
  n: [5.4, 'M 0.4 3.4 L 0.4 10 M 0.4 6.2 A 2.7 6.2 2.3 2.8 180 360 L 5 10'],
  o: [5.6, 'A 2.8 6.7 2.6 3.3 0 360'],
  p: [5.6, 'M 0.4 3.4 L 0.4 13 M 5.5 6.7 A 2.95 6.7 2.55 3.3 0 360'],
  q: [5.6, 'A 2.6 6.7 2.5 3.3 0 360 M 5.1 3.4 L 5.1 13'],
  r: [3.2, 'M 0.4 3.4 L 0.4 10 M 0.4 6.4 A 2.7 6.2 2.3 2.8 180 285'],
  s: [4.6, 'A 2.3 5.05 1.9 1.65 -20 -270 A 2.3 8.35 2.1 1.65 -90 160'],
  t: [3.4, 'M 1.3 1.2 L 1.3 7.8 A 3.1 7.8 1.8 2.2 180 80 M 0 3.6 L 3.2 3.6'],
  u: [5.4, 'M 0.4 3.4 L 0.4 7.2 A 2.7 7.2 2.3 2.8 180 0 M 5 3.4 L 5 10'],
  v: [5.2, 'M 0 3.4 L 2.6 10 L 5.2 3.4'],
  w: [7.6, 'M 0 3.4 L 1.9 10 L 3.8 4.2 L 5.7 10 L 7.6 3.4'],
  x: [5.2, 'M 0.2 3.4 L 5 10 M 5 3.4 L 0.2 10'],
  y: [5.2, 'M 0 3.4 L 2.65 10 M 5.2 3.4 L 2.3 11.3 A 1 11.1 1.4 1.9 10 100'],
  z: [5, 'M 0.3 3.4 L 4.7 3.4 L 0.2 10 L 4.9 10'],
  '.': [1, 'A 0.5 9.6 0.2 0.2 0 360'],
  ',': [1.2, 'M 0.8 9.5 L 0.2 11.6'],
  ':': [1, 'A 0.5 9.6 0.2 0.2 0 360 M 0.7 4.6 A 0.5 4.6 0.2 0.2 0 360'],
  ';': [1.2, 'M 0.8 9.5 L 0.2 11.6 M 1 4.6 A 0.8 4.6 0.2 0.2 0 360'],
  '!': [1, 'M 0.5 0 L 0.5 6.6 M 0.7 9.6 A 0.5 9.6 0.2 0.2 0 360'],
  '?': [5, 'A 2.4 2.6 2.3 2.6 190 405 L 2.6 5.8 L 2.6 6.8 M 2.8 9.6 A 2.6 9.6 0.2 0.2 0 360'],
  "'": [1, 'M 0.5 0 L 0.4 2.6'],
  '"': [2.8, 'M 0.5 0 L 0.5 2.6 M 2.3 0 L 2.3 2.6'],
  '-': [3.6, 'M 0.3 6.2 L 3.3 6.2'],
  '_': [5.6, 'M 0 11.4 L 5.6 11.4'],
  '+': [6, 'M 0.4 6 L 5.6 6 M 3 3.4 L 3 8.6'],
  '=': [6, 'M 0.4 4.6 L 5.6 4.6 M 0.4 7.4 L 5.6 7.4'],
  '<': [6, 'M 5.4 3 L 0.6 6 L 5.4 9'],
  '>': [6, 'M 0.6 3 L 5.4 6 L 0.6 9'],
  '/': [4, 'M 0 11 L 4 -0.4'],
  '\\': [4, 'M 0 -0.4 L 4 11'],
  '|': [1, 'M 0.5 -0.5 L 0.5 11.5'],
  '(': [2.4, 'A 5 5.3 4.7 8.2 140 220'],
  ')': [2.4, 'A -2.6 5.3 4.7 8.2 -40 40'],
  '[': [2.6, 'M 2.4 0 L 0.5 0 L 0.5 11 L 2.4 11'],
  ']': [2.6, 'M 0.2 0 L 2.1 0 L 2.1 11 L 0.2 11'],
  '%': [8.4, 'A 1.8 2.3 1.6 2.3 0 360 M 8.2 7.7 A 6.6 7.7 1.6 2.3 0 360 M 7 0 L 1.4 10'],
  '#': [6.6, 'M 2.2 0.4 L 1.2 9.6 M 5.4 0.4 L 4.4 9.6 M 0.3 3.3 L 6.5 3.3 M 0.1 6.7 L 6.3 6.7'],
  '*': [4.4, 'M 2.2 0.2 L 2.2 4.6 M 0.3 1.3 L 4.1 3.5 M 4.1 1.3 L 0.3 3.5'],
  '&': [7, 'M 6.8 10 L 1.9 3.6 A 3 2.1 1.7 2.1 140 405 L 1.3 5.9 A 2.7 7.6 2.4 2.4 225 40 L 6.4 5.4'],
  '~': [6, 'A 1.7 6.4 1.4 1.2 190 350 M 3.1 6.2 A 4.4 5.6 1.4 1.2 170 10'],
};

/** Space between glyphs, and the width of the pen, in the same units. */
const GAP = 2;
const PEN = 1.25;

/** What stands for a character that the font lacks. */
const missing: readonly [number, string] = [5, 'M 0.5 0 L 4.5 0 L 4.5 10 L 0.5 10 L 0.5 0'];

/** A stroke's corners: x0, y0, x1, y1, ... */
type Stroke = readonly number[];

const parsed = new Map<string, { readonly width: number; readonly strokes: readonly Stroke[] }>();

function glyphOf(character: string): { readonly width: number; readonly strokes: readonly Stroke[] } {
  let glyph = parsed.get(character);
  if (!glyph) {
    const [width, text] = Object.hasOwn(glyphTable, character) ? glyphTable[character] : missing;
    glyph = { width, strokes: parseStrokes(text) };
    parsed.set(character, glyph);
  }
  return glyph;
}

function parseStrokes(text: string): Stroke[] {
  const strokes: number[][] = [];
  for (const [, command, rest] of text.matchAll(/([MLA]) ([^MLA]*)/g)) {
    const numbers = rest.trim().split(' ').map(Number);
    if (command === 'M' || strokes.length === 0) strokes.push([]);
    if (command !== 'A') {
      strokes.at(-1)!.push(...numbers);
      continue;
    }
    const [centreX, centreY, radiusX, radiusY, from, to] = numbers;
    const steps = Math.max(2, Math.ceil(Math.abs(to - from) / 12));
    for (let step = 0; step <= steps; step++) {
      const angle = ((from + ((to - from) * step) / steps) * Math.PI) / 180;
      strokes.at(-1)!.push(centreX + radiusX * Math.cos(angle), centreY + radiusY * Math.sin(angle));
    }
  }
  return strokes;
}

/** The characters of a text that are drawn: accents are left off, as the font has none. */
function drawn(text: string): string[] {
  return [...text.normalize('NFD').replace(/\p{M}/gu, '')];
}

/** Width of a line of text whose capitals are `size` pixels high. */
export function textWidth(text: string, size: number): number {
  let width = 0;
  for (const character of drawn(text)) width += glyphOf(character).width + GAP;
  return Math.max(0, width - GAP) * (size / 10);
}

/**
 * Calls `paint` for every pixel that a line of text touches, with how much of it is covered (0 to 1).
 *
 * @param x left end of the text
 * @param y top of its capitals
 * @param size height of its capitals in pixels
 * @param weight factor on the width of the pen: 1 is regular, 1.5 bold
 */
export function paintText(text: string, x: number, y: number, size: number, weight: number, paint: (x: number, y: number, coverage: number) => void): void {
  const unit = size / 10;
  // Thinner than about a pixel, a line only becomes paler.
  const radius = Math.max(0.55, (PEN * weight * unit) / 2);
  let left = x;
  for (const character of drawn(text)) {
    const { width, strokes } = glyphOf(character);
    // The strokes of one glyph join: a pixel is covered as much as its nearest stroke covers it.
    const covered = new Map<number, number>();
    for (const stroke of strokes) {
      for (let i = 0; i + 3 < stroke.length; i += 2) {
        const [ax, ay, bx, by] = [left + stroke[i] * unit, y + stroke[i + 1] * unit, left + stroke[i + 2] * unit, y + stroke[i + 3] * unit];
        const reach = radius + 1;
        for (let row = Math.floor(Math.min(ay, by) - reach); row <= Math.max(ay, by) + reach; row++) {
          for (let column = Math.floor(Math.min(ax, bx) - reach); column <= Math.max(ax, bx) + reach; column++) {
            const coverage = Math.min(1, Math.max(0, radius + 0.5 - distanceToSegment(column + 0.5, row + 0.5, ax, ay, bx, by)));
            const key = (row + 32768) * 65536 + column + 32768;
            if (coverage > (covered.get(key) ?? 0)) covered.set(key, coverage);
          }
        }
      }
    }
    for (const [key, coverage] of covered) paint((key % 65536) - 32768, Math.floor(key / 65536) - 32768, coverage);
    left += (width + GAP) * unit;
  }
}

function distanceToSegment(x: number, y: number, ax: number, ay: number, bx: number, by: number): number {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const along = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length));
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}
