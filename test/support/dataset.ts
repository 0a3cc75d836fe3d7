import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { RandomSource } from '../../src/tensor/random.ts';

/** What `writeTestDataset` makes of each class. */
export interface TestDataset {
  readonly classes: readonly string[];
  readonly good: number;
  readonly bad: number;
  /** Side of the images in pixels. */
  readonly size: number;
  readonly seed?: number;
}

function writePng(file: string, size: number, pixel: (x: number, y: number) => readonly [number, number, number]): void {
  const png = new PNG({ width: size, height: size });
  for (let y = 0; y < size; y++) for (let x = 0; x < size; x++) png.data.set([...pixel(x, y), 255], 4 * (y * size + x));
  writeFileSync(file, PNG.sync.write(png));
}

/** A data set in the MVTec layout: grey noise, with a bright square as the defect ("spot") of abnormal images. */
export function writeTestDataset(root: string, { classes, good, bad, size, seed = 1 }: TestDataset): void {
  const random = new RandomSource(seed);
  for (const name of classes) {
    const folders = ['test/good', 'test/spot', 'ground_truth/spot', 'train/good'].map((part) => join(root, name, part));
    for (const folder of folders) mkdirSync(folder, { recursive: true });
    const base = random.integer(60, 120);
    const grey = (): [number, number, number] => {
      const value = base + random.integer(-12, 12);
      return [value, value, value];
    };
    writePng(join(folders[3], '000.png'), size, grey);
    for (let i = 0; i < good; i++) writePng(join(folders[0], `${String(i).padStart(3, '0')}.png`), size, grey);
    for (let i = 0; i < bad; i++) {
      const side = random.integer(Math.round(size / 5), Math.round(size / 2.5));
      const [left, top] = [random.integer(0, size - side), random.integer(0, size - side)];
      const inside = (x: number, y: number): boolean => x >= left && x < left + side && y >= top && y < top + side;
      const stem = String(i).padStart(3, '0');
      writePng(join(folders[1], `${stem}.png`), size, (x, y) => (inside(x, y) ? [250, 240, 200] : grey()));
      writePng(join(folders[2], `${stem}_mask.png`), size, (x, y) => (inside(x, y) ? [255, 255, 255] : [0, 0, 0]));
    }
  }
}
