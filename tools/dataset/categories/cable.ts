// A cut through a three-core cable: sheath, insulation in three colours, bundles of copper strands.
import type { Category } from '../category.ts';
import { dim, type Rgb, srgb, vary } from '../render/colour.ts';
import { hash2 } from '../render/noise.ts';
import { chance, clamp, cosine, length, pick, scaled, sine, smoothstep, TAU } from '../render/numbers.ts';

const cores: readonly (readonly [Rgb, Rgb, Rgb])[] = [
  [srgb(60, 100, 168), srgb(120, 76, 46), srgb(118, 150, 60)],
  [srgb(36, 36, 38), srgb(168, 44, 40), srgb(222, 220, 214)],
  [srgb(120, 120, 124), srgb(40, 40, 42), srgb(120, 76, 46)],
  [srgb(200, 170, 50), srgb(60, 100, 168), srgb(168, 44, 40)],
];

export const cable: Category = {
  name: 'cable',
  kind: 'object',
  defects: ['missing_part', 'misplaced_part', 'crack', 'hole', 'stain', 'scratch', 'foreign_fibre', 'broken_edge', 'colour_change'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground(['white', 'grey', 'dark', 'belt']);
    const { u, v, scale } = stage.place({ scale: [0.76, 0.9], shift: 0.05 });
    const sheath = vary(random, pick(random, [srgb(40, 40, 42), srgb(222, 220, 214), srgb(130, 132, 134), srgb(206, 110, 40)]), 0.1);
    const colours = pick(random, cores).map((core) => vary(random, core, 0.1)) as [Rgb, Rgb, Rgb];
    const copper = vary(random, srgb(204, 138, 98), 0.06, 0.02);
    const inner = random.uniform(0.84, 0.9);
    const insulation = random.uniform(0.4, 0.43);
    const wire = insulation * random.uniform(0.62, 0.74);
    const strands = random.uniform(5.5, 9) / (2 * wire);
    const filler = vary(random, pick(random, [srgb(206, 204, 196), srgb(60, 60, 62)]), 0.1);
    const saw = stage.field(0.08, 3, 0.7);
    const grain = stage.field(0.03, 2, 0.9);
    const bend = stage.field(0.7, 2);
    const cut = random.uniform(0, TAU);
    const cutDepth = scaled(random, 0.0006, 0.003);
    const middle = 0.47;
    const places = [0, 1, 2].map((k) => ({ x: middle * cosine((k * TAU) / 3 + 0.3) + random.uniform(-0.01, 0.01), y: middle * sine((k * TAU) / 3 + 0.3) + random.uniform(-0.01, 0.01), colour: colours[k], high: random.uniform(-0.015, 0.03), bare: false }));
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // A core without copper, or none at all; a core in the wrong place, or of the wrong colour.
    const k = missing ? missing.random.integer(0, 2) : moved ? moved.random.integer(0, 2) : 0;
    const absent = missing && missing.severity > 0.7 ? k : -1;
    if (missing && absent < 0) places[k].bare = true;
    if (moved) {
      const angle = moved.random.uniform(0, TAU);
      if (chance(moved.random, 0.35)) places[k].colour = places[(k + 1) % 3].colour;
      else {
        places[k].x += 0.1 * (0.7 + moved.severity) * cosine(angle);
        places[k].y += 0.1 * (0.7 + moved.severity) * sine(angle);
        places[k].high += 0.1;
      }
    }
    surface.core = { colour: dim(copper, 0.9), rough: 0.4, metal: 0.9 };
    for (let i = 0; i < surface.count; i++) {
      const x = u[i] + 0.008 * bend[i];
      const y = v[i] - 0.008 * bend[i];
      const r = length(x, y);
      if (r > 1) continue;
      const mark = noise.at((x * cosine(cut) + y * sine(cut)) * 3, (y * cosine(cut) - x * sine(cut)) * 38);
      let h = 0.25 - smoothstep(0.965, 1, r) * 0.08 + cutDepth * (mark + 0.5 * saw[i]);
      let colour = sheath;
      let shade = 1 + 0.04 * saw[i] + 0.05 * mark * 0.5;
      let rough = 0.6;
      let metal = 0;
      if (r < inner) {
        const rim = smoothstep(inner, inner - 0.03, r);
        h -= 0.05 * rim - 0.004 * grain[i];
        colour = filler;
        shade = 1 - 0.3 * rim + 0.12 * grain[i] + 0.06 * saw[i];
        rough = 0.95;
      }
      for (let core = 0; core < 3; core++) {
        if (core === absent) continue;
        const place = places[core];
        const d = length(x - place.x, y - place.y);
        if (d > insulation) continue;
        h = 0.24 + place.high - smoothstep(insulation - 0.025, insulation, d) * 0.07 + cutDepth * (mark + 0.5 * saw[i]);
        colour = place.colour;
        shade = 1 + 0.04 * saw[i] + 0.04 * mark;
        rough = 0.5;
        if (d > wire) break;
        if (place.bare) {
          h -= 0.22;
          shade = 0.25;
          break;
        }
        // Strands packed in a triangle; each was cut at its own angle.
        const b = (y - place.y) * strands * 1.1547;
        const row = Math.floor(b + 0.5);
        const a = (x - place.x) * strands + (row & 1) * 0.5;
        const column = Math.floor(a + 0.5);
        const [sx, sy] = [a - column, (b - row) / 1.1547];
        const near = length(sx, sy) / 0.5;
        const id = hash2(column + core * 57, row, 5);
        const [tiltX, tiltY] = [(id - 0.5) * 0.5, (hash2(column, row + core * 31, 8) - 0.5) * 0.5];
        h += near < 1 ? -0.02 + (0.03 * Math.sqrt(1 - near * near * 0.9) + 0.5 * (tiltX * sx + tiltY * sy) / strands) + 0.02 * (id - 0.5) : -0.05;
        colour = copper;
        shade = near < 1 ? 0.8 + 0.3 * id + 0.06 * mark : 0.2;
        rough = 0.36 + 0.1 * id;
        metal = near < 1 ? 1 : 0.5;
        break;
      }
      surface.height[i] = scale * h;
      surface.paint(i, colour, clamp(shade, 0.05, 1.4), rough, metal);
      surface.soft[i] = metal ? 0 : 0.15;
      surface.part[i] = 1;
    }
  },
};
