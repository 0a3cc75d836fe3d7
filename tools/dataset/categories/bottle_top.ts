// A glass bottle seen from above: a bright rim of glass round the dark mouth, the shoulder falling away outside.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { clamp, cosine, length, pick, smoothstep } from '../render/numbers.ts';

const glasses: readonly Rgb[] = [srgb(110, 60, 24), srgb(50, 84, 48), srgb(78, 44, 22), srgb(96, 120, 112), srgb(44, 60, 76)];

export const bottleTop: Category = {
  name: 'bottle_top',
  kind: 'object',
  defects: ['crack', 'broken_edge', 'scratch', 'stain', 'foreign_fibre', 'hole'],
  build(stage) {
    const { surface, random } = stage;
    stage.ground(['white', 'white', 'grey', 'dark']);
    const { u, v, scale } = stage.place({ scale: [0.8, 0.93], shift: 0.04 });
    const glass = vary(random, pick(random, glasses), 0.15, 0.05);
    const mouth = random.uniform(0.5, 0.6);
    const lip = mouth + random.uniform(0.1, 0.15);
    const bead = lip + random.uniform(0.05, 0.1);
    const ripple = stage.field(0.5, 3);
    const smear = stage.field(0.25, 3);
    const floorX = random.uniform(-0.12, 0.12);
    const floorY = random.uniform(-0.12, 0.12);
    const floor = random.uniform(0.22, 0.32);
    const glow = random.uniform(0.3, 1.1);
    const steep = random.uniform(0.35, 0.6);
    surface.core = { colour: [glass[0] * 0.6 + 0.2, glass[1] * 0.6 + 0.22, glass[2] * 0.6 + 0.22], rough: 0.12, metal: 0.1 };
    for (let i = 0; i < surface.count; i++) {
      const [x, y] = [u[i], v[i]];
      const r = length(x, y) + 0.003 * ripple[i];
      if (r > 1) continue;
      let h: number;
      let light = 0.16;
      let rough = 0.08;
      let metal = 0.03;
      if (r < mouth) {
        // Down the neck it gets dark; light through the glass makes the bottom glow.
        const depth = (mouth - r) / mouth;
        const bottom = length(x - floorX, y - floorY);
        h = 0.82 - 0.5 * smoothstep(0, 0.3, depth);
        light = 0.1 + 0.35 * smoothstep(0.16, 0, depth) + glow * smoothstep(floor + 0.03, floor - 0.12, bottom) * (0.75 + 0.2 * smear[i]) + 0.12 * glow * smoothstep(0.05, 0, Math.abs(bottom - floor - 0.02));
        rough = 0.85;
        metal = 0;
      } else if (r < lip) {
        // The rim is a ring of thick glass with a fire-polished top.
        const t = (r - mouth) / (lip - mouth);
        h = 0.8 + 0.16 * Math.sqrt(clamp(1 - (2 * t - 1) * (2 * t - 1), 0, 1));
        light = 0.35 + 0.25 * (1 - Math.abs(2 * t - 1));
        metal = 0.06;
      } else if (r < bead) {
        const t = (r - lip) / (bead - lip);
        h = 0.66 + 0.06 * Math.sqrt(clamp(1 - (2 * t - 1) * (2 * t - 1), 0, 1));
        light = 0.22;
      } else {
        const t = (r - bead) / (1 - bead);
        h = 0.62 - steep * t * t - 0.12 * smoothstep(0.9, 1, t) + 0.012 * cosine(t * 9);
        light = 0.14 + 0.1 * t;
      }
      surface.height[i] = scale * (0.6 * h + 0.001 * ripple[i]);
      surface.paint(i, glass, clamp(light * (1 + 0.08 * smear[i]), 0.02, 1.6), rough, metal);
      surface.soft[i] = 0.3;
      surface.part[i] = 1;
    }
  },
};
