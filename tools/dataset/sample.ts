// One picture of the data set: a category, a defect or none, and a seed.
import { classWords } from '../../src/data/dataset.ts';
import { UserError } from '../../src/errors.ts';
import { captionOf } from './captions.ts';
import { categories } from './catalogue.ts';
import { type Category, type DefectKind, faultKinds } from './category.ts';
import { type SurfaceDefect, surfaceDefects } from './defects/defects.ts';
import { extentOf } from './defects/site.ts';
import { differenceOf, maskOf } from './mask.ts';
import { type Camera, drawCamera, expose, type Exposed } from './render/camera.ts';
import { type Area, drawLighting, type Lighting, shade } from './render/lighting.ts';
import { layer, releaseLayers } from './render/memory.ts';
import { Noise } from './render/noise.ts';
import { clamp, randomFor } from './render/numbers.ts';
import { type Fault, Stage } from './render/stage.ts';
import { Surface } from './render/surface.ts';

/** What to render. */
export interface SampleOptions {
  /** Name of a category: "metal_nut". */
  readonly category: string;
  readonly defect: DefectKind | 'good';
  /** The same seed gives the same scene, with or without a defect. */
  readonly seed: number;
  /** Pixels per side, at least 32; default 256. */
  readonly size?: number;
  /** Samples per pixel and axis; default 2. With 1 it takes a third of the time and edges are rough. */
  readonly over?: number;
}

/** A rendered picture. */
export interface RenderedSample {
  readonly size: number;
  /** RGB, size × size × 3. */
  readonly image: Uint8Array;
  /** 1 where the picture differs from the one without the defect, size × size. */
  readonly mask: Uint8Array;
  /** A line about it as people write them under pictures: "a photo of a scratched metal nut". */
  readonly caption: string;
}

/** Bounds of a defect's share of the picture. */
export const smallestShare = 0.0005;
export const largestShare = 0.25;
/**
 * Mean difference inside a mask, in display levels: each picture draws what its defect should have, from faint to clear on a logarithmic
 * scale, and has at least the faintest, or in a dull or dark scene `leastContrast`.
 */
export const goodContrast = 10;
const clearContrast = 60;
const leastContrast = 6;
/** Draws of a defect until one is visible and of a sensible size, and those of them that look for one as clear as was drawn. */
const attempts = 24;
const patience = 10;

export function categoryOf(name: string): Category {
  const category = categories.find((candidate) => candidate.name === name);
  if (!category) throw new UserError(`there is no category "${name}". There are: ${categories.map((candidate) => candidate.name).join(', ')}`);
  return category;
}

/** A scene that is built and lit. */
interface Scene {
  readonly surface: Surface;
  readonly radiance: readonly [Float32Array, Float32Array, Float32Array];
}

function buildSurface(category: Category, seed: number, side: number, fault: Fault | undefined): Surface {
  const surface = new Surface(side);
  category.build(new Stage(surface, randomFor(seed, category.name, 'scene'), fault));
  return surface;
}

/**
 * The part of a picture that light can have changed: around the samples that two surfaces differ in, as far as cavities
 * and short shadows reach; everything when heights differ so much that long shadows change.
 */
function changedArea(a: Surface, b: Surface): Area | undefined {
  const { side, unit } = a;
  let [left, top, right, bottom, rise] = [side, side, -1, -1, 0];
  for (let row = 0, i = 0; row < side; row++) {
    for (let column = 0; column < side; column++, i++) {
      const lifted = Math.abs(a.height[i] - b.height[i]);
      if (lifted === 0 && a.red[i] === b.red[i] && a.green[i] === b.green[i] && a.blue[i] === b.blue[i] && a.rough[i] === b.rough[i] && a.metal[i] === b.metal[i]) continue;
      if (lifted > rise) rise = lifted;
      if (column < left) left = column;
      if (column > right) right = column;
      if (row < top) top = row;
      bottom = row;
    }
  }
  if (right < 0) return undefined;
  const margin = Math.ceil((0.22 + rise * 4) / unit);
  return { left: Math.max(0, left - margin), top: Math.max(0, top - margin), right: Math.min(side, right + 1 + margin), bottom: Math.min(side, bottom + 1 + margin) };
}

/**
 * Renders one picture with its mask and caption.
 *
 * Outside the mask, the picture equals the one without the defect byte for byte; inside, it is the one with it. What a
 * defect changes by less than a person sees (the end of its shadow, the blur of its rim) is not carried over.
 *
 * @throws UserError for an unknown category, a defect that it does not have, or a size below 32
 */
