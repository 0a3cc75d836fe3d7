// A picture of many samples side by side, to look at: a row per category, good ones first, then each defect over its mask.
import { createPicture, drawText, encodePng, placePicture, resizePicture } from '../../src/io/picture.ts';
import { maskPicture } from './mask.ts';
import { deriveSeed } from './render/numbers.ts';
import { categoryOf, renderSample } from './sample.ts';

/** What a sheet shows. */
export interface ContactSheet {
  readonly categories: readonly string[];
  /** Good images per category. */
  readonly good: number;
  readonly size: number;
  readonly seed: number;
  /** Called after each image. */
  readonly onImage?: (name: string) => void;
}

const gap = 4;
const label = 14;

/** Renders a contact sheet. @returns the bytes of a PNG file */
export function contactSheet({ categories, good, size, seed, onImage }: ContactSheet): Uint8Array {
  const rows = categories.map((name) => {
    const category = categoryOf(name);
    return [...Array.from({ length: good }, () => 'good' as const), ...category.defects].map((defect, k) => {
      const sample = renderSample({ category: name, defect, seed: deriveSeed(seed, name, 'sheet', k), size });
      onImage?.(`${name}, ${defect}`);
      return { defect, sample };
    });
  });
  const columns = Math.max(...rows.map((row) => row.length));
  const small = Math.round(size / 2);
  const height = label + size + gap + small + gap;
  const sheet = createPicture(columns * (size + gap) + gap, rows.length * height + gap, [24, 24, 26]);
  for (const [y, row] of rows.entries()) {
    const top = gap + y * height;
    for (const [x, { defect, sample }] of row.entries()) {
      const left = gap + x * (size + gap);
      drawText(sheet, (defect === 'good' ? categories[y] : defect).replace(/_/g, ' '), left, top + 2, 8, [220, 220, 220]);
      placePicture(sheet, { width: size, height: size, pixels: sample.image }, left, top + label);
      if (defect !== 'good') placePicture(sheet, resizePicture(maskPicture(sample.mask, size), small, small), left, top + label + size + gap);
    }
  }
  return encodePng(sheet);
}
