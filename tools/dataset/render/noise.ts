// Noise: the irregularity that materials have at every scale.
import type { RandomSource } from '../../../src/tensor/random.ts';
import { clearLayer, layer } from './memory.ts';
import { cosine, sine } from './numbers.ts';

/** A hash of a lattice point as a number from 0 to 1. */
export function hash2(x: number, y: number, salt: number): number {
  let h = Math.imul(x, 0x27d4eb2d) ^ Math.imul(y, 0x165667b1) ^ salt;
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}

const gradientX = Float64Array.from({ length: 64 }, (_, i) => cosine((i * 6.283185307179586) / 64));
const gradientY = Float64Array.from({ length: 64 }, (_, i) => sine((i * 6.283185307179586) / 64));

/** What a Worley look-up found: distances to the nearest and second nearest feature point, and the nearest one's cell. */
export interface Cell {
  first: number;
  second: number;
  /** Hash of the nearest point's cell, 0 to 1. */
  id: number;
  /** From the nearest point to here. */
  dx: number;
  dy: number;
}

/** Noise in the plane, for coordinates of any direction. Each instance is another pattern. */
export class Noise {
  readonly #salt: number;
  /** Result of the last `cells` call, which is not kept apart to spare an allocation per pixel. */
  readonly cell: Cell = { first: 0, second: 0, id: 0, dx: 0, dy: 0 };

  constructor(random: RandomSource) {
    this.#salt = random.integer(0, 0x7fffffff);
  }

  /** Gradient noise, wavelength about 1, values within about -1 to 1. */
  at(x: number, y: number): number {
    const ix = Math.floor(x);
    const iy = Math.floor(y);
    const fx = x - ix;
    const fy = y - iy;
    const ux = fx * fx * fx * (fx * (fx * 6 - 15) + 10);
    const uy = fy * fy * fy * (fy * (fy * 6 - 15) + 10);
    const salt = this.#salt;
    const g00 = lattice(ix, iy, salt);
    const g10 = lattice(ix + 1, iy, salt);
    const g01 = lattice(ix, iy + 1, salt);
    const g11 = lattice(ix + 1, iy + 1, salt);
    const a = gradientX[g00] * fx + gradientY[g00] * fy;
    const b = gradientX[g10] * (fx - 1) + gradientY[g10] * fy;
    const c = gradientX[g01] * fx + gradientY[g01] * (fy - 1);
    const d = gradientX[g11] * (fx - 1) + gradientY[g11] * (fy - 1);
    const top = a + (b - a) * ux;
    return 1.5 * (top + (c + (d - c) * ux - top) * uy);
  }

  /** Sum of octaves, each of half the wavelength and `gain` times the height of the one before. */
  fractal(x: number, y: number, octaves: number, gain = 0.5): number {
    let sum = 0;
    let amplitude = 1;
    for (let i = 0; i < octaves; i++) {
      sum += amplitude * this.at(x, y);
      x = x * 2 + 17.3;
      y = y * 2 - 9.1;
      amplitude *= gain;
    }
    return sum;
  }

  /** Worley noise: looks up the nearest feature points (one per unit cell, `jitter` 0 on a grid, 1 anywhere in it) into `cell`. */
  cells(x: number, y: number, jitter = 1): Cell {
    const { cell } = this;
    const salt = this.#salt;
    const ix = Math.floor(x);
    const iy = Math.floor(y);
    let first = 9;
    let second = 9;
    for (let oy = -1; oy <= 1; oy++) {
      for (let ox = -1; ox <= 1; ox++) {
        let h = Math.imul(ix + ox, 0x27d4eb2d) ^ Math.imul(iy + oy, 0x165667b1) ^ salt;
        h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
        h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
        h ^= h >>> 16;
        const dx = x - ix - ox - 0.5 - jitter * ((h & 0xffff) / 65536 - 0.5);
        const dy = y - iy - oy - 0.5 - jitter * ((h >>> 16) / 65536 - 0.5);
        const d = dx * dx + dy * dy;
        if (d < first) {
          second = first;
          first = d;
          cell.dx = dx;
          cell.dy = dy;
          cell.id = (Math.imul(h, 0x9e3779b1) >>> 8) / 16777216;
        } else if (d < second) second = d;
      }
    }
    cell.first = Math.sqrt(first);
    cell.second = Math.sqrt(second);
    return cell;
  }
}

function lattice(x: number, y: number, salt: number): number {
  let h = Math.imul(x, 0x27d4eb2d) ^ Math.imul(y, 0x165667b1) ^ salt;
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return (h ^ (h >>> 13)) & 63;
}

/** Octaves with lattice cells of at least so many samples are computed at half the resolution. */
const coarseCell = 10;

