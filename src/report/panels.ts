import { join } from 'node:path';
import { PNG } from 'pngjs';
import { type RgbImage, type Mask, readImage, readMask } from '../data/image.ts';
import { UserError } from '../errors.ts';
import type { MapSource } from '../eval/detector.ts';
import type { ClassResults, EvaluationResults, ImageResult } from '../eval/results.ts';
import { mapPath } from '../eval/evaluate.ts';
import { heatColour, heatOpacity, resizeMap } from '../io/heatmap.ts';
import { readNpy } from '../io/npy.ts';
import { encodePng, resizePicture } from '../io/picture.ts';
import { readTensor } from '../tensor/tensor.ts';

/** A map, as a model or a file gives it. */
export interface AnomalyMap {
  /** size × size probabilities of "abnormal", for the photo resized to a square. */
  readonly map: Float32Array;
  readonly size: number;
}

/** Where the maps of a report's few images come from. */
export type MapLookup = (className: ClassResults, image: ImageResult) => Promise<AnomalyMap>;

/** Why an image is in the report. */
export type PanelRole = 'best' | 'worst' | 'highest normal' | 'lowest normal';

/** An image that is shown. */
export interface ChosenImage {
  readonly role: PanelRole;
  readonly image: ImageResult;
}

/** An image with its ground truth and its map, as PNG files. */
export interface Panel extends ChosenImage {
  /** Of the photo, in pixels; the other pictures are stretched over it. */
  readonly width: number;
  readonly height: number;
  readonly photo: Uint8Array;
  /** White where the defect is; undefined for a normal image. */
  readonly mask: Uint8Array | undefined;
  /** Colours of the map, see-through where it is low, to be laid over the photo. */
  readonly heat: Uint8Array;
}

/** The pictures of one class. */
export interface ClassPanels {
  readonly class: string;
  /** Scores at the two ends of the colour scale: the same for all pictures of the class. */
  readonly range: readonly [low: number, high: number];
  readonly panels: readonly Panel[];
}

/** Images that are shown at each end. */
const shownAtEachEnd = 2;

/** Long side of the photos in pixels. */
const photoSide = 256;

/** Long side of the maps' pictures: they are as smooth as the patches are large. */
const heatSide = 128;

/**
 * The images of a class that say most about it: the abnormal ones whose pixels are ranked best and worst (by their own pixels'
 * AUROC, or by their score where that has no value), and the normal ones with the highest scores. A class without abnormal images
 * shows its normal ones with the lowest scores too.
 */
export function choosePanels({ images }: Pick<ClassResults, 'images'>): ChosenImage[] {
  const value = ({ pixelAuroc, score }: ImageResult): number => pixelAuroc ?? score;
  // Names decide between equals, so that the choice never depends on the order of evaluation.
  const ranked = (list: readonly ImageResult[]): ImageResult[] => [...list].sort((a, b) => value(b) - value(a) || (a.file < b.file ? -1 : 1));
  const defective = images.filter(({ label }) => label === 1);
  // Where nothing but defect is seen no pixels are ranked.
  const rankable = defective.filter(({ pixelAuroc }) => pixelAuroc !== null);
  const abnormal = ranked(rankable.length ? rankable : defective);
  const normal = ranked(images.filter(({ label }) => label === 0));
  const best = Math.min(shownAtEachEnd, Math.ceil(abnormal.length / 2));
  const worst = Math.min(shownAtEachEnd, abnormal.length - best);
  const chosen = (role: PanelRole, list: readonly ImageResult[]): ChosenImage[] => list.map((image) => ({ role, image }));
  return [
    ...chosen('best', abnormal.slice(0, best)),
    ...chosen('worst', abnormal.slice(abnormal.length - worst)),
    ...chosen('highest normal', normal.slice(0, shownAtEachEnd)),
    ...chosen('lowest normal', abnormal.length ? [] : normal.slice(shownAtEachEnd).slice(-shownAtEachEnd)),
  ];
}

/**
 * The scores at the ends of a class's colour scale: the median of its normal pixels, and what one in a hundred of its defect pixels
 * or one in a thousand of its normal ones exceeds. All pictures of the class share it, so a normal photo stays as pale as it is beside a defect. From the counts in 50
 * parts of [0, 1], so the ends are multiples of 0.02.
 */
export function colourRange({ distributions: { pixel } }: Pick<ClassResults, 'distributions'>): [number, number] {
  const parts = pixel.normal.length;
  /** The part in which the given share of the scores is reached from below. */
  const quantile = (counts: readonly number[], share: number): number | undefined => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    let seen = 0;
    return total === 0 ? undefined : counts.findIndex((count) => (seen += count) >= share * total);
  };
  const low = quantile(pixel.normal, 0.5) ?? 0;
  const high = Math.max(quantile(pixel.abnormal, 0.99) ?? parts - 1, quantile(pixel.normal, 0.999) ?? 0) + 1;
  // At least a tenth of the scale: noise must not look like defects.
  const wide = Math.ceil(parts / 10);
  return [Math.max(0, Math.min(low, parts - wide)) / parts, Math.min(parts, Math.max(high, low + wide)) / parts];
}

