// Bare concrete: cement paste with sand, small pores and clouds of damp.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { chance, clamp, pick, smoothstep } from '../render/numbers.ts';

export const concrete: Category = {
  name: 'concrete',
  kind: 'texture',
  defects: ['scratch', 'crack', 'hole', 'stain', 'colour_change', 'foreign_fibre'],
  light: { elevation: [20, 55] },
  build(stage) {
    const { surface, random, noise } = stage;
    const { u, v, scale } = stage.place({ scale: [0.85, 1.25] });
    const paste = vary(random, pick(random, [srgb(160, 158, 152), srgb(132, 132, 130), srgb(176, 168, 154), srgb(112, 114, 116)]), 0.1, 0.02);
    const clouds = stage.field(1.1, 5, 0.6);
    const sand = stage.field(0.045, 3, 0.9);
    const relief = stage.field(0.3, 4, 0.55);
    const pores = random.uniform(6, 11);
    const share = random.uniform(0.08, 0.3);
    const uneven = random.uniform(0.05, 0.13);
    const boards = chance(random, 0.25) ? random.uniform(0.8, 1.6) : 0;
    surface.core = { colour: [paste[0] * 0.9, paste[1] * 0.88, paste[2] * 0.84], rough: 0.95, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const cell = noise.cells(u[i] * pores, v[i] * pores, 1);
      const radius = cell.id < share ? 0.05 + 0.13 * (cell.id / share) : 0;
      const pore = radius > 0 ? smoothstep(radius, radius * 0.55, cell.first) : 0;
      const y = v[i] * boards + 0.4;
      const seam = boards ? smoothstep(0.025, 0, Math.abs(y - Math.floor(y) - 0.5)) : 0;
      surface.height[i] = scale * (0.0028 * relief[i] + 0.0015 * sand[i] - (0.45 / pores) * radius * 4 * pore * 0.35 + 0.006 * seam);
      surface.paint(i, paste, clamp(1 + uneven * clouds[i] + 0.09 * sand[i] + 0.03 * relief[i] - 0.35 * pore, 0.1, 1.5), 0.92, 0);
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
