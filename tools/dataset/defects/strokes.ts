// Defects that are lines: scratches, cracks and fibres.
import { luminance, type Rgb, srgb, vary } from '../render/colour.ts';
import { layer } from '../render/memory.ts';
import { chance, clamp, cosine, mix, normal, pick, power, sine, smoothstep, TAU } from '../render/numbers.ts';
import type { Surface } from '../render/surface.ts';
import { findSite, lengthBetween, meanLight, type Point, type Wound } from './site.ts';

/** A point of a line with the line's half width there. */
interface Node extends Point {
  readonly radius: number;
}

/** Distance to a line at the samples near it, in half widths of the line. */
interface Trace {
  /** Samples that the line touches, each once. */
  readonly samples: readonly number[];
  /** By sample: distance in half widths, signed: negative on the left of the line. */
  readonly distance: Float32Array;
  /** By sample: how far along the line, 0 to 1. */
  readonly along: Float32Array;
  /** By sample: half width in picture units. */
  readonly radius: Float32Array;
}

function traceLines(surface: Surface, lines: readonly (readonly Node[])[], reach: number): Trace {
  const { side, unit, count } = surface;
  const distance = layer(count).fill(1e9);
  const along = layer(count);
  const radius = layer(count);
  const samples: number[] = [];
  for (const line of lines) {
    for (let k = 0; k + 1 < line.length; k++) {
      const [a, b] = [line[k], line[k + 1]];
      const [dx, dy] = [b.x - a.x, b.y - a.y];
      const square = dx * dx + dy * dy;
      if (square === 0) continue;
      const pad = Math.max(a.radius, b.radius) * reach + unit;
      const left = Math.max(0, Math.floor((Math.min(a.x, b.x) - pad + 1) / unit));
      const right = Math.min(side - 1, Math.ceil((Math.max(a.x, b.x) + pad + 1) / unit));
      const top = Math.max(0, Math.floor((Math.min(a.y, b.y) - pad + 1) / unit));
      const bottom = Math.min(side - 1, Math.ceil((Math.max(a.y, b.y) + pad + 1) / unit));
      for (let row = top; row <= bottom; row++) {
        for (let column = left; column <= right; column++) {
          const px = (column + 0.5) * unit - 1 - a.x;
          const py = (row + 0.5) * unit - 1 - a.y;
          const t = clamp((px * dx + py * dy) / square, 0, 1);
          const [ex, ey] = [px - t * dx, py - t * dy];
          const r = mix(a.radius, b.radius, t);
          const d = Math.sqrt(ex * ex + ey * ey) / r;
          const i = row * side + column;
          if (d > reach || d >= Math.abs(distance[i])) continue;
          if (distance[i] > 1e8) samples.push(i);
          distance[i] = px * dy - py * dx > 0 ? -d : d;
          along[i] = (k + t) / (line.length - 1);
          radius[i] = r;
        }
      }
    }
  }
  return { samples, distance, along, radius };
}

/** A line that starts somewhere, goes on in a direction and turns a little at each step. */
function wander(start: Point, direction: number, length: number, steps: number, turn: (step: number) => number, radiusAt: (t: number) => number): Node[] {
  const nodes: Node[] = [];
  let [x, y] = [start.x, start.y];
  let angle = direction;
  for (let k = 0; k <= steps; k++) {
    nodes.push({ x, y, radius: radiusAt(k / steps) });
    angle += turn(k);
    x += (cosine(angle) * length) / steps;
    y += (sine(angle) * length) / steps;
  }
  return nodes;
}

/** Halfway back, so that a line is centred on its site. */
function centred(site: Point, direction: number, length: number): Point {
  return { x: site.x - (cosine(direction) * length) / 2, y: site.y - (sine(direction) * length) / 2 };
}

/** Something hard was drawn over the surface: a groove with raised lips that lays the core open. */
export function scratch(wound: Wound): void {
  const { surface, random, noise, strength, size } = wound;
  const length = lengthBetween(wound, 0.4, 1.6);
  const site = findSite(wound, length * 0.3);
  const direction = random.uniform(0, TAU);
  const width = Math.max(1.15 * surface.unit, wound.extent * random.uniform(0.009, 0.022) * (0.8 + 0.7 * size));
  const bend = normal(random, 0, 0.05);
  const lines: Node[][] = [];
  const strokes = chance(random, 0.45) ? random.integer(2, 4) : 1;
  for (let k = 0; k < strokes; k++) {
    const angle = direction + (k ? normal(random, 0, 0.12) : 0);
    const own = length * (k ? random.uniform(0.3, 0.9) : 1);
    const from = centred({ x: site.x + (k ? normal(random, 0, width * 5) : 0), y: site.y + (k ? normal(random, 0, width * 5) : 0) }, angle, own);
    const half = width * (k ? random.uniform(0.6, 1) : 1);
    lines.push(wander(from, angle, own, 14, () => bend + normal(random, 0, 0.02), (t) => half * (0.35 + 0.65 * power(sine(Math.PI * clamp(t, 0.02, 0.98)), 0.5))));
  }
  const { samples, distance, along, radius } = traceLines(surface, lines, 2.4);
  const depth = mix(0.5, 1.2, strength);
  const bare = mix(0.5, 1, strength);
  // Where the inside has the colour of the outside, dirt in the groove or its raw walls show it.
  const [red, green, blue] = surface.core.colour;
  const alike = Math.abs(Math.sqrt(luminance(red, green, blue)) - Math.sqrt(meanLight(surface))) < 0.22;
  const glint = alike ? (luminance(red, green, blue) > 0.25 || chance(random, 0.3) ? random.uniform(0.3, 0.6) : random.uniform(1.8, 2.6)) : 1;
  for (const i of samples) {
    if (!surface.part[i]) continue;
    const q = Math.abs(distance[i]);
    const skip = 0.55 + 0.45 * smoothstep(-0.5, 0.1, noise.at(along[i] * 14, 3.3));
    const groove = Math.max(0, 1 - q * q);
    const lip = Math.max(0, 1 - Math.abs(q - 1.5) / 0.8);
    surface.height[i] += radius[i] * skip * depth * (0.3 * lip - groove);
    const amount = bare * skip * smoothstep(1.25, 0.5, q);
    surface.expose(i, amount, glint);
  }
}

