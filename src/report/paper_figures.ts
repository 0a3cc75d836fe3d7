import { join } from 'node:path';
import { type Dataset, type Sample, classWords } from '../data/dataset.ts';
import { type Mask, type RgbImage, readImage, readMask } from '../data/image.ts';
import { UserError } from '../errors.ts';
import { type AdaptedFeatures, type Detector, notNumbers } from '../eval/detector.ts';
import { pathInside } from '../eval/identity.ts';
import { blendHeat, resizeMap } from '../io/heatmap.ts';
import { type Picture, createPicture, encodePng, resizePicture } from '../io/picture.ts';
import { writeFileAtomic } from '../io/files.ts';
import { type PictureGrid, drawGrid } from './figure.ts';
import { principalComponents, project } from './principal_components.ts';

/** The figures of the paper that can be drawn. */
export const figureNumbers = [3, 5, 6] as const;
export type FigureNumber = (typeof figureNumbers)[number];

/** What it takes of a detector to draw figures. */
export type FigureModel = Pick<Detector, 'detect' | 'features' | 'size' | 'loaded'>;

/** Side of a picture in the figures, in pixels. */
const cell = 200;

/**
 * The images of the figures: of each class the middle one of its abnormal images, in the order of the data set. A rule, so that
 * no image is chosen for what a model makes of it.
 *
 * @param paths images to take instead, as paths in the data set
 * @throws UserError when a path is not an abnormal image of the data set, or there is none at all
 */
export function chooseSamples({ root, classes, samples }: Dataset, paths?: readonly string[]): Sample[] {
  if (paths) {
    return paths.map((path) => {
      const sample = samples.find(({ image }) => pathInside(root, image) === path);
      if (!sample) throw new UserError(`${path} is not an image of the test split of ${root}; give paths as results.json has them, such as bottle/test/crack/003.png`);
      if (sample.label === 0) throw new UserError(`${path} is a normal image; the figures show defects`);
      return sample;
    });
  }
  const chosen = classes.flatMap((name) => {
    const abnormal = samples.filter((sample) => sample.class === name && sample.label === 1);
    return abnormal.length ? [abnormal[Math.floor((abnormal.length - 1) / 2)]] : [];
  });
  if (!chosen.length) throw new UserError(`${root} has no abnormal images to draw`);
  return chosen;
}

/**
 * Features as colours: their first three principal components as red, green and blue. Axes and scale are those of `before`, so a
 * colour means the same in both pictures.
 *
 * @param before [grid × grid, width]
 * @param after the same
 * @returns two pictures of grid × grid pixels
 */
export function featureColours(before: Float32Array, after: Float32Array, grid: number, width: number): [Picture, Picture] {
  const components = principalComponents(before, width, 3);
  const coordinates = [project(components, before), project(components, after)];
  // The outermost hundredths would leave all others in the middle.
  const ranges = coordinates[0].map((values): [number, number] => {
    const sorted = values.slice().sort();
    return [sorted[Math.floor(0.01 * (sorted.length - 1))], sorted[Math.ceil(0.99 * (sorted.length - 1))]];
  });
  const [first, second] = coordinates.map((axes): Picture => {
    const pixels = new Uint8Array(grid * grid * 3);
    for (const [channel, values] of axes.entries()) {
      const [low, high] = ranges[channel];
      for (let i = 0; i < values.length; i++) pixels[3 * i + channel] = high > low ? Math.round(255 * Math.min(1, Math.max(0, (values[i] - low) / (high - low)))) : 128;
    }
    return { width: grid, height: grid, pixels };
  });
  return [first, second];
}

/** The scale that the maps of one figure share: from their median to what one pixel in two hundred exceeds, at least a tenth wide. */
export function sharedRange(maps: readonly Float32Array[]): [number, number] {
  const all = new Float32Array(maps.reduce((length, map) => length + map.length, 0));
  let at = 0;
  for (const map of maps) {
    all.set(map, at);
    at += map.length;
  }
  all.sort();
  const low = Math.min(0.9, Math.floor(100 * all[all.length >> 1]) / 100);
  const high = Math.ceil(100 * all[Math.floor(0.995 * (all.length - 1))]) / 100;
  return [low, Math.min(1, Math.max(high, low + 0.1))];
}

/** A sample as the figures show it. */
interface Shown {
  readonly sample: Sample;
  readonly photo: RgbImage;
  readonly mask: Mask;
  readonly map: Float32Array;
  readonly coarseMap: Float32Array;
}

function maskPicture({ width, height, values }: Mask): Picture {
  const picture = createPicture(width, height, [0, 0, 0]);
  for (let i = 0; i < values.length; i++) if (values[i]) picture.pixels.fill(255, 3 * i, 3 * i + 3);
  return picture;
}

/** The photo under its map, at the size of a cell. */
function overlay(photo: RgbImage, map: Float32Array, size: number, range: readonly [number, number]): Picture {
  const scale = cell / Math.max(photo.width, photo.height);
  const picture = resizePicture(photo, Math.max(1, Math.round(photo.width * scale)), Math.max(1, Math.round(photo.height * scale)));
  blendHeat(picture, resizeMap(map, size, size, picture.width, picture.height), range);
  return picture;
}

