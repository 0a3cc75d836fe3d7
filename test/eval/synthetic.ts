import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PNG } from 'pngjs';
import type { RgbImage } from '../../src/data/image.ts';
import type { MapSource } from '../../src/eval/detector.ts';
import type { Gpu } from '../../src/gpu/device.ts';
import type { LoadedMfp } from '../../src/models/mfp/load.ts';
import { plainClipConfig } from '../../src/models/mfp/config.ts';
import { type Tensor, emptyTensor, freeTensor, writeTensor } from '../../src/tensor/tensor.ts';
import { randomValues } from '../support/gpu.ts';

/** A picture as a PNG file. @param pixel the colour at a place */
export function png(width: number, height: number, pixel: (x: number, y: number) => readonly [number, number, number]): Buffer {
  const image = new PNG({ width, height });
  for (let i = 0; i < width * height; i++) image.data.set([...pixel(i % width, Math.floor(i / width)), 255], 4 * i);
  return PNG.sync.write(image, { deflateLevel: 1 });
}

/** What a made data set has. */
export interface MadeData {
  /** Side of the pictures. */
  readonly size: number;
  /** Good and broken images by class. */
  readonly classes: Readonly<Record<string, readonly [good: number, broken: number]>>;
}

/**
 * Makes a data set in the MVTec layout: noise, with a lighter disc and a light pixel where the mask is. The same every time.
 *
 * @returns the folder
 */
export function makeDataset(folder: string, { size, classes }: MadeData): string {
  const write = (path: string, content: Buffer): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  let seed = 1;
  for (const [name, [good, broken]] of Object.entries(classes)) {
    for (let i = 0; i < good + broken; i++) {
      const noise = randomValues(size * size + 3, seed++, 20);
      const [cx, cy, radius] = noise.slice(-3).map((value, axis) => (axis < 2 ? (Math.abs(value) * size) / 40 : 2 + Math.abs(value) / 10));
      const defect = i >= good ? (x: number, y: number): boolean => Math.hypot(x - cx, y - cy) < radius || (x === 1 && y === size - 2) : () => false;
      const level = (x: number, y: number): number => Math.max(0, Math.min(255, Math.round(110 + noise[y * size + x] + (defect(x, y) ? 25 : 0))));
      const kind = i >= good ? (i % 2 ? 'bent' : 'cut') : 'good';
      const file = `${String(i).padStart(3, '0')}.png`;
      write(join(name, 'test', kind, file), png(size, size, (x, y) => [level(x, y), x % 256, y % 256]));
      if (i >= good) write(join(name, 'ground_truth', kind, file.replace('.png', '_mask.png')), png(size, size, (x, y) => (defect(x, y) ? [255, 255, 255] : [0, 0, 0])));
    }
  }
  return folder;
}

/** The map that `PictureMaps` gives a picture: the red channel through a logistic curve, with many ties. */
export function pictureMap({ pixels, width, height }: RgbImage): Float32Array {
  return Float32Array.from({ length: width * height }, (_, i) => 1 / (1 + Math.exp(-(pixels[3 * i] - 150) / 12)));
}

/** Stands in for a model: a picture, which has the size of the maps, is its own map. */
export class PictureMaps implements MapSource {
  readonly gpu: Gpu;
  readonly size: number;
  readonly loaded: LoadedMfp;
  /** Names of the classes that it was asked for, one for each batch. */
  readonly asked: string[] = [];
  readonly #outputs = new Map<number, { map: Tensor; score: Tensor }>();

  constructor(gpu: Gpu, size: number) {
    this.gpu = gpu;
    this.size = size;
    this.loaded = { model: { config: plainClipConfig }, imageSize: size, precision: 'f32' } as LoadedMfp;
  }

  async run(images: readonly RgbImage[], className: string): Promise<Awaited<ReturnType<MapSource['run']>>> {
    this.asked.push(className);
    let outputs = this.#outputs.get(images.length);
    if (!outputs) {
      outputs = { map: emptyTensor(this.gpu, [images.length, this.size, this.size], 'f32', 'maps'), score: emptyTensor(this.gpu, [images.length], 'f32', 'scores') };
      this.#outputs.set(images.length, outputs);
    }
    const maps = images.map(pictureMap);
    writeTensor(this.gpu, outputs.map, maps.flatMap((map) => Array.from(map)));
    writeTensor(this.gpu, outputs.score, maps.map((map) => map.reduce((most, value) => Math.max(most, value))));
    return { ...outputs, coarseMap: outputs.map };
  }

  destroy(): void {
    for (const { map, score } of this.#outputs.values()) for (const unused of [map, score]) freeTensor(this.gpu, unused);
  }
}