export function renderSample({ category: name, defect, seed, size = 256, over = 2 }: SampleOptions): RenderedSample {
  const category = categoryOf(name);
  if (defect !== 'good' && !category.defects.includes(defect)) {
    throw new UserError(`${name} has no defect "${defect}". It has: ${category.defects.join(', ')}`);
  }
  if (!Number.isInteger(size) || size < 32) throw new UserError(`the size of a picture must be a whole number of at least 32, not ${size}`);
  releaseLayers();
  const side = size * over;
  const frame = { size, over };
  const whole: Area = { left: 0, top: 0, right: side, bottom: side };
  const lighting: Lighting = drawLighting(randomFor(seed, name, 'light'), category.light);
  const camera: Camera = drawCamera(randomFor(seed, name, 'camera'));
  const noiseStart = randomFor(seed, name, 'sensor').integer(0, 0xffff);
  const caption = captionOf(classWords(name), defect, randomFor(seed, name, 'caption', defect));
  const good: Scene = { surface: buildSurface(category, seed, side, undefined), radiance: [layer(side * side), layer(side * side), layer(side * side)] };
  shade(good.surface, lighting, good.radiance, whole);
  const photo = expose(good.surface, good.radiance, camera, frame, undefined, noiseStart);
  if (defect === 'good') return { size, image: photo.pixels, mask: new Uint8Array(size * size), caption };
  let best: Composed | undefined;
  // Later draws are larger and clearer, because those before could hardly be seen, or smaller where they were too large.
  let growth = 0;
  const wanted = goodContrast * (clearContrast / goodContrast) ** randomFor(seed, name, defect, 'contrast').uniform();
  for (let attempt = 0; attempt < attempts && !(best && best.contrast >= (attempt < patience ? wanted : goodContrast)); attempt++) {
    const random = randomFor(seed, name, defect, attempt);
    const extent = random.uniform();
    const strength = clamp(random.uniform(0.1, 1) + growth * 0.08, 0, 1);
    let surface: Surface;
    if ((faultKinds as readonly string[]).includes(defect)) {
      surface = buildSurface(category, seed, side, { kind: defect as Fault['kind'], random, severity: strength });
    } else {
      surface = new Surface(side);
      surface.copyFrom(good.surface);
      surfaceDefects[defect as SurfaceDefect]({ surface, random, noise: new Noise(random), size: clamp(extent + growth * 0.06, 0, 1), strength, extent: category.kind === 'texture' ? 1 : extentOf(surface) });
    }
    const area = changedArea(good.surface, surface);
    if (!area) {
      growth++;
      continue;
    }
    const radiance = copyRadiance(good.radiance);
    shade(surface, lighting, radiance, area);
    const hurt = expose(surface, radiance, camera, frame, photo.metering, noiseStart);
    const sample = compose(photo, hurt, size);
    growth += sample.share > largestShare ? -1 : 1;
    if (sample.share >= smallestShare && sample.share <= largestShare && sample.contrast > (best?.contrast ?? leastContrast)) best = sample;
  }
  if (best) return { size, image: best.image, mask: best.mask, caption };
  throw new Error(`renderSample: no visible ${defect} on ${name} with seed ${seed} in ${attempts} attempts`);
}

function copyRadiance(radiance: Scene['radiance']): Scene['radiance'] {
  const copy = (channel: Float32Array): Float32Array => {
    const to = layer(channel.length);
    to.set(channel);
    return to;
  };
  return [copy(radiance[0]), copy(radiance[1]), copy(radiance[2])];
}

/** A picture with a defect. */
interface Composed {
  readonly image: Uint8Array;
  readonly mask: Uint8Array;
  /** Share of the picture that the mask covers. */
  readonly share: number;
  /** Mean difference inside the mask. */
  readonly contrast: number;
}

/** The defect's pixels in the good picture. */
function compose(good: Exposed, hurt: Exposed, size: number): Composed {
  const difference = differenceOf(good.clean, hurt.clean);
  const mask = maskOf(difference, size);
  let area = 0;
  let sum = 0;
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    area++;
    sum += difference[i];
  }
  const image = good.pixels.slice();
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    for (let c = 0; c < 3; c++) image[i * 3 + c] = hurt.pixels[i * 3 + c];
  }
  // A handful of pixels is no defect that anyone could find, however small the picture.
  return { image, mask, share: area < 6 ? 0 : area / mask.length, contrast: area ? sum / area : 0 };
}
