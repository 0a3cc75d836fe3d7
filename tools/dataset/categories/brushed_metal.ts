// A brushed sheet: countless fine grooves in one direction that draw highlights out across them.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { clamp, pick } from '../render/numbers.ts';

export const brushedMetal: Category = {
  name: 'brushed_metal',
  kind: 'texture',
  defects: ['scratch', 'crack', 'hole', 'stain', 'dent', 'colour_change', 'foreign_fibre'],
  light: { elevation: [30, 70] },
  build(stage) {
    const { surface, random, noise } = stage;
    const { u, v, scale } = stage.place({ scale: [0.9, 1.2] });
    const metal = vary(random, pick(random, [srgb(196, 197, 199), srgb(178, 180, 184), srgb(206, 176, 118), srgb(196, 140, 112), srgb(130, 132, 138)]), 0.05, 0.012);
    const long = random.uniform(0.6, 2.2);
    const fine = random.uniform(70, 130);
    const depth = random.uniform(0.5, 1.3);
    const rough = random.uniform(0.3, 0.46);
    const bow = stage.field(1.5, 2);
    const haze = stage.field(0.5, 4, 0.6);
    const grain = stage.field(0.03, 2, 1);
    surface.core = { colour: srgb(60, 58, 56), rough: 0.7, metal: 0.6 };
    for (let i = 0; i < surface.count; i++) {
      const [x, y] = [u[i], v[i]];
      const streak = 0.7 * noise.at(x * long, y * fine) + 0.6 * noise.at(x * long * 2.3 + 9, y * fine * 0.43) + 0.5 * noise.at(x * long * 0.7 + 30, y * fine * 0.17);
      surface.height[i] = scale * (depth * 0.0011 * streak + 0.012 * bow[i] + 0.0002 * grain[i]);
      surface.paint(i, metal, clamp(1 + 0.07 * streak + 0.025 * haze[i] + 0.03 * grain[i], 0.2, 1.25), clamp(rough + 0.05 * streak + 0.03 * haze[i], 0.18, 0.7), 1);
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