/** A mask at another size as a PNG file in shades of grey. */
function encodeMask({ width, height, values }: Pick<Mask, 'width' | 'height' | 'values'>, toWidth: number, toHeight: number): Uint8Array {
  const png = new PNG({ width: toWidth, height: toHeight });
  png.data = Buffer.alloc(toWidth * toHeight);
  // The share of the pixels that fall together, and never nothing where there is a defect: small ones must not vanish.
  for (let y = 0; y < toHeight; y++) {
    const [top, bottom] = [Math.floor((y * height) / toHeight), Math.max(Math.floor((y * height) / toHeight) + 1, Math.floor(((y + 1) * height) / toHeight))];
    for (let x = 0; x < toWidth; x++) {
      const [left, right] = [Math.floor((x * width) / toWidth), Math.max(Math.floor((x * width) / toWidth) + 1, Math.floor(((x + 1) * width) / toWidth))];
      let sum = 0;
      for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) sum += values[row * width + column];
      const share = sum / ((bottom - top) * (right - left));
      png.data[y * toWidth + x] = sum === 0 ? 0 : Math.max(128, Math.round(255 * share));
    }
  }
  return PNG.sync.write(png, { bitDepth: 8, colorType: 0, inputColorType: 0, inputHasAlpha: false });
}

/** The colours of a map as a PNG file with transparency. */
function encodeHeat({ map, size }: AnomalyMap, [low, high]: readonly [number, number], width: number, height: number): Uint8Array {
  const field = resizeMap(map, size, size, width, height);
  const png = new PNG({ width, height });
  for (const [i, score] of field.entries()) {
    const value = (score - low) / (high - low);
    const alpha = Math.round(255 * heatOpacity(value));
    if (alpha > 0) png.data.set([...heatColour(value).map(Math.round), alpha], 4 * i);
  }
  return PNG.sync.write(png, { bitDepth: 8, colorType: 6, inputColorType: 6, inputHasAlpha: true });
}

/** Width and height with a given long side. */
function fitted({ width, height }: Pick<RgbImage, 'width' | 'height'>, side: number): [number, number] {
  const scale = Math.min(1, side / Math.max(width, height));
  return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
}

/**
 * Makes the pictures of a report.
 *
 * @param root folder of the data set that was evaluated
 * @param mapOf gives the map of an image
 * @throws UserError naming the file that cannot be read
 */
export async function makePanels({ classes }: Pick<EvaluationResults, 'classes'>, root: string, mapOf: MapLookup): Promise<ClassPanels[]> {
  const result: ClassPanels[] = [];
  for (const ofClass of classes) {
    const range = colourRange(ofClass);
    const panels: Panel[] = [];
    for (const { role, image } of choosePanels(ofClass)) {
      const photo = await readImage(join(root, image.file));
      const mask = image.mask === null ? undefined : await readMask(join(root, image.mask));
      const [width, height] = fitted(photo, photoSide);
      panels.push({
        role,
        image,
        width,
        height,
        photo: encodePng(resizePicture(photo, width, height)),
        mask: mask && encodeMask(mask, width, height),
        heat: encodeHeat(await mapOf(ofClass, image), range, ...fitted(photo, heatSide)),
      });
    }
    result.push({ class: ofClass.class, range, panels });
  }
  return result;
}

/**
 * Maps computed anew, of the few images that a report shows.
 *
 * @param batch that of the evaluation, whose programs are then used again
 */
export function mapsOfModel(detector: MapSource, root: string, batch: number): MapLookup {
  return async ({ words }, { file }) => {
    const photo = await readImage(join(root, file));
    const { map } = await detector.run(new Array<RgbImage>(batch).fill(photo), words);
    const { size } = detector;
    return { map: (await readTensor(detector.gpu, map)).subarray(0, size * size), size };
  };
}

/** Maps that an evaluation kept (`eval --maps`). @param folder "maps" in the folder of the run */
export function mapsOfFolder(folder: string): MapLookup {
  return async (ofClass, image) => {
    const file = mapPath(folder, { ...image, class: ofClass.class });
    const { shape, data } = await readNpy(file);
    if (shape.length !== 2 || shape[0] !== shape[1]) throw new UserError(`${file}: it has the shape [${shape.join(', ')}], a map would be square`);
    return { map: data, size: shape[0] };
  };
}
