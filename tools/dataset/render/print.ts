// Text and marks that are printed, stamped or moulded on things, as a mask that is sampled in the thing's coordinates.
import { paintText, textWidth } from '../../../src/io/glyphs.ts';

/** Coverage of a print, looked up anywhere. */
export interface Print {
  /** Width in heights of a capital. */
  readonly width: number;
  /** Coverage at a point, 0 to 1: x from 0 to `width`, y from 0 (top of the capitals) to 1 (their foot). */
  at(x: number, y: number): number;
}

const resolution = 32;
const margin = 6;
const rows = resolution + 2 * margin;

/** A character's coverage, rows × columns with a margin all round. */
interface Glyph {
  readonly columns: number;
  readonly coverage: Float32Array;
  /** From its left end to the next character's. */
  readonly advance: number;
}

const glyphs = new Map<string, Glyph>();

function glyphOf(character: string, weight: number): Glyph {
  const key = `${character}${weight}`;
  let glyph = glyphs.get(key);
  if (!glyph) {
    const width = textWidth(character, resolution);
    const columns = Math.ceil(width) + 2 * margin;
    const coverage = new Float32Array(columns * rows);
    paintText(character, margin, margin, resolution, weight, (x, y, covered) => {
      // In steps, so that rounding inside the font's curves cannot reach the picture.
      if (x >= 0 && y >= 0 && x < columns && y < rows) coverage[y * columns + x] = Math.round(covered * 32) / 32;
    });
    glyph = { columns, coverage, advance: textWidth(character + character, resolution) - width };
    glyphs.set(key, glyph);
  }
  return glyph;
}

/** A line of text. @param weight width of its strokes, 1 is regular */
export function textPrint(text: string, weight = 1): Print {
  const width = textWidth(text, resolution);
  const columns = Math.ceil(width) + 2 * margin + 1;
  const coverage = new Float32Array(columns * rows);
  let left = 0;
  for (const character of text) {
    const glyph = glyphOf(character, weight);
    const start = Math.round(left);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < glyph.columns; x++) {
        const to = y * columns + start + x;
        if (start + x < columns) coverage[to] = Math.max(coverage[to], glyph.coverage[y * glyph.columns + x]);
      }
    }
    left += glyph.advance;
  }
  return {
    width: width / resolution,
    at(x, y) {
      const px = x * resolution + margin - 0.5;
      const py = y * resolution + margin - 0.5;
      if (!(px >= 0 && py >= 0 && px < columns - 1 && py < rows - 1)) return 0;
      const ix = Math.floor(px);
      const iy = Math.floor(py);
      const fx = px - ix;
      const i = iy * columns + ix;
      const top = coverage[i] + (coverage[i + 1] - coverage[i]) * fx;
      const bottom = coverage[i + columns] + (coverage[i + columns + 1] - coverage[i + columns]) * fx;
      return top + (bottom - top) * (py - iy);
    },
  };
}
