// Defects that are areas: holes, stains, dents, discoloured places and broken edges.
import { type Rgb, luminance, srgb, vary } from '../render/colour.ts';
import { angleOf, chance, clamp, cosine, mix, normal, pick, sine, smoothstep, TAU } from '../render/numbers.ts';
import { around, findEdge, findSite, lengthBetween, meanLight, type Wound } from './site.ts';

/** An uneven outline around a point: radius by direction, 1 in the mean. */
function outline({ random, noise }: Wound, unevenness: number, lobes = 1.2): (angle: number) => number {
  const [ox, oy] = [random.uniform(0, 90), random.uniform(0, 90)];
  const squeeze = random.uniform(0.65, 1);
  const turn = random.uniform(0, TAU);
  return (angle) => {
    const [c, s] = [cosine(angle), sine(angle)];
    const stretched = mix(squeeze, 1 / squeeze, 0.5 + 0.5 * cosine(2 * (angle - turn)));
    return stretched * (1 + unevenness * noise.fractal(ox + c * lobes, oy + s * lobes, 3, 0.6));
  };
}

/** The surface is pierced: a torn or punched hole with a dark inside. */
export function hole(wound: Wound): void {
  const { surface, random, strength } = wound;
  const radius = Math.max(2.2 * surface.unit, lengthBetween(wound, 0.06, 0.24));
  const { x, y } = findSite(wound, radius * 1.6);
  const torn = random.uniform(0.08, 0.28);
  const shape = outline(wound, torn, 1.3);
  const depth = radius * mix(0.7, 1.4, strength);
  const dark = mix(0.4, 0.1, strength);
  const through = surface.backdrop && chance(random, 0.35) ? surface.backdrop : undefined;
  const rim = random.uniform(-0.2, 0.6);
  around(surface, x, y, radius * 2.4, (i, dx, dy) => {
    if (!surface.part[i]) return;
    const d = Math.sqrt(dx * dx + dy * dy) / (radius * shape(angleOf(dx, dy)));
    const lip = Math.max(0, 1 - Math.abs(d - 1.15) / 0.3);
    const inside = smoothstep(1.06, 0.9, d);
    if (through && d < 0.92) {
      const shadow = 0.55 + 0.3 * smoothstep(0.9, 0, d);
      surface.take(i, through);
      surface.shade(i, shadow);
      return;
    }
    surface.height[i] += radius * rim * 0.25 * lip - depth * inside;
    surface.expose(i, Math.max(0.75 * inside, lip * 0.55), 1);
    surface.shade(i, 1 - inside * (1 - dark * (0.4 + 0.6 * d)));
    surface.rough[i] = mix(surface.rough[i], 0.95, inside);
    surface.metal[i] *= 1 - 0.95 * inside;
    surface.soft[i] *= 1 - inside;
  });
}

/** Colour multipliers of liquids, and how shiny they leave the surface: lower is wetter. */
const liquids: readonly (readonly [tint: Rgb, rough: number, cover: number])[] = [
  [[0.28, 0.19, 0.1], 0.5, 0],
  [[0.16, 0.14, 0.12], 0.25, 0],
  [[0.45, 0.16, 0.06], 0.9, 0.35],
  [[0.07, 0.09, 0.22], 0.45, 0],
  [[0.4, 0.05, 0.05], 0.35, 0.1],
  [[0.82, 0.8, 0.74], 0.85, 0.85],
  [[0.5, 0.46, 0.3], 0.3, 0],
  [[0.14, 0.3, 0.14], 0.6, 0.2],
];