/**
 * Fractal noise for a whole square picture, much cheaper per pixel than `Noise.fractal`: each octave's lattice is
 * spread with a cubic B-spline, rows first, then columns, the coarse octaves on a coarser raster. Lattices are in world
 * units, so a larger picture shows the same pattern with more detail.
 *
 * @param side samples per side; the square is 2 world units wide
 * @param wavelength of the coarsest octave, in world units
 * @param gain height of each octave relative to the one before
 * @returns side × side, row by row; deviation about 1
 */
export function fractalField(side: number, random: RandomSource, wavelength: number, octaves: number, gain = 0.5): Float32Array {
  const salt = random.integer(0, 0x7fffffff);
  let energy = 0;
  let amplitude = 1;
  for (let octave = 0; octave < octaves; octave++, amplitude *= gain) energy += amplitude * amplitude;
  return sumOctaves(side, (wavelength / 2) * (side / 2), octaves, gain, salt, 1 / Math.sqrt(energy));
}

/** @param cell size of the first octave's lattice cells, in samples */
function sumOctaves(side: number, cell: number, octaves: number, gain: number, salt: number, amplitude: number): Float32Array {
  let result: Float32Array;
  if (octaves > 0 && cell >= coarseCell && side % 2 === 0) {
    let coarse = 0;
    for (let c = cell; coarse < octaves && c >= coarseCell; c /= 2) coarse++;
    result = enlarge(sumOctaves(side / 2, cell / 2, coarse, gain, salt, amplitude), side / 2);
    for (; coarse > 0; coarse--, octaves--, cell /= 2, amplitude *= gain) salt += 7919;
  } else result = clearLayer(side * side);
  for (; octaves > 0; octaves--, cell /= 2, amplitude *= gain, salt += 7919) if (cell >= 0.75) addOctave(result, side, cell, salt, amplitude);
  return result;
}

/** Twice the resolution: each new sample lies between four old ones, which count 9, 3, 3 and 1 sixteenths. */
function enlarge(from: Float32Array, half: number): Float32Array {
  const side = half * 2;
  const to = layer(side * side);
  const row = new Float64Array(half);
  for (let y = 0; y < side; y++) {
    const near = (y >> 1) * half;
    const far = Math.min(half - 1, Math.max(0, (y >> 1) + (y & 1 ? 1 : -1))) * half;
    for (let x = 0; x < half; x++) row[x] = 0.75 * from[near + x] + 0.25 * from[far + x];
    const at = y * side;
    to[at] = row[0];
    to[at + side - 1] = row[half - 1];
    for (let x = 1; x < half; x++) {
      const [a, b] = [row[x - 1], row[x]];
      to[at + 2 * x - 1] = 0.75 * a + 0.25 * b;
      to[at + 2 * x] = 0.25 * a + 0.75 * b;
    }
  }
  return to;
}

/** Weights of the four lattice values around a position. */
function spline(t: number, weights: Float64Array, at: number): void {
  const s = 1 - t;
  weights[at] = (s * s * s) / 6;
  weights[at + 1] = (3 * t * t * t - 6 * t * t + 4) / 6;
  weights[at + 2] = (3 * s * s * s - 6 * s * s + 4) / 6;
  weights[at + 3] = (t * t * t) / 6;
}

function addOctave(result: Float32Array, side: number, cell: number, salt: number, amplitude: number): void {
  const count = Math.floor(side / cell) + 4;
  const weights = new Float64Array(side * 4);
  const starts = new Int32Array(side);
  for (let i = 0; i < side; i++) {
    const position = (i + 0.5) / cell;
    starts[i] = Math.floor(position);
    spline(position - starts[i], weights, i * 4);
  }
  // A cubic B-spline of white noise has a deviation of 0.48 of it; uniform noise one of 0.289.
  const scale = amplitude * 7.2;
  const rows = layerOfRows(count * side);
  const values = new Float64Array(count);
  for (let y = 0; y < count; y++) {
    for (let x = 0; x < count; x++) values[x] = (hash2(x, y, salt) - 0.5) * scale;
    for (let x = 0; x < side; x++) {
      const s = starts[x];
      const w = x * 4;
      rows[y * side + x] = weights[w] * values[s] + weights[w + 1] * values[s + 1] + weights[w + 2] * values[s + 2] + weights[w + 3] * values[s + 3];
    }
  }
  for (let y = 0; y < side; y++) {
    const w = y * 4;
    const [w0, w1, w2, w3] = [weights[w], weights[w + 1], weights[w + 2], weights[w + 3]];
    let from = starts[y] * side;
    const to = y * side;
    for (let x = 0; x < side; x++, from++) result[to + x] += w0 * rows[from] + w1 * rows[from + side] + w2 * rows[from + 2 * side] + w3 * rows[from + 3 * side];
  }
}

let rowsMemory = new Float32Array(0);

function layerOfRows(length: number): Float32Array {
  if (rowsMemory.length < length) rowsMemory = new Float32Array(length);
  return rowsMemory;
}
