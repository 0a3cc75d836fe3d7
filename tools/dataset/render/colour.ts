// Colours: written as sRGB (0 to 255), computed with as linear light (0 to 1).
import type { RandomSource } from '../../../src/tensor/random.ts';
import { clamp, normal, power } from './numbers.ts';

/** Linear red, green and blue. */
export type Rgb = readonly [red: number, green: number, blue: number];

const decoded = Float64Array.from({ length: 256 }, (_, level) => (level <= 10 ? level / 255 / 12.92 : power((level / 255 + 0.055) / 1.055, 2.4)));

/** sRGB levels 0 to 255 as linear light. */
export function srgb(red: number, green: number, blue: number): Rgb {
  return [decoded[clamp(Math.round(red), 0, 255)], decoded[clamp(Math.round(green), 0, 255)], decoded[clamp(Math.round(blue), 0, 255)]];
}

/** Linear light as an sRGB level 0 to 255, not rounded. */
export function encode(linear: number): number {
  const x = clamp(linear, 0, 1);
  return 255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * power(x, 1 / 2.4) - 0.055);
}

export function blend(a: Rgb, b: Rgb, t: number): Rgb {
  return [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t];
}

export function dim(colour: Rgb, factor: number): Rgb {
  return [colour[0] * factor, colour[1] * factor, colour[2] * factor];
}

/** The same colour a little lighter or darker and of a slightly different hue, as another lot of the material would be. */
export function vary(random: RandomSource, colour: Rgb, lightness: number, hue = lightness * 0.2): Rgb {
  const light = normal(random, 0, lightness);
  const channel = (value: number): number => clamp(value * (1 + light + normal(random, 0, hue)), 0.004, 0.95);
  return [channel(colour[0]), channel(colour[1]), channel(colour[2])];
}

/** How bright a colour looks. */
export function luminance(red: number, green: number, blue: number): number {
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
