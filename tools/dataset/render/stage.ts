// What a category gets to build a scene on.
import type { RandomSource } from '../../../src/tensor/random.ts';
import { type Rgb, srgb, vary } from './colour.ts';
import { fractalField, Noise } from './noise.ts';
import { chance, PI, pick, TAU } from './numbers.ts';
import { type Pose, Surface } from './surface.ts';

/** A fault in how a thing is put together, which its category builds in. */
export interface Fault {
  readonly kind: 'missing_part' | 'misplaced_part';
  readonly random: RandomSource;
  /** 0 slight to 1 gross. */
  readonly severity: number;
}

/** How freely a thing is laid. */
export interface Placing {
  /** Range of its angle, radians; default any. */
  readonly angle?: readonly [number, number];
  readonly scale: readonly [number, number];
  /** Largest distance of its centre from the picture's, default 0.08. */
  readonly shift?: number;
}

/** A scene that is being built. */
export class Stage {
  readonly surface: Surface;
  /** For everything that is the same with and without a fault; draws must not depend on the fault. */
  readonly random: RandomSource;
  readonly noise: Noise;
  readonly fault: Fault | undefined;

  constructor(surface: Surface, random: RandomSource, fault: Fault | undefined) {
    this.surface = surface;
    this.random = random;
    this.noise = new Noise(random);
    this.fault = fault;
  }

  /** The fault if it is of this kind. */
  faultOf(kind: Fault['kind']): Fault | undefined {
    return this.fault?.kind === kind ? this.fault : undefined;
  }

  place({ angle = [0, TAU], scale, shift = 0.08 }: Placing): { readonly u: Float32Array; readonly v: Float32Array; readonly scale: number; readonly pose: Pose } {
    const { random } = this;
    const pose: Pose = {
      angle: random.uniform(angle[0], angle[1]),
      scale: random.uniform(scale[0], scale[1]),
      x: random.uniform(-shift, shift),
      y: random.uniform(-shift, shift),
      tiltX: random.uniform(-0.05, 0.05),
      tiltY: random.uniform(-0.05, 0.05),
    };
    return { ...this.surface.coordinates(pose), scale: pose.scale, pose };
  }

  /** Fractal noise over the whole picture. */
  field(wavelength: number, octaves: number, gain?: number): Float32Array {
    return fractalField(this.surface.side, this.random, wavelength, octaves, gain);
  }

  /**
   * Lays the ground that a thing rests on, and keeps it for holes and broken edges.
   *
   * @param tones kinds of ground that suit the thing
   */
  ground(tones: readonly Ground[] = ['white', 'grey', 'dark', 'steel', 'felt', 'belt']): void {
    const { surface, random } = this;
    layGround(this, pick(random, tones));
    surface.part.fill(0);
    const backdrop = new Surface(surface.side);
    backdrop.copyFrom(surface);
    surface.backdrop = backdrop;
  }
}

/** What things are laid on to be photographed. */
export type Ground = 'white' | 'grey' | 'dark' | 'steel' | 'felt' | 'belt';

function layGround(stage: Stage, kind: Ground): void {
  const { surface, random } = stage;
  const { count, side, unit } = surface;
  const cloud = stage.field(random.uniform(0.8, 2), 4, 0.55);
  const grain = stage.field(random.uniform(0.03, 0.06), 3, 0.8);
  let colour: Rgb;
  let rough = 0.85;
  let relief = 0.00025;
  let mottle = 0.02;
  let metal = 0;
  if (kind === 'white') [colour, rough] = [vary(random, srgb(222, 221, 217), 0.06, 0.02), random.uniform(0.5, 0.9)];
  else if (kind === 'grey') [colour, mottle] = [vary(random, pick(random, [srgb(150, 152, 153), srgb(120, 124, 130), srgb(168, 160, 148), srgb(110, 128, 120)]), 0.15, 0.04), 0.05];
  else if (kind === 'dark') [colour, rough, mottle] = [vary(random, srgb(38, 38, 41), 0.25, 0.06), random.uniform(0.45, 0.9), 0.12];
  else if (kind === 'steel') [colour, rough, metal, relief, mottle] = [vary(random, srgb(176, 178, 182), 0.05, 0.01), random.uniform(0.38, 0.5), 1, 0.0003, 0.04];
  else if (kind === 'felt') [colour, relief, mottle] = [vary(random, pick(random, [srgb(80, 90, 80), srgb(70, 76, 90), srgb(96, 92, 88), srgb(104, 72, 66)]), 0.15, 0.05), 0.002, 0.12];
  else [colour, relief, mottle] = [vary(random, pick(random, [srgb(52, 54, 56), srgb(40, 74, 66), srgb(60, 60, 54)]), 0.15, 0.04), 0.0008, 0.08];
  const angle = random.uniform(0, PI);
  const { u, v } = surface.coordinates({ angle, scale: 1, x: 0, y: 0, tiltX: 0, tiltY: 0 });
  const woven = kind === 'belt' && chance(random, 0.6);
  const pitch = random.uniform(18, 30);
  for (let i = 0; i < count; i++) {
    let h = relief * grain[i];
    let shade = 1 + mottle * cloud[i] * 0.6 + mottle * grain[i] * 0.6;
    if (kind === 'steel') {
      const streak = stage.noise.at(u[i] * 3, v[i] * 60) + 0.6 * stage.noise.at(u[i] * 5 + 40, v[i] * 140);
      h += 0.0003 * streak;
      shade = 1 + 0.05 * streak + mottle * cloud[i];
    } else if (woven) {
      const [a, b] = [u[i] * pitch, v[i] * pitch];
      h += 0.004 * (Math.abs(a - Math.floor(a) - 0.5) + Math.abs(b - Math.floor(b) - 0.5));
    }
    surface.height[i] = h;
    surface.paint(i, colour, Math.max(0.1, shade), rough, metal);
    surface.soft[i] = 0;
  }
  // A little dust.
  const specks = random.integer(0, 10);
  for (let k = 0; k < specks; k++) {
    const x = random.integer(1, side - 2);
    const y = random.integer(1, side - 2);
    const bright = random.uniform(0.2, 0.6);
    const reach = random.uniform(0.003, 0.009) / unit;
    for (let dy = -2; dy <= 2; dy++) {
      for (let dx = -2; dx <= 2; dx++) {
        const [px, py] = [x + dx, y + dy];
        if (px < 0 || py < 0 || px >= side || py >= side || dx * dx + dy * dy > reach * reach) continue;
        surface.tint(py * side + px, [bright, bright, bright * 0.95], 0.4);
      }
    }
  }
}
