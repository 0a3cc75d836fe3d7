// A hazelnut: a streaked brown shell and the pale rough cap where it sat in its husk.
import type { Category } from '../category.ts';
import { blend, srgb, vary } from '../render/colour.ts';
import { angleOf, clamp, length, smoothstep } from '../render/numbers.ts';

export const hazelnut: Category = {
  name: 'hazelnut',
  kind: 'object',
  defects: ['crack', 'hole', 'scratch', 'stain', 'broken_edge', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground(['dark', 'dark', 'grey', 'white', 'belt']);
    const { u, v, scale } = stage.place({ scale: [0.64, 0.8], shift: 0.1 });
    const shell = vary(random, srgb(160, 96, 50), 0.14, 0.04);
    const streak = vary(random, srgb(110, 60, 30), 0.1, 0.04);
    const cap = vary(random, srgb(190, 156, 110), 0.1, 0.03);
    const wide = random.uniform(0.84, 0.96);
    const tip = random.uniform(0.05, 0.16);
    const turned = random.uniform(0.25, 0.95);
    const lines = random.uniform(9, 15);
    const mottle = stage.field(0.3, 4, 0.65);
    const fine = stage.field(0.04, 3, 0.8);
    const rough = random.uniform(0.4, 0.6);
    const capEdge = -0.62 + 0.25 * turned;
    surface.core = { colour: srgb(226, 196, 150), rough: 0.9, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const y = v[i];
      // Narrower towards the tip at +y.
      const x = u[i] / (wide * (1 - tip * y * Math.abs(y)));
      const r = length(x, y * (1 + 0.03 * x)) + 0.006 * mottle[i];
      if (r >= 1) continue;
      const round = Math.sqrt(1 - r * r);
      // Streaks run from the cap to the tip, over the sphere.
      const meridian = angleOf(round + 0.15, x);
      const s = noise.fractal(meridian * lines, y * 1.6 + 8, 2, 0.6);
      const t = y + 0.05 * mottle[i] + 0.12 * x * x - 0.5 * (1 - turned) * (1 - round);
      const capped = smoothstep(capEdge + 0.03, capEdge - 0.03, t);
      const h = 0.2 + 0.75 * round + 0.008 * s * (1 - capped) + (capped ? 0.02 * capped * fine[i] - 0.02 * capped : 0.0012 * fine[i]);
      const colour = blend(shell, streak, clamp(0.4 + 0.55 * s + 0.12 * mottle[i], 0, 1));
      surface.height[i] = scale * h;
      surface.paint(i, capped > 0 ? blend(colour, cap, capped) : colour, clamp(1 + 0.08 * mottle[i] + 0.04 * fine[i] + 0.12 * capped * fine[i], 0.2, 1.4), rough + 0.35 * capped, 0);
      surface.soft[i] = 0.15;
      surface.part[i] = 1;
    }
  },
};
