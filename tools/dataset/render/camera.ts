// The camera: exposure, lens blur and depth of field, vignetting, the sensor's noise and the tone curve.
import type { RandomSource } from '../../../src/tensor/random.ts';
import { boxBlur } from './blur.ts';
import { encode, luminance } from './colour.ts';
import { clearLayer, layer } from './memory.ts';
import { chance, mix, normal, power, randomFor, scaled } from './numbers.ts';
import type { Surface } from './surface.ts';

/** The settings of one photo. */
export interface Camera {
  /** Level that a scene of middle brightness gets, linear, before the tone curve. */
  readonly exposure: number;
  /** Standard blur of the lens, in world units. */
  readonly blur: number;
  /** Height in focus, as a share of the thing's height, and blur per unit of distance from it. */
  readonly focus: number;
  readonly defocus: number;
  readonly vignette: number;
  readonly vignetteX: number;
  readonly vignetteY: number;
  /** Variance of the noise: per unit of light, and without light. */
  readonly shotNoise: number;
  readonly readNoise: number;
  /** 0 a plain sRGB camera, 1 a film-like curve. */
  readonly contrast: number;
  readonly white: readonly [number, number, number];
  readonly sharpen: number;
}

export function drawCamera(random: RandomSource): Camera {
  const noisy = scaled(random, 0.00004, 0.0007);
  const tint = random.uniform(-0.04, 0.04);
  return {
    exposure: scaled(random, 0.13, 0.27),
    blur: chance(random, 0.15) ? random.uniform(0.008, 0.014) : random.uniform(0.002, 0.008),
    focus: random.uniform(0.5, 1),
    defocus: chance(random, 0.35) ? random.uniform(0.008, 0.03) : 0,
    vignette: random.uniform(0.02, 0.22),
    vignetteX: random.uniform(-0.2, 0.2),
    vignetteY: random.uniform(-0.2, 0.2),
    shotNoise: noisy,
    readNoise: noisy * 0.01,
    contrast: random.uniform(0.1, 0.8),
    white: [1 + tint, 1 + random.uniform(-0.015, 0.015), 1 - tint],
    sharpen: chance(random, 0.3) ? random.uniform(0.2, 0.6) : 0,
  };
}

/** Light of up to `curveRange` in steps that are fine in the dark. */
const curveSteps = 1024;
const curveRange = 4;

/** Display levels 0 to 255 for light: the sRGB curve mixed with a film-like shoulder. */
function toneCurve(contrast: number): Float32Array {
  return Float32Array.from({ length: curveSteps }, (_, i) => {
    const root = i / (curveSteps - 1);
    const x = root * root * curveRange;
    // Narkowicz's fit of the ACES curve, scaled to keep middle grey.
    const s = x * 0.8;
    const film = (s * (2.51 * s + 0.03)) / (s * (2.43 * s + 0.59) + 0.14);
    const plain = x < 0.7 ? x : 1 - 0.3 * (0.3 / (x - 0.4));
    return encode(mix(plain, film, contrast));
  });
}

/** Sizes of a picture's final pixels and its samples. */
export interface Frame {
  readonly size: number;
  /** Samples per pixel and axis. */
  readonly over: number;
}

let gaussians: Float32Array | undefined;

/** Normal numbers, drawn once and always the same: sensor noise takes them from a random start on. */
function gaussianTable(): Float32Array {
  if (!gaussians) {
    const random = randomFor(0, 'sensor');
    gaussians = Float32Array.from({ length: 1 << 16 }, () => normal(random));
  }
  return gaussians;
}

/** What the camera measured in a scene. */
export interface Metering {
  readonly gain: number;
  /** Height in focus, world units. */
  readonly focus: number;
}

/** A photo, with and without its noise. */
export interface Exposed {
  /** Display levels 0 to 255 without noise, size × size × 3. */
  readonly clean: Float32Array;
  /** 8-bit picture, size × size × 3. */
  readonly pixels: Uint8Array;
  readonly metering: Metering;
}

/**
 * Takes the photo.
 *
 * @param radiance linear light per sample and channel
 * @param metering exposure and focus of another photo; undefined measures this scene
 * @param noiseStart where in the table of noise to start: the same start gives the same noise
 */
