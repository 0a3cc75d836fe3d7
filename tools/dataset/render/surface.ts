// What a camera looks down on: for each sample its height and what it is made of. Categories and defects write it, the
// lighting reads it.
import type { Rgb } from './colour.ts';
import { layer } from './memory.ts';
import { cosine, sine } from './numbers.ts';

/** What shows where the surface is broken open. */
export interface Core {
  readonly colour: Rgb;
  readonly rough: number;
  readonly metal: number;
}

/** Where a thing lies in the picture. */
export interface Pose {
  /** Radians. */
  readonly angle: number;
  /** Picture units per unit of the thing. */
  readonly scale: number;
  /** Its centre, in picture units. */
  readonly x: number;
  readonly y: number;
  /** Perspective: growth of the thing's coordinates per picture unit. */
  readonly tiltX: number;
  readonly tiltY: number;
}

/** The layers of a surface; in this order they are copied and compared. */
const layerNames = ['height', 'red', 'green', 'blue', 'rough', 'metal', 'soft'] as const;

/**
 * A square seen from above, -1 to 1 on both axes, as layers of side × side samples, row by row.
 * Heights are in the same units as the axes. A new surface holds anything; a category fills every layer. It lives until
 * `releaseLayers`.
 */
export class Surface {
  readonly side: number;
  /** Distance between samples. */
  readonly unit: number;
  readonly count: number;
  readonly height: Float32Array;
  /** Linear share of light given back: the diffuse colour, or the mirror colour where `metal` is 1. */
  readonly red: Float32Array;
  readonly green: Float32Array;
  readonly blue: Float32Array;
  /** 0 a mirror, 1 chalk. */
  readonly rough: Float32Array;
  readonly metal: Float32Array;
  /** How far light spreads inside before it comes back: 0 stone, 1 wax. */
  readonly soft: Float32Array;
  /** 0 background, 1 and above the thing. In a texture everything is 1, joints are 0. */
  readonly part: Uint8Array;
  /** Set by the category. */
  core: Core = { colour: [0.3, 0.3, 0.3], rough: 0.8, metal: 0 };
  /** What lies below the thing, for holes and broken edges; without one, only the core is found there. */
  backdrop: Surface | undefined;

  constructor(side: number) {
    this.side = side;
    this.unit = 2 / side;
    this.count = side * side;
    this.height = layer(this.count);
    this.red = layer(this.count);
    this.green = layer(this.count);
    this.blue = layer(this.count);
    this.rough = layer(this.count);
    this.metal = layer(this.count);
    this.soft = layer(this.count);
    this.part = new Uint8Array(this.count);
  }

  /** Sets what a sample is made of. */
  paint(i: number, colour: Rgb, shade: number, rough: number, metal: number): void {
    this.red[i] = colour[0] * shade;
    this.green[i] = colour[1] * shade;
    this.blue[i] = colour[2] * shade;
    this.rough[i] = rough;
    this.metal[i] = metal;
  }

  /** Mixes a colour in. */
  tint(i: number, colour: Rgb, amount: number): void {
    this.red[i] += (colour[0] - this.red[i]) * amount;
    this.green[i] += (colour[1] - this.green[i]) * amount;
    this.blue[i] += (colour[2] - this.blue[i]) * amount;
  }

  /** Lightens or darkens. */
  shade(i: number, factor: number): void {
    this.red[i] *= factor;
    this.green[i] *= factor;
    this.blue[i] *= factor;
  }

  /** Lays open what is inside. */
  expose(i: number, amount: number, shade = 1): void {
    const { colour, rough, metal } = this.core;
    this.red[i] += (colour[0] * shade - this.red[i]) * amount;
    this.green[i] += (colour[1] * shade - this.green[i]) * amount;
    this.blue[i] += (colour[2] * shade - this.blue[i]) * amount;
    this.rough[i] += (rough - this.rough[i]) * amount;
    this.metal[i] += (metal - this.metal[i]) * amount;
  }

  /** Takes a sample from another surface of the same size. */
  take(i: number, from: Surface): void {
    this.height[i] = from.height[i];
    this.red[i] = from.red[i];
    this.green[i] = from.green[i];
    this.blue[i] = from.blue[i];
    this.rough[i] = from.rough[i];
    this.metal[i] = from.metal[i];
    this.soft[i] = from.soft[i];
    this.part[i] = from.part[i];
  }

  copyFrom(other: Surface): void {
    for (const name of layerNames) this[name].set(other[name]);
    this.part.set(other.part);
    this.core = other.core;
    this.backdrop = other.backdrop;
  }

  /** Coordinates of a posed thing at each sample. */
  coordinates({ angle, scale, x, y, tiltX, tiltY }: Pose): { readonly u: Float32Array; readonly v: Float32Array } {
    const { side, unit, count } = this;
    const u = layer(count);
    const v = layer(count);
    const c = cosine(angle) / scale;
    const s = sine(angle) / scale;
    for (let row = 0, i = 0; row < side; row++) {
      const py = (row + 0.5) * unit - 1 - y;
      for (let column = 0; column < side; column++, i++) {
        const px = (column + 0.5) * unit - 1 - x;
        const depth = 1 + tiltX * px + tiltY * py;
        u[i] = (px * c + py * s) * depth;
        v[i] = (py * c - px * s) * depth;
      }
    }
    return { u, v };
  }
}