/** Names of the columns: the class, and the defect where a class is there more than once. */
function columnNames(shown: readonly Shown[]): string[] {
  return shown.map(({ sample }) => {
    const words = classWords(sample.class);
    return shown.filter((other) => other.sample.class === sample.class).length > 1 ? `${words}, ${classWords(sample.defect)}` : words;
  });
}

/** Figure 5: what is found, and where. */
function localisation(shown: readonly Shown[], size: number): PictureGrid {
  const range = sharedRange(shown.map(({ map }) => map));
  return {
    title: 'Figure 5',
    caption: 'Localisation. Of each class one abnormal image, its ground truth, and the anomaly map over the image. All maps have one colour scale; where the map is low the image shows.',
    columns: columnNames(shown),
    rows: [
      { label: 'image', cells: shown.map(({ photo }) => photo) },
      { label: 'ground truth', cells: shown.map(({ mask }) => maskPicture(mask)) },
      { label: 'map', cells: shown.map(({ photo, map }) => overlay(photo, map, size, range)) },
    ],
    range,
    cell,
    mostColumns: 8,
  };
}

/** Figure 6: the map of the first pass and that of the second, which sees the image under the first map. */
function maskPrompting(shown: readonly Shown[], size: number): PictureGrid {
  const range = sharedRange(shown.flatMap(({ map, coarseMap }) => [map, coarseMap]));
  return {
    title: 'Figure 6',
    caption: 'Mask prompting (MP). The anomaly map of the first pass, and that of the second pass, which sees the image under the first map. All maps have one colour scale.',
    columns: columnNames(shown),
    rows: [
      { label: 'image', cells: shown.map(({ photo }) => photo) },
      { label: 'ground truth', cells: shown.map(({ mask }) => maskPicture(mask)) },
      { label: 'before MP', cells: shown.map(({ photo, coarseMap }) => overlay(photo, coarseMap, size, range)) },
      { label: 'after MP', cells: shown.map(({ photo, map }) => overlay(photo, map, size, range)) },
    ],
    range,
    cell,
    mostColumns: 8,
  };
}

/** Figure 3: the adapted features of each stage before and after multi-patch feature aggregation. */
function aggregation(shown: readonly { readonly sample: Sample; readonly photo: RgbImage; readonly features: AdaptedFeatures }[], size: number, enabled: boolean): PictureGrid {
  const stages = shown[0].features.stages.map(({ stage }) => stage);
  return {
    title: 'Figure 3',
    caption:
      `Adapted patch features before and after multi-patch feature aggregation (MPFA, N = ${size}${enabled ? '' : '; this model is without it, and its features are pooled for this figure alone'}). ` +
      'The three strongest principal components of the features before MPFA, of each image and stage, as red, green and blue; after MPFA with the same axes and scale.',
    groups: [{ span: 1, text: '' }, ...stages.map((stage) => ({ span: 2, text: `stage ${stage}` }))],
    columns: ['image', ...stages.flatMap(() => ['before', 'after'])],
    rows: shown.map(({ sample, photo, features: { grid, width, stages: perStage } }) => ({
      label: classWords(sample.class),
      cells: [photo, ...perStage.flatMap(({ before, after }) => featureColours(before, after, grid, width))],
    })),
    cell,
  };
}

/** What to draw. */
export interface FigureOptions {
  readonly figures: readonly FigureNumber[];
  readonly samples: readonly Sample[];
  /** Folder for figure-3.png, figure-5.png and figure-6.png. */
  readonly out: string;
  /** Called after each image, with what was done with it. */
  onImage?(what: string): void;
}

/**
 * Draws figures of the paper with a model and images of one's own. The same model and images give the same bytes.
 *
 * @returns the files that were written
 * @throws UserError naming the image that cannot be read, or the figure that the model cannot have
 */
export async function drawFigures(model: FigureModel, { figures, samples, out, onImage }: FigureOptions): Promise<string[]> {
  const { config } = model.loaded.model;
  if (figures.includes(6) && !config.mp.enabled) throw new UserError('figure 6 shows mask prompting, which this model is without (mp.enabled is false); leave it out with --figures 3,5');
  const pictures = new Map<FigureNumber, PictureGrid>();
  if (figures.includes(3)) {
    const shown = [];
    for (const sample of samples) {
      const photo = await readImage(sample.image);
      shown.push({ sample, photo, features: await model.features(photo, classWords(sample.class)) });
      onImage?.('features');
    }
    pictures.set(3, aggregation(shown, config.mpfa.size, config.mpfa.enabled && config.mpfa.size > 1));
  }
  if (figures.includes(5) || figures.includes(6)) {
    const shown: Shown[] = [];
    for (const sample of samples) {
      const photo = await readImage(sample.image);
      const [{ map, coarseMap }] = await model.detect([photo], classWords(sample.class));
      if (![map, coarseMap].every((values) => values.every(Number.isFinite))) throw notNumbers(sample.image, model.loaded.precision);
      shown.push({ sample, photo, mask: await readMask(sample.mask!), map, coarseMap });
      onImage?.('maps');
    }
    if (figures.includes(5)) pictures.set(5, localisation(shown, model.size));
    if (figures.includes(6)) pictures.set(6, maskPrompting(shown, model.size));
  }
  const files: string[] = [];
  for (const [number, grid] of pictures) {
    const file = join(out, `figure-${number}.png`);
    await writeFileAtomic(file, encodePng(drawGrid(grid)));
    files.push(file);
  }
  return files;
}
