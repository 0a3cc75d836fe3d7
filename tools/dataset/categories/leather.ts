// Leather: a grain of small pads between creases, coarser folds, a slight sheen.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { clamp, pick, smoothstep } from '../render/numbers.ts';

const hides: readonly Rgb[] = [srgb(112, 70, 44), srgb(66, 42, 30), srgb(40, 38, 38), srgb(150, 104, 66), srgb(120, 46, 38), srgb(176, 150, 116), srgb(66, 74, 82), srgb(98, 84, 60)];

export const leather: Category = {
  name: 'leather',
  kind: 'texture',
  defects: ['scratch', 'crack', 'hole', 'stain', 'dent', 'foreign_fibre', 'colour_change'],
  light: { elevation: [22, 55] },
  build(stage) {
    const { surface, random, noise } = stage;
    const { u, v, scale } = stage.place({ scale: [0.85, 1.3] });
    const hide = vary(random, pick(random, hides), 0.14);
    const pads = random.uniform(13, 24);
    const bend = random.uniform(0.15, 0.4);
    const depth = random.uniform(0.12, 0.26);
    const bendX = stage.field(0.16, 2);
    const bendY = stage.field(0.16, 2);
    const folds = stage.field(0.9, 3, 0.5);
    const pores = stage.field(0.03, 2, 0.9);
    const tone = stage.field(1, 4, 0.55);
    const rough = random.uniform(0.34, 0.52);
    const uneven = random.uniform(0.02, 0.08);
    const stretch = random.uniform(0.75, 1.35);
    surface.core = { colour: vary(random, [hide[0] * 0.6 + 0.22, hide[1] * 0.6 + 0.16, hide[2] * 0.6 + 0.1], 0.08), rough: 0.9, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const cell = noise.cells(u[i] * pads * stretch + bend * bendX[i], (v[i] * pads) / stretch + bend * bendY[i], 0.95);
      const gap = cell.second - cell.first;
      const pad = smoothstep(-0.05, 0.42, gap);
      const high = pad * (0.75 + 0.25 * cell.id) - 0.25 * cell.first * cell.first;
      surface.height[i] = scale * ((depth / pads) * high + 0.014 * folds[i] + 0.0009 * pores[i]);
      surface.paint(i, hide, clamp(0.82 + 0.18 * pad + uneven * tone[i] + 0.03 * pores[i] + 0.05 * (cell.id - 0.5), 0.1, 1.4), rough + 0.2 * (1 - pad), 0);
      surface.soft[i] = 0.1;
      surface.part[i] = 1;
    }
  },
};
