// Arithmetic of the generator. The standard library's sine, exponential and power may differ in the last bit between
// versions and machines; these use additions, multiplications, divisions and square roots alone, which IEEE 754 fixes
// exactly, so a seed gives the same bytes everywhere.
import { RandomSource } from '../../../src/tensor/random.ts';

export const TAU = 6.283185307179586;
export const PI = 3.141592653589793;

export function clamp(x: number, low: number, high: number): number {
  return x < low ? low : x > high ? high : x;
}

export function mix(a: number, b: number, t: number): number {
  return a + (b - a) * t;
}

/** 0 below `low`, 1 above `high`, smooth between; `low` above `high` falls instead of rising. */
export function smoothstep(low: number, high: number, x: number): number {
  const t = clamp((x - low) / (high - low), 0, 1);
  return t * t * (3 - 2 * t);
}

export function length(x: number, y: number): number {
  return Math.sqrt(x * x + y * y);
}

/** Sine, error below 1e-7. */
export function sine(angle: number): number {
  let turns = angle / TAU;
  turns -= Math.floor(turns + 0.5);
  if (turns > 0.25) turns = 0.5 - turns;
  else if (turns < -0.25) turns = -0.5 - turns;
  const x = turns * TAU;
  const s = x * x;
  return x * (1 - (s / 6) * (1 - (s / 20) * (1 - (s / 42) * (1 - (s / 72) * (1 - s / 110)))));
}

export function cosine(angle: number): number {
  return sine(angle + TAU / 4);
}

/** Angle of a vector, -π to π, error below 1e-4. */
export function angleOf(x: number, y: number): number {
  const [ax, ay] = [Math.abs(x), Math.abs(y)];
  const high = Math.max(ax, ay);
  if (high === 0) return 0;
  const a = Math.min(ax, ay) / high;
  const s = a * a;
  let angle = a * (0.99997726 + s * (-0.33262347 + s * (0.19354346 + s * (-0.11643287 + s * (0.05265332 - s * 0.0117212)))));
  if (ay > ax) angle = PI / 2 - angle;
  if (x < 0) angle = PI - angle;
  return y < 0 ? -angle : angle;
}

const powersOfTwo = Float64Array.from({ length: 401 }, (_, i) => {
  let value = 1;
  for (let k = 200; k < i; k++) value *= 2;
  for (let k = i; k < 200; k++) value *= 0.5;
  return value;
});

/** 2 to the power x, relative error below 1e-7. */
function exponential2(x: number): number {
  const whole = Math.floor(clamp(x, -200, 199));
  const f = clamp(x, -200, 200) - whole;
  return powersOfTwo[whole + 200] * (1 + f * (0.693147181 + f * (0.240226507 + f * (0.055504109 + f * (0.009618129 + f * (0.001333356 + f * (0.000154035 + f * (0.00001525273 + f * 0.00000132154))))))));
}

export function exponential(x: number): number {
  return exponential2(x * 1.4426950408889634);
}

const float = new Float32Array(1);
const bits = new Int32Array(float.buffer);

/** Logarithm to base 2 of a positive number, error below 1e-6. */
export function logarithm2(x: number): number {
  float[0] = x;
  const exponent = (bits[0] >> 23) - 127;
  bits[0] = (bits[0] & 0x7fffff) | 0x3f800000;
  const t = (float[0] - 1) / (float[0] + 1);
  const s = t * t;
  return exponent + 2.8853900817779268 * t * (1 + s * (1 / 3 + s * (1 / 5 + s * (1 / 7 + s * (1 / 9 + s / 11)))));
}

/** x to the power y; 0 for x ≤ 0. */
export function power(x: number, y: number): number {
  return x <= 0 ? 0 : exponential2(y * logarithm2(x));
}

/** Mixes a seed with words to a new 32-bit seed: every concern of an image draws from a source of its own. */
export function deriveSeed(seed: number, ...labels: readonly (string | number)[]): number {
  let hash = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.floor(seed / 4294967296);
  for (const label of labels) {
    for (const character of `${label}/`) {
      hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
      hash ^= hash >>> 15;
    }
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** A source of random numbers for one concern of one image. */
export function randomFor(seed: number, ...labels: readonly (string | number)[]): RandomSource {
  return new RandomSource(deriveSeed(seed, ...labels));
}

export function pick<T>(random: RandomSource, items: readonly T[]): T {
  return items[random.integer(0, items.length - 1)];
}

export function chance(random: RandomSource, probability: number): boolean {
  return random.uniform() < probability;
}

/** Uniform on a logarithmic scale. */
export function scaled(random: RandomSource, low: number, high: number): number {
  return low * power(high / low, random.uniform());
}

/** Close to normal: the sum of 12 uniform numbers. Never beyond 6 deviations. */
export function normal(random: RandomSource, mean = 0, deviation = 1): number {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random.uniform();
  return mean + deviation * sum;
}
