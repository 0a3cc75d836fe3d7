// Light on a surface: one soft key light with shadows, a fill light, the surroundings that shiny things mirror, and the
// darkening of cavities. Microfacet highlights (GGX) with Schlick's Fresnel term.
import type { RandomSource } from '../../../src/tensor/random.ts';
import { boxBlur } from './blur.ts';
import type { Rgb } from './colour.ts';
import { layer } from './memory.ts';
import { chance, clamp, cosine, scaled, sine, smoothstep, TAU } from './numbers.ts';
import type { Surface } from './surface.ts';

/** A bright area of the surroundings, as a round patch of the sky. */
interface Lamp {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  /** Cosine of its half angle. */
  readonly edge: number;
  /** Width of its rim, in cosines. */
  readonly rim: number;
  readonly light: number;
}

/** The light of one photo. */
export interface Lighting {
  /** Direction to the key light, length 1. */
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly key: Rgb;
  /** Angular radius of the key light, radians: small lights make sharp shadows. */
  readonly size: number;
  /** Growth of the key light across the picture. */
  readonly falloffX: number;
  readonly falloffY: number;
  /** Light from the surroundings, from above and from the horizon. */
  readonly zenith: Rgb;
  readonly horizon: Rgb;
  readonly lamps: readonly Lamp[];
  /** How much darker the camera is than its surroundings, as mirrors see it. */
  readonly camera: number;
  /** Uneven surroundings: amplitude, directions and phases of two waves. */
  readonly uneven: readonly [amplitude: number, ax: number, ay: number, phaseA: number, bx: number, by: number, phaseB: number];
  /** How wide the view is: the slope of the view ray at the picture's edge. */
  readonly view: number;
}

/** What a category wants of its light. */
export interface LightingWishes {
  /** Range of the key light's height above the horizon, degrees. */
  readonly elevation?: readonly [number, number];
  /** Share of the key light in all light, 0 to 1. */
  readonly keyShare?: readonly [number, number];
}

/** Draws the light of a photo: a lamp, a softbox or a bright day through a window, warm or cool. */
export function drawLighting(random: RandomSource, { elevation = [28, 68], keyShare = [0.4, 0.75] }: LightingWishes = {}): Lighting {
  const azimuth = random.uniform(0, TAU);
  const height = (random.uniform(elevation[0], elevation[1]) / 360) * TAU;
  const [x, y, z] = [cosine(height) * cosine(azimuth), cosine(height) * sine(azimuth), sine(height)];
  const share = random.uniform(keyShare[0], keyShare[1]);
  const warmth = random.uniform(-0.09, 0.09);
  const ambientWarmth = -warmth * 0.6 + random.uniform(-0.03, 0.03);
  const tone = (light: number, warm: number): Rgb => [light * (1 + warm), light, light * (1 - warm)];
  // The key's irradiance on a flat surface is share × π / π.
  const strength = share / Math.max(0.35, z);
  const ambient = 1 - share;
  const [falloff, towards] = [random.uniform(0, 0.22), azimuth + random.uniform(-0.5, 0.5)];
  const lamps: Lamp[] = [];
  const size = scaled(random, 0.05, 0.3);
  // Mirrors see the key light as a lamp, and one or two others.
  const lamp = (lx: number, ly: number, lz: number, half: number, light: number): void => {
    const edge = cosine(half);
    lamps.push({ x: lx, y: ly, z: lz, edge, rim: (1 - edge) * 0.35, light });
  };
  lamp(x, y, z, 0.25 + size, share * random.uniform(1.2, 2.4));
  const others = random.integer(1, 2);
  for (let i = 0; i < others; i++) {
    const [a, e] = [random.uniform(0, TAU), random.uniform(0.35, 1.25)];
    lamp(cosine(e) * cosine(a), cosine(e) * sine(a), sine(e), random.uniform(0.25, 0.6), ambient * random.uniform(0.8, 2));
  }
  const ring = chance(random, 0.3);
  return {
    x,
    y,
    z,
    key: tone(strength, warmth),
    size,
    falloffX: falloff * cosine(towards),
    falloffY: falloff * sine(towards),
    zenith: tone(ambient * random.uniform(0.95, 1.25), ambientWarmth),
    horizon: tone(ambient * random.uniform(0.35, 0.8), ambientWarmth + random.uniform(-0.04, 0.04)),
    lamps,
    camera: ring ? random.uniform(0.5, 0.8) : random.uniform(0.1, 0.5),
    uneven: [random.uniform(0.1, 0.35), random.uniform(-5, 5), random.uniform(-5, 5), random.uniform(0, TAU), random.uniform(-9, 9), random.uniform(-9, 9), random.uniform(0, TAU)],
    view: random.uniform(0.06, 0.22),
  };
}