/** Something was spilt or has grown: a blot that soaks in, with a darker rim and drops beside it. */
export function stain(wound: Wound): void {
  const { surface, random, noise, strength, size } = wound;
  const radius = Math.max(3 * surface.unit, lengthBetween(wound, 0.1, 0.46));
  const site = findSite(wound, radius * 0.8);
  const [tint, rough, cover] = pickLiquid(wound);
  const opacity = mix(0.45, 0.97, strength);
  const ring = chance(random, 0.5) ? random.uniform(0.15, 0.5) : 0;
  const feather = random.uniform(0.06, 0.35);
  const grain = random.uniform(0.1, 0.5);
  const drops = [{ ...site, radius, shape: outline(wound, random.uniform(0.15, 0.5), 1.3) }];
  const splashes = chance(random, 0.4) ? random.integer(1, 4) : 0;
  for (let k = 0; k < splashes; k++) {
    const [angle, away] = [random.uniform(0, TAU), radius * random.uniform(1.15, 1.9)];
    drops.push({ x: site.x + away * cosine(angle), y: site.y + away * sine(angle), radius: Math.max(2 * surface.unit, radius * random.uniform(0.08, 0.25)), shape: outline(wound, 0.15) });
  }
  for (const drop of drops) {
    around(surface, drop.x, drop.y, drop.radius * 2, (i, dx, dy) => {
      if (!surface.part[i]) return;
      const d = Math.sqrt(dx * dx + dy * dy) / (drop.radius * drop.shape(angleOf(dx, dy)));
      if (d > 1.2) return;
      const body = smoothstep(1, 1 - feather, d);
      const rim = Math.max(0, 1 - Math.abs(d - (1 - feather * 0.7)) / 0.12) * ring;
      const patchy = 1 - grain * (0.5 + 0.5 * noise.fractal((drop.x + dx) * 16, (drop.y + dy) * 16, 2));
      const amount = clamp(opacity * body * patchy + rim * body, 0, 1);
      const [r, g, b] = [surface.red[i], surface.green[i], surface.blue[i]];
      // What soaks in filters the colour below; what covers brings its own.
      surface.tint(i, [mix(r * tint[0] * 1.6, tint[0], cover), mix(g * tint[1] * 1.6, tint[1], cover), mix(b * tint[2] * 1.6, tint[2], cover)], amount);
      surface.rough[i] = mix(surface.rough[i], rough, amount * 0.9);
      surface.metal[i] *= 1 - amount * (0.35 + 0.6 * cover);
      surface.height[i] += amount * cover * 0.006 * (1 + size);
    });
  }
}

/** Dark spills do not show on dark things, nor pale ones on pale things. */
function pickLiquid({ surface, random }: Wound): (typeof liquids)[number] {
  const mean = meanLight(surface);
  return pick(random, liquids.filter(([tint, , cover]) => {
    const left = mix(mean * luminance(tint[0], tint[1], tint[2]) * 1.6, luminance(tint[0], tint[1], tint[2]), cover);
    return Math.abs(Math.sqrt(left) - Math.sqrt(mean)) > 0.12;
  }));
}

/** Pressed in or bulged out: only the shape changes. */
export function dent(wound: Wound): void {
  const { surface, random, noise, strength } = wound;
  const radius = Math.max(4 * surface.unit, lengthBetween(wound, 0.12, 0.4));
  const { x, y } = findSite(wound, radius * 0.8);
  const shape = outline(wound, 0.2, 0.8);
  const depth = radius * mix(0.3, 0.65, strength) * (chance(random, 0.8) ? 1 : -0.8);
  const sharp = random.uniform(1, 2.2);
  const crease = random.uniform(0, 0.5);
  const turn = random.uniform(0, TAU);
  around(surface, x, y, radius * 1.8, (i, dx, dy) => {
    if (!surface.part[i]) return;
    const d = Math.sqrt(dx * dx + dy * dy) / (radius * shape(angleOf(dx, dy)));
    if (d >= 1.35) return;
    const bowl = d < 1 ? (1 - d * d) * (1 - d * d) : 0;
    const rim = Math.max(0, 1 - Math.abs(d - 1.05) / 0.3) * 0.1;
    const fold = Math.max(0, 1 - Math.abs(dx * cosine(turn) + dy * sine(turn)) / (radius * 0.3)) * crease * bowl;
    const press = bowl > 0 ? (sharp > 1.6 ? Math.sqrt(bowl) * bowl : bowl) : 0;
    surface.height[i] += depth * (rim - press - fold * 0.6 + 0.05 * bowl * noise.at((x + dx) * 9, (y + dy) * 9));
    surface.rough[i] = mix(surface.rough[i], Math.min(0.8, surface.rough[i] + 0.15), bowl * 0.6);
  });
}

