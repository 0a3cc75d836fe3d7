// A hexagon nut from above: chamfered corners, a turned face and a thread in the hole.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { angleOf, chance, clamp, length, PI, pick, scaled, smoothstep } from '../render/numbers.ts';

export const metalNut: Category = {
  name: 'metal_nut',
  kind: 'object',
  defects: ['scratch', 'dent', 'stain', 'colour_change', 'broken_edge', 'foreign_fibre', 'crack'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground();
    const { u, v, scale } = stage.place({ scale: [0.62, 0.82], shift: 0.12 });
    const metal = vary(random, pick(random, [srgb(188, 188, 190), srgb(196, 194, 186), srgb(205, 170, 105), srgb(150, 150, 155), srgb(200, 196, 170)]), 0.05, 0.01);
    const apothem = 0.82;
    const top = random.uniform(0.3, 0.42);
    const hole = random.uniform(0.42, 0.52);
    const flange = chance(random, 0.35) ? random.uniform(0.98, 1.06) : 0;
    const chamfer = random.uniform(0.83, 0.9);
    const slope = random.uniform(0.4, 0.6);
    const marks = random.uniform(0.0015, 0.005);
    const finish = random.uniform(0.22, 0.42);
    const threads = random.uniform(6, 9);
    const grime = stage.field(0.5, 4, 0.6);
    const pitting = stage.field(0.05, 2, 0.7);
    const grit = scaled(random, 0.0002, 0.0012);
    const dirt = random.uniform(0.02, 0.09);
    surface.core = { colour: [metal[0] * 0.95, metal[1] * 0.95, metal[2] * 0.95], rough: 0.3, metal: 1 };
    for (let i = 0; i < surface.count; i++) {
      const x = u[i];
      const y = v[i];
      const r = length(x, y);
      if (r > 1.12 || r < hole * 0.72) continue;
      // Distance beyond the hexagon's sides, its corners rounded a little.
      const a = Math.abs(x);
      const b = Math.abs(0.5 * x + 0.8660254 * y);
      const c = Math.abs(0.5 * x - 0.8660254 * y);
      const outside = Math.max(a, b, c, r * 0.885) - apothem;
      const onFlange = outside > 0;
      if (onFlange && r > flange) continue;
      const angle = angleOf(x, y);
      let h: number;
      let tool = 0;
      let rough = finish;
      let shade = 1;
      if (r < hole) {
        // Thread flanks, seen as rings that get narrower with depth.
        const depth = (hole - r) / (hole * 0.28);
        const turn = depth * threads * 0.5 + angle / (2 * PI);
        h = top * (1 - depth) - 0.06 + 0.035 * (Math.abs(turn - Math.floor(turn) - 0.5) * 4 - 1);
        shade = 0.75 - 0.5 * depth;
        rough = 0.35;
      } else if (onFlange) {
        h = 0.1 * (1 - smoothstep(flange - 0.08, flange, r) * 0.8) + 0.03 * (1 - (r - apothem) / 0.2);
      } else {
        const corner = Math.max(0, r - chamfer) * slope;
        const rim = smoothstep(hole + 0.07, hole, r) * 0.06;
        const side = smoothstep(-0.035, 0, outside) * 0.05;
        h = top - corner - rim - side;
        tool = noise.at(r * 90, angle * 0.7) + 0.7 * noise.at(r * 210 + 9, angle * 1.3);
      }
      surface.height[i] = scale * (h + marks * tool * 0.6 + grit * pitting[i]);
      surface.paint(i, metal, Math.max(0.1, shade * (1 - dirt * Math.max(0, grime[i]) + 0.03 * tool)), clamp(rough + 0.05 * grime[i] + 0.03 * tool, 0.12, 0.7), 1);
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