/** A part of a picture, in samples; the ends are not included. */
export interface Area {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/**
 * The surface of shadow that a height field casts along one direction: at a sample, the larger of its own height and that
 * of the sample before it on the light's side, less the slope of the light. One pass across the field, from the light's
 * side on.
 *
 * @param top receives the height of the shadow
 * @param away receives the distance to what casts it
 */
function castShadow({ height, side, unit }: Surface, x: number, y: number, slope: number, top: Float32Array, away: Float32Array): void {
  const alongX = Math.abs(x) >= Math.abs(y);
  const [major, minor] = alongX ? [x, y] : [y, x];
  const drift = minor / Math.abs(major);
  const stride = unit * Math.sqrt(1 + drift * drift);
  const fall = slope * stride;
  const whole = Math.floor(drift);
  const part = drift - whole;
  const [stepMajor, stepMinor] = alongX ? [1, side] : [side, 1];
  const step = major > 0 ? -1 : 1;
  const first = major > 0 ? side - 1 : 0;
  // Beyond the border on the light's side the surface goes on about as high as it is there on average.
  let rim = 0;
  for (let m = 0, i = first * stepMajor; m < side; m++, i += stepMinor) rim += height[i] / side;
  for (let m = 0, i = first * stepMajor; m < side; m++, i += stepMinor) {
    top[i] = Math.max(height[i], rim - 3 * fall);
    away[i] = top[i] > height[i] ? 3 * stride : 0;
  }
  const from = Math.max(0, -whole);
  const to = Math.min(side, side - 1 - whole);
  for (let k = 1, line = first + step; k < side; k++, line += step) {
    const at = line * stepMajor;
    let i = at;
    for (let m = 0; m < from; m++, i += stepMinor) {
      top[i] = Math.max(height[i], rim - 3 * fall);
      away[i] = top[i] > height[i] ? 3 * stride : 0;
    }
    let before = at - step * stepMajor + (from + whole) * stepMinor;
    for (let m = from; m < to; m++, i += stepMinor, before += stepMinor) {
      const low = top[before];
      const cast = low + (top[before + stepMinor] - low) * part - fall;
      if (cast > height[i]) {
        top[i] = cast;
        const near = away[before];
        away[i] = near + (away[before + stepMinor] - near) * part + stride;
      } else {
        top[i] = height[i];
        away[i] = 0;
      }
    }
    for (let m = to; m < side; m++, i += stepMinor) {
      top[i] = Math.max(height[i], rim - 3 * fall);
      away[i] = top[i] > height[i] ? 3 * stride : 0;
    }
  }
}

/**
 * Share of the key light that reaches each sample: shadows from across the light's width, averaged, each with a
 * half-shadow that widens with the distance to what casts it.
 */
function keyVisibility(surface: Surface, lighting: Lighting, { left, top: first, right, bottom }: Area): Float32Array {
  const { count, side, unit, height } = surface;
  const visible = layer(count).fill(1);
  const top = layer(count);
  const away = layer(count);
  const flat = Math.max(0.05, Math.sqrt(lighting.x * lighting.x + lighting.y * lighting.y));
  const azimuthX = lighting.x / flat;
  const azimuthY = lighting.y / flat;
  const slope = lighting.z / flat;
  const samples = 3;
  // How much the slope of the light's rays varies over its area.
  const spread = 2 * lighting.size * (1 + slope * slope);
  for (let k = 0; k < samples; k++) {
    const turn = lighting.size * 1.3 * ((k + 0.5) / samples - 0.5) * 2;
    const [c, s] = [cosine(turn), sine(turn)];
    castShadow(surface, azimuthX * c - azimuthY * s, azimuthX * s + azimuthY * c, Math.max(0.12, slope - spread * 0.4), top, away);
    const least = 1.5 * unit;
    for (let row = first; row < bottom; row++) {
      for (let i = row * side + left; i < row * side + right; i++) {
        const depth = top[i] - height[i];
        if (depth > 0) {
          const ramp = depth / (least + away[i] * spread * 0.8);
          visible[i] -= (ramp < 1 ? ramp * ramp * (3 - 2 * ramp) : 1) / samples;
        }
      }
    }
  }
  return visible;
}

/** Share of the surroundings that each sample sees: less in cavities, a little more on edges. Computed at half resolution. */
function openness(surface: Surface, { left, top, right, bottom }: Area): Float32Array {
  const { height, side, unit, count } = surface;
  const half = (side + 1) >> 1;
  const small = layer(half * half);
  for (let y = 0; y < half; y++) {
    const a = 2 * y * side;
    const b = Math.min(side - 1, 2 * y + 1) * side;
    for (let x = 0; x < half; x++) {
      const right = Math.min(side - 1, 2 * x + 1);
      small[y * half + x] = 0.25 * (height[a + 2 * x] + height[a + right] + height[b + 2 * x] + height[b + right]);
    }
  }
  const open = layer(count).fill(1);
  const mean = layer(half * half);
  for (const [radius, strength] of [
    [0.02, 0.5],
    [0.075, 0.55],
  ]) {
    boxBlur(small, half, Math.max(0.5, radius / unit / 2), mean);
    boxBlur(mean, half, Math.max(0.5, (radius * 0.6) / unit / 2), mean);
    const scale = strength / radius;
    for (let y = top; y < bottom; y++) {
      // Between the four nearest half-resolution samples: 9, 3, 3 and 1 sixteenths.
      const near = (y >> 1) * half;
      const far = clamp((y >> 1) + (y & 1 ? 1 : -1), 0, half - 1) * half;
      for (let x = left, i = y * side + left; x < right; x++, i++) {
        const nearX = x >> 1;
        const beside = nearX + (x & 1 ? 1 : -1);
        const farX = beside < 0 ? 0 : beside >= half ? half - 1 : beside;
        const around = 0.0625 * (9 * mean[near + nearX] + 3 * (mean[near + farX] + mean[far + nearX]) + mean[far + farX]);
        const below = (around - height[i]) * scale;
        open[i] *= below > 0 ? 1 / (1 + 1.6 * below) : Math.min(1.12, 1 - 0.25 * below);
      }
    }
  }
  return open;
}

/**
 * Light that leaves a surface towards the camera.
 *
 * @param area the part to compute; elsewhere `radiance` stays as it is
 * @param radiance red, green and blue, linear, one Float32Array per channel
 */
export function shade(surface: Surface, lighting: Lighting, radiance: readonly [Float32Array, Float32Array, Float32Array], area: Area): void {
  const { side, unit, height, red, green, blue, rough, metal, soft } = surface;
  const [outRed, outGreen, outBlue] = radiance;
  const visible = keyVisibility(surface, lighting, area);
  const open = openness(surface, area);
  const { x: lx, y: ly, z: lz, key, size, falloffX, falloffY, zenith, horizon, lamps, camera, view } = lighting;
  const [uneven, ax, ay, phaseA, bx, by, phaseB] = lighting.uneven;
  // Half vector for a view from straight above.
  const hl = 1 / Math.sqrt(lx * lx + ly * ly + (lz + 1) * (lz + 1));
  const [hx, hy, hz] = [lx * hl, ly * hl, (lz + 1) * hl];
  const lampCount = lamps.length;
  const slopeScale = 0.5 / unit;
  const skyRed = zenith[0] + horizon[0] * 0.5;
  const skyGreen = zenith[1] + horizon[1] * 0.5;
  const skyBlue = zenith[2] + horizon[2] * 0.5;
  for (let row = area.top; row < area.bottom; row++) {
    const above = (row > 0 ? row - 1 : row) * side;
    const below = (row < side - 1 ? row + 1 : row) * side;
    const py = (row + 0.5) * unit - 1;
    for (let column = area.left; column < area.right; column++) {
      const i = row * side + column;
      const px = (column + 0.5) * unit - 1;
      let sx = (height[row * side + (column > 0 ? column - 1 : column)] - height[row * side + (column < side - 1 ? column + 1 : column)]) * slopeScale;
      let sy = (height[above + column] - height[below + column]) * slopeScale;
      const steep = sx * sx + sy * sy;
      if (steep > 6.25) {
        const limit = 2.5 / Math.sqrt(steep);
        sx *= limit;
        sy *= limit;
      }
      const nz = 1 / Math.sqrt(1 + sx * sx + sy * sy);
      const nx = sx * nz;
      const ny = sy * nz;
      const r = red[i];
      const g = green[i];
      const b = blue[i];
      const m = metal[i];
      const spread = soft[i];
      const near = 1 + falloffX * px + falloffY * py;
      const seen = open[i];
      // Light that spreads inside reaches round edges and into shadows.
      const lit = (visible[i] + (1 - visible[i]) * spread * 0.35) * near;
      const wrap = spread * 0.5;
      const towards = nx * lx + ny * ly + nz * lz;
      const keyDiffuse = Math.max(0, (towards + wrap) / (1 + wrap)) * lit;
      const up = 0.5 + 0.5 * nz;
      const ambientRed = (horizon[0] + (zenith[0] - horizon[0]) * up) * seen;
      const ambientGreen = (horizon[1] + (zenith[1] - horizon[1]) * up) * seen;
      const ambientBlue = (horizon[2] + (zenith[2] - horizon[2]) * up) * seen;
      const roughness = rough[i];
      if (m < 0.02 && roughness > 0.8) {
        // Matt things mirror next to nothing.
        outRed[i] = r * (key[0] * keyDiffuse + ambientRed);
        outGreen[i] = g * (key[1] * keyDiffuse + ambientGreen);
        outBlue[i] = b * (key[2] * keyDiffuse + ambientBlue);
        continue;
      }
      // Highlight of the key light; its size widens the lobe.
      const alpha = roughness * roughness + size * 0.35;
      const alpha2 = alpha * alpha;
      const nh = Math.max(0, nx * hx + ny * hy + nz * hz);
      const d = nh * nh * (alpha2 - 1) + 1;
      const gloss = towards > 0 ? Math.min(12, (alpha2 * 0.25) / (d * d * (0.3 + 0.7 * alpha))) * Math.min(1, towards * 4) * towards * lit : 0;
      // The mirrored direction, for a view ray that is slanted towards the picture's edge.
      const vx = -px * view;
      const vy = -py * view;
      const nv = Math.max(0.05, nx * vx + ny * vy + nz);
      const rx = 2 * nv * nx - vx;
      const ry = 2 * nv * ny - vy;
      const rz = 2 * nv * nz - 1;
      const blur = roughness * 0.9;
      const clear = 1 - blur;
      const elevation = rz < -1 ? 0 : rz > 1 ? 1 : 0.5 + rz * 0.5;
      let sky = elevation * elevation * (1 - 0.3 * blur) + 0.15 * blur;
      if (rz > 0.75) sky *= 1 - camera * clear * smoothstep(0.8, 0.99, rz);
      if (clear > 0.4) sky *= 1 + uneven * clear * (sine(rx * ax + ry * ay + phaseA) + 0.6 * sine(rx * bx + ry * by + phaseB));
      let lampLight = 0;
      for (let k = 0; k < lampCount; k++) {
        const lamp = lamps[k];
        const widened = lamp.rim + blur * 0.35;
        const t = (rx * lamp.x + ry * lamp.y + rz * lamp.z - lamp.edge + widened) / (2 * widened);
        if (t > 0) lampLight += ((lamp.light * (t < 1 ? t * t * (3 - 2 * t) : 1)) * (lamp.rim + 0.03)) / (lamp.rim + 0.03 + blur * 0.18);
      }
      const mirrored = (1.25 * sky + 1.1 * lampLight) * (0.25 + 0.75 * (seen < 1 ? seen : 1));
      const f = nv < 1 ? 1 - nv : 0;
      const fresnel = f * f * f * f * f * (1 - roughness * 0.8);
      const plain = 1 - m;
      const dielectric = plain * (0.045 + 0.955 * fresnel);
      const polished = dielectric * (1 - roughness) * (1 - roughness * 0.35);
      const diffuse = plain - 0.5 * dielectric;
      const fr = m * (r + (1 - r) * fresnel);
      const fg = m * (g + (1 - g) * fresnel);
      const fb = m * (b + (1 - b) * fresnel);
      outRed[i] = r * diffuse * (key[0] * keyDiffuse + ambientRed) + (dielectric + fr) * key[0] * gloss + (polished + fr) * mirrored * skyRed;
      outGreen[i] = g * diffuse * (key[1] * keyDiffuse + ambientGreen) + (dielectric + fg) * key[1] * gloss + (polished + fg) * mirrored * skyGreen;
      outBlue[i] = b * diffuse * (key[2] * keyDiffuse + ambientBlue) + (dielectric + fb) * key[2] * gloss + (polished + fb) * mirrored * skyBlue;
    }
  }
}