/** The material has broken apart: a jagged line that branches, narrow and deep. */
export function crack(wound: Wound): void {
  const { surface, random, strength, size } = wound;
  const length = lengthBetween(wound, 0.35, 1.5);
  const site = findSite(wound, length * 0.3);
  const direction = random.uniform(0, TAU);
  const width = Math.max(0.95 * surface.unit, wound.extent * mix(0.009, 0.022, strength) * (0.8 + 0.6 * size));
  const lines: Node[][] = [];
  const grow = (start: Point, angle: number, reach: number, half: number, level: number): void => {
    const steps = Math.max(5, Math.round(reach / 0.035));
    let lean = 0;
    const line = wander(start, angle, reach, steps, () => {
      // Sharp turns that come back to the direction of the stress.
      const before = lean;
      lean = chance(random, 0.55) ? normal(random, 0, 0.5) : lean * 0.5;
      return lean - before;
    }, (t) => half * (level ? 1 - 0.8 * t : 0.35 + 0.65 * (1 - Math.abs(2 * t - 1)) + 0.15));
    lines.push(line);
    if (level > 1) return;
    const branches = level ? random.integer(0, 1) : random.integer(0, 3);
    for (let k = 0; k < branches; k++) {
      const at = line[random.integer(Math.floor(line.length * 0.2), line.length - 2)];
      grow(at, angle + (chance(random, 0.5) ? 1 : -1) * random.uniform(0.4, 1), reach * random.uniform(0.2, 0.45), at.radius * 0.8, level + 1);
    }
  };
  grow(centred(site, direction, length), direction, length, width, 0);
  const { samples, distance, radius } = traceLines(surface, lines, 3);
  const dark = mix(0.45, 0.08, strength);
  // In dark glossy things the faces of a crack glint instead.
  const glints = meanLight(surface) < 0.05;
  const lift = random.uniform(-0.5, 0.5);
  for (const i of samples) {
    if (!surface.part[i]) continue;
    const q = Math.abs(distance[i]);
    const open = smoothstep(1.15, 0.55, q);
    // One side stands a little higher than the other.
    const side = distance[i] < 0 ? Math.max(0, 1 - q / 3) * lift : 0;
    surface.height[i] += radius[i] * (side - 2.2 * open);
    surface.expose(i, open * 0.8, glints ? 1.6 : 0.7);
    if (!glints) surface.shade(i, 1 - open * (1 - dark));
    surface.rough[i] = mix(surface.rough[i], 0.95, open);
    surface.metal[i] *= 1 - 0.9 * open;
    surface.soft[i] *= 1 - open;
  }
}

const fibreColours: readonly Rgb[] = [srgb(28, 26, 26), srgb(235, 232, 225), srgb(150, 36, 36), srgb(44, 70, 130), srgb(120, 84, 48), srgb(70, 100, 60), srgb(200, 180, 150)];

/** A hair, thread or lint lies on top and casts a shadow. */
export function foreignFibre(wound: Wound): void {
  const { surface, random, size, strength } = wound;
  const length = Math.min(2, wound.extent * mix(0.5, 2.2, size) * random.uniform(0.8, 1.2));
  const site = findSite(wound, 0.05);
  const direction = random.uniform(0, TAU);
  const half = Math.max(0.9 * surface.unit, wound.extent * random.uniform(0.006, 0.013) * mix(0.8, 1.3, strength));
  // A colour that stands out from what it lies on.
  const ground = meanLight(surface);
  const colour = vary(random, pick(random, fibreColours.filter((c) => Math.abs(Math.sqrt(luminance(c[0], c[1], c[2])) - Math.sqrt(ground)) > 0.16)), 0.1);
  let curl = normal(random, 0, 0.1);
  const steps = 44;
  const restless = random.uniform(0.02, 0.09);
  const line = wander(centred(site, direction, length * 0.6), direction, length, steps, () => (curl = clamp(curl * 0.95 + normal(random, 0, restless), -0.3, 0.3)), () => half);
  const { samples, distance, along, radius } = traceLines(surface, [line], 1.2);
  const phase = random.uniform(0, TAU);
  for (const i of samples) {
    const q = Math.abs(distance[i]);
    if (q > 1.05) continue;
    const round = Math.sqrt(Math.max(0, 1 - q * q));
    // It does not lie flat all along.
    const lift = radius[i] * (1.1 + 0.9 * sine(phase + along[i] * 9));
    surface.height[i] += lift + radius[i] * 1.2 * round;
    const cover = smoothstep(1.05, 0.75, q);
    surface.tint(i, colour, cover);
    surface.shade(i, 1 - 0.25 * q * q);
    surface.rough[i] = mix(surface.rough[i], 0.5, cover);
    surface.metal[i] *= 1 - cover;
    surface.soft[i] = mix(surface.soft[i], 0.3, cover);
  }
}
