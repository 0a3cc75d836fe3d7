// A clothes button: a dished plastic or horn disc with a rim and sewing holes.
import type { Category } from '../category.ts';
import { blend, type Rgb, srgb, vary } from '../render/colour.ts';
import { chance, clamp, cosine, length, pick, sine, smoothstep, TAU } from '../render/numbers.ts';

const plastics: readonly (readonly [Rgb, Rgb])[] = [
  [srgb(60, 40, 30), srgb(120, 84, 52)],
  [srgb(226, 222, 212), srgb(206, 198, 184)],
  [srgb(36, 36, 40), srgb(60, 60, 66)],
  [srgb(54, 74, 112), srgb(74, 100, 140)],
  [srgb(150, 50, 46), srgb(176, 74, 64)],
  [srgb(186, 164, 122), srgb(140, 110, 74)],
];

export const button: Category = {
  name: 'button',
  kind: 'object',
  defects: ['missing_part', 'misplaced_part', 'scratch', 'crack', 'hole', 'stain', 'broken_edge', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground();
    const { u, v, scale } = stage.place({ scale: [0.64, 0.82], shift: 0.1 });
    const [first, second] = pick(random, plastics).map((plastic) => vary(random, plastic, 0.1, 0.03));
    const holes = chance(random, 0.7) ? 4 : 2;
    const spread = random.uniform(0.2, 0.27);
    const holeSize = random.uniform(0.085, 0.12);
    const rim = random.uniform(0.14, 0.26);
    const dish = random.uniform(0.06, 0.14);
    const gloss = random.uniform(0.15, 0.42);
    const bands = random.uniform(1.5, 4);
    const marble = stage.field(0.6, 4, 0.55);
    const fine = stage.field(0.05, 2);
    const ridges = chance(random, 0.3) ? random.integer(40, 70) : 0;
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    const fault = missing ?? moved;
    const faultHole = fault ? fault.random.integer(0, holes - 1) : -1;
    const [shiftX, shiftY] = moved ? [moved.random.uniform(0.08, 0.14) * (1 + moved.severity) * (chance(moved.random, 0.5) ? 1 : -1), moved.random.uniform(-0.1, 0.1)] : [0, 0];
    const places = Array.from({ length: holes }, (_, k) => ({ x: spread * cosine((k * TAU) / holes), y: spread * sine((k * TAU) / holes) }));
    if (moved) places[faultHole] = { x: places[faultHole].x + shiftX, y: places[faultHole].y + shiftY };
    if (missing) places.splice(faultHole, 1);
    surface.core = { colour: blend(first, [0.7, 0.68, 0.64], 0.35), rough: 0.85, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const [x, y] = [u[i], v[i]];
      const r = length(x, y);
      if (r > 1) continue;
      let edge = 1;
      for (const place of places) edge = Math.min(edge, length(x - place.x, y - place.y) - holeSize);
      if (edge < 0) {
        surface.shade(i, 0.55);
        continue;
      }
      // A rounded rim, a dished middle, smoothed hole edges.
      const t = (1 - r) / rim;
      const ring = t < 1 ? Math.sqrt(clamp(1 - (2 * t - 1) * (2 * t - 1), 0, 1)) * 0.1 : 0;
      let h = 0.16 + ring - (t > 0.8 ? dish * smoothstep(0.8, 1.5, t) : 0) + 0.03 * smoothstep(1, 0, r);
      h -= 0.05 * smoothstep(0.05, 0, edge);
      if (r > 0.95) h -= 0.1 * smoothstep(0.95, 1, r);
      if (ridges && t < 1) h += 0.004 * sine((ridges * noise.at(0.5, 0.5) + ridges) * x) * ring * 10;
      const swirl = sine(bands * (x + 0.6 * y) * 2 + 2.2 * marble[i]);
      surface.height[i] = scale * (h + 0.0004 * fine[i]);
      surface.paint(i, blend(first, second, 0.5 + 0.5 * swirl), 1 + 0.03 * marble[i], gloss, 0);
      surface.soft[i] = 0.4;
      surface.part[i] = 1;
    }
  },
};
