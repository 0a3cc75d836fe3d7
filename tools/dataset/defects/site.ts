// Where a defect sits, and how large it may be there.
import type { RandomSource } from '../../../src/tensor/random.ts';
import { luminance } from '../render/colour.ts';
import { clamp, cosine, scaled, sine, TAU } from '../render/numbers.ts';
import type { Noise } from '../render/noise.ts';
import type { Surface } from '../render/surface.ts';

/** Everything that a defect needs to happen. */
export interface Wound {
  readonly surface: Surface;
  readonly random: RandomSource;
  readonly noise: Noise;
  /** 0 small to 1 large. */
  readonly size: number;
  /** 0 faint to 1 clear. */
  readonly strength: number;
  /** Radius of a disc as large as the thing, in picture units; 1 for a texture. */
  readonly extent: number;
}

/** Equivalent radius of the thing in a picture. */
export function extentOf(surface: Surface): number {
  let covered = 0;
  for (let i = 0; i < surface.count; i++) if (surface.part[i]) covered++;
  return clamp(Math.sqrt(covered / surface.count) * 1.128, 0.2, 1);
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** Sample index at a point of the picture, or -1 outside. */
function sampleAt(surface: Surface, x: number, y: number): number {
  const column = Math.floor((x + 1) / surface.unit);
  const row = Math.floor((y + 1) / surface.unit);
  return column < 0 || row < 0 || column >= surface.side || row >= surface.side ? -1 : row * surface.side + column;
}

function onThing(surface: Surface, x: number, y: number): boolean {
  const i = sampleAt(surface, x, y);
  return i >= 0 && surface.part[i] > 0;
}

/** A point of the thing around which a disc of a radius lies on it, as far as one is found; otherwise the best of those tried. */
export function findSite({ surface, random }: Wound, radius: number): Point {
  let best: Point = { x: 0, y: 0 };
  let bestShare = -1;
  for (let attempt = 0; attempt < 60; attempt++) {
    const x = random.uniform(-0.82, 0.82);
    const y = random.uniform(-0.82, 0.82);
    if (!onThing(surface, x, y)) continue;
    let share = 1;
    for (let k = 0; k < 8; k++) if (onThing(surface, x + radius * cosine((k * TAU) / 8), y + radius * sine((k * TAU) / 8))) share++;
    if (share > bestShare) [best, bestShare] = [{ x, y }, share];
    if (share === 9) break;
  }
  return best;
}

/** A point on the outline of the thing, and the direction out of it; undefined when there is no outline inside the picture. */
export function findEdge({ surface, random }: Wound): (Point & { readonly outX: number; readonly outY: number }) | undefined {
  for (let attempt = 0; attempt < 80; attempt++) {
    // Walk outwards from a point of the thing until it ends.
    const start = findInside(surface, random);
    if (!start) return undefined;
    const angle = random.uniform(0, TAU);
    const [dx, dy] = [cosine(angle), sine(angle)];
    for (let step = 0; step < 2 / surface.unit; step++) {
      const [x, y] = [start.x + dx * step * surface.unit, start.y + dy * step * surface.unit];
      if (Math.abs(x) > 0.93 || Math.abs(y) > 0.93) break;
      if (onThing(surface, x, y)) continue;
      // The mean direction to the ground around.
      let [outX, outY] = [0, 0];
      const reach = 0.07;
      for (let k = 0; k < 24; k++) {
        const [ox, oy] = [cosine((k * TAU) / 24), sine((k * TAU) / 24)];
        for (const r of [0.4, 1]) if (!onThing(surface, x + ox * r * reach, y + oy * r * reach)) [outX, outY] = [outX + ox, outY + oy];
      }
      const size = Math.sqrt(outX * outX + outY * outY);
      if (size > 3) return { x, y, outX: outX / size, outY: outY / size };
      break;
    }
  }
  return undefined;
}

function findInside(surface: Surface, random: RandomSource): Point | undefined {
  for (let attempt = 0; attempt < 60; attempt++) {
    const [x, y] = [random.uniform(-0.9, 0.9), random.uniform(-0.9, 0.9)];
    if (onThing(surface, x, y)) return { x, y };
  }
  return undefined;
}

/** A length between two shares of the thing's extent, larger for larger defects, on a logarithmic scale. */
export function lengthBetween({ random, size, extent }: Wound, low: number, high: number): number {
  const middle = low + (high - low) * size * size;
  return extent * middle * scaled(random, 0.85, 1.18);
}

/** Calls back for each sample of a square around a point that is inside the picture. */
export function around(surface: Surface, x: number, y: number, radius: number, visit: (i: number, dx: number, dy: number) => void): void {
  const { side, unit } = surface;
  const left = Math.max(0, Math.floor((x - radius + 1) / unit));
  const right = Math.min(side - 1, Math.ceil((x + radius + 1) / unit));
  const top = Math.max(0, Math.floor((y - radius + 1) / unit));
  const bottom = Math.min(side - 1, Math.ceil((y + radius + 1) / unit));
  for (let row = top; row <= bottom; row++) {
    for (let column = left; column <= right; column++) visit(row * side + column, (column + 0.5) * unit - 1 - x, (row + 0.5) * unit - 1 - y);
  }
}

/** How light the thing is on average. */
export function meanLight(surface: Surface): number {
  let sum = 0;
  let count = 0;
  for (let i = 0; i < surface.count; i += 61) {
    if (!surface.part[i]) continue;
    sum += luminance(surface.red[i], surface.green[i], surface.blue[i]);
    count++;
  }
  return sum / Math.max(1, count);
}