export function expose(surface: Surface, radiance: readonly [Float32Array, Float32Array, Float32Array], camera: Camera, { size, over }: Frame, metering: Metering | undefined, noiseStart: number): Exposed {
  const pixelCount = size * size;
  const channels = radiance.map((samples) => downsample(samples, size, over));
  const heights = camera.defocus > 0 ? downsample(surface.height, size, over) : undefined;
  const { gain: exposure, focus } = metering ?? meter(channels, heights, camera);
  const pixel = 2 / size;
  const base = camera.blur / pixel;
  const wide = (camera.blur + 0.025) / pixel;
  for (let c = 0; c < 3; c++) {
    const sharp = channels[c];
    boxBlur(sharp, size, base, sharp);
    if (base > 0.6) boxBlur(sharp, size, base * 0.7, sharp);
    if (heights) {
      const blurred = layer(pixelCount);
      boxBlur(sharp, size, wide * 0.8, blurred);
      boxBlur(blurred, size, wide * 0.8, blurred);
      const scale = camera.defocus / 0.025;
      for (let i = 0; i < pixelCount; i++) {
        const amount = Math.min(1, Math.abs(heights[i] - focus) * scale);
        sharp[i] += (blurred[i] - sharp[i]) * amount;
      }
    }
    if (camera.sharpen > 0) {
      const soft = layer(pixelCount);
      boxBlur(sharp, size, 1, soft);
      for (let i = 0; i < pixelCount; i++) sharp[i] = Math.max(0, sharp[i] + (sharp[i] - soft[i]) * camera.sharpen);
    }
  }
  const curve = toneCurve(camera.contrast);
  const noise = gaussianTable();
  const clean = layer(pixelCount * 3);
  const pixels = new Uint8Array(pixelCount * 3);
  const toStep = (curveSteps - 1) / Math.sqrt(curveRange);
  const last = curveSteps - 1.001;
  const { vignetteX, vignetteY, shotNoise, readNoise } = camera;
  const strength = camera.vignette * 0.5;
  for (let c = 0; c < 3; c++) {
    const channel = channels[c];
    const white = camera.white[c] * exposure;
    for (let y = 0, i = 0, at = c; y < size; y++) {
      const dy = ((y + 0.5) / size) * 2 - 1 - vignetteY;
      for (let x = 0; x < size; x++, i++, at += 3) {
        const dx = ((x + 0.5) / size) * 2 - 1 - vignetteX;
        const edge = 1 + strength * (dx * dx + dy * dy);
        const light = (channel[i] * white) / (edge * edge);
        let step = Math.min(last, Math.sqrt(light) * toStep);
        let whole = Math.floor(step);
        clean[at] = curve[whole] + (curve[whole + 1] - curve[whole]) * (step - whole);
        const noisy = light + noise[(noiseStart + at * 7 + ((at * 31) >> 11)) & 0xffff] * Math.sqrt(light * shotNoise + readNoise);
        step = noisy > 0 ? Math.min(last, Math.sqrt(noisy) * toStep) : 0;
        whole = Math.floor(step);
        pixels[at] = Math.floor(curve[whole] + (curve[whole + 1] - curve[whole]) * (step - whole) + 0.5);
      }
    }
  }
  return { clean, pixels, metering: { gain: exposure, focus } };
}

/** Mean of over × over samples. */
function downsample(samples: Float32Array, size: number, over: number): Float32Array {
  const side = size * over;
  const result = clearLayer(size * size);
  const scale = 1 / (over * over);
  for (let y = 0; y < size; y++) {
    const to = y * size;
    for (let k = 0; k < over; k++) {
      const from = (y * over + k) * side;
      if (over === 2) for (let x = 0; x < size; x++) result[to + x] += samples[from + 2 * x] + samples[from + 2 * x + 1];
      else for (let x = 0; x < size; x++) for (let j = 0; j < over; j++) result[to + x] += samples[from + x * over + j];
    }
    for (let x = 0; x < size; x++) result[to + x] *= scale;
  }
  return result;
}

function meter([red, green, blue]: readonly Float32Array[], heights: Float32Array | undefined, camera: Camera): Metering {
  let sum = 0;
  let squares = 0;
  let top = 0;
  for (let i = 0; i < red.length; i++) {
    const light = luminance(red[i], green[i], blue[i]);
    sum += light;
    squares += light * light;
    if (heights && heights[i] > top) top = heights[i];
  }
  // The root mean square keeps bright things from burning out on dark grounds.
  const metered = 0.5 * (sum / red.length) + 0.5 * Math.sqrt(squares / red.length) + 0.002;
  // Partly automatic: dark things stay darker than pale ones.
  return { gain: (camera.exposure / 0.2) * power(0.2 / metered, 0.62), focus: top * camera.focus };
}