/** Thirds of what a discoloured place does to each channel. */
const shifts: readonly Rgb[] = [
  [0.5, 0.28, 0.15],
  [0.17, 0.28, 0.5],
  [0.18, 0.4, 0.23],
  [0.45, 0.2, 0.3],
  [0.13, 0.12, 0.11],
  [0.43, 0.38, 0.17],
];
/** The same for bleached places. */
const paler: readonly Rgb[] = [
  [0.8, 0.73, 0.67],
  [0.63, 0.67, 0.77],
];
/** Rust, verdigris, bloom and the like. */
const deposits: readonly Rgb[] = [srgb(150, 90, 50), srgb(110, 150, 130), srgb(170, 168, 160), srgb(90, 110, 160), srgb(160, 140, 70)];

/** A place of another colour with the same surface: burnt, bleached, of another lot, or tempered. */
export function colourChange(wound: Wound): void {
  const { surface, random, noise, strength } = wound;
  const radius = Math.max(3 * surface.unit, lengthBetween(wound, 0.18, 0.55));
  const { x, y } = findSite(wound, radius * 0.7);
  const shape = outline(wound, random.uniform(0.1, 0.35), 1);
  const feather = random.uniform(0.15, 0.7);
  const amount = mix(0.45, 0.95, strength);
  const light = meanLight(surface);
  // Factors per channel that change the hue; what is dark can only become lighter, towards a colour of its own.
  const target = light < 0.1 ? vary(random, pick(random, deposits), 0.15) : undefined;
  const shift = target ?? vary(random, pick(random, light < 0.4 ? [...shifts, ...paler] : shifts), 0.06);
  around(surface, x, y, radius * 2, (i, dx, dy) => {
    if (!surface.part[i]) return;
    const d = Math.sqrt(dx * dx + dy * dy) / (radius * shape(angleOf(dx, dy)));
    if (d > 1.1) return;
    const t = clamp(amount * smoothstep(1.05, 1.05 - feather, d + 0.08 * noise.at((x + dx) * 11, (y + dy) * 11)), 0, 1);
    if (target) {
      surface.tint(i, target, t);
      surface.metal[i] *= 1 - 0.6 * t;
      return;
    }
    // Factors are kept as thirds, to be colours.
    surface.red[i] = Math.min(0.95, surface.red[i] * mix(1, shift[0] * 3, t));
    surface.green[i] = Math.min(0.95, surface.green[i] * mix(1, shift[1] * 3, t));
    surface.blue[i] = Math.min(0.95, surface.blue[i] * mix(1, shift[2] * 3, t));
  });
}

/** A piece has broken off at the outline: fracture faces, and the ground where the piece was. */
export function brokenEdge(wound: Wound): void {
  const { surface, random, noise, strength } = wound;
  const edge = findEdge(wound);
  if (!edge) return;
  const radius = Math.max(4 * surface.unit, lengthBetween(wound, 0.18, 0.5));
  const bite = mix(0.55, 0.95, random.uniform());
  // The bite's centre lies outside the outline, so that it takes a flat piece off.
  const out = radius * random.uniform(-0.1, 0.45);
  const [cx, cy] = [edge.x + edge.outX * out, edge.y + edge.outY * out];
  const shape = outline(wound, 0.3, 1.8);
  const facetAngle = random.uniform(0, TAU);
  const backdrop = surface.backdrop;
  const gone = mix(0.35, 0.8, bite);
  const base = backdrop ? 0 : -0.5 * radius;
  around(surface, cx, cy, radius * 2.2, (i, dx, dy) => {
    if (!surface.part[i]) return;
    const d = Math.sqrt(dx * dx + dy * dy) / (radius * shape(angleOf(dx, dy)));
    if (d > 1) return;
    if (backdrop && d < gone) {
      surface.take(i, backdrop);
      return;
    }
    // From the ground up to the old surface, in shell-like steps.
    const rise = (d - gone) / (1 - gone);
    const facets = noise.cells((cx + dx) * 14 + 5, (cy + dy) * 14).first;
    const ripple = 0.08 * sine((dx * cosine(facetAngle) + dy * sine(facetAngle)) * (40 / radius) * 0.2);
    const level = clamp(0.15 + 0.85 * rise + 0.25 * (facets - 0.45) + ripple, 0.03, 1);
    surface.height[i] = Math.min(surface.height[i], base + (surface.height[i] - base) * level);
    surface.expose(i, 0.95 * smoothstep(1, 0.93, d), 0.85 + 0.2 * (facets - 0.4) + 0.1 * normal(random, 0, 0.5) * strength);
    surface.soft[i] *= 0.6;
  });
}
