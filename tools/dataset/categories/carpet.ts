// Carpet: rows of tufts of heathered yarn.
import type { Category } from '../category.ts';
import { blend, type Rgb, srgb, vary } from '../render/colour.ts';
import { chance, clamp, pick } from '../render/numbers.ts';

const yarns: readonly (readonly [Rgb, Rgb])[] = [
  [srgb(104, 102, 100), srgb(150, 146, 140)],
  [srgb(62, 74, 98), srgb(96, 108, 128)],
  [srgb(136, 104, 76), srgb(176, 150, 118)],
  [srgb(96, 44, 46), srgb(132, 72, 66)],
  [srgb(60, 62, 60), srgb(92, 100, 88)],
  [srgb(172, 162, 146), srgb(196, 188, 174)],
];

export const carpet: Category = {
  name: 'carpet',
  kind: 'texture',
  defects: ['hole', 'stain', 'foreign_fibre', 'colour_change', 'missing_part', 'scratch'],
  light: { elevation: [25, 60] },
  build(stage) {
    const { surface, random, noise } = stage;
    const { u, v, scale } = stage.place({ scale: [0.85, 1.2] });
    const [first, second] = pick(random, yarns).map((yarn) => vary(random, yarn, 0.12));
    const tufts = random.uniform(11, 19);
    const jitter = random.uniform(0.45, 0.9);
    const heather = random.uniform(0.2, 1);
    const rows = chance(random, 0.4) ? random.uniform(1.2, 1.7) : 1;
    const fibres = stage.field(0.03, 3, 0.95);
    const pile = stage.field(0.7, 3);
    const missing = stage.faultOf('missing_part');
    const missingX = missing ? missing.random.uniform(-0.6, 0.6) : 9;
    const missingY = missing ? missing.random.uniform(-0.6, 0.6) : 9;
    const missingSize = missing ? (0.9 + 2.2 * missing.severity) / tufts : 0;
    const backing = vary(random, srgb(120, 108, 88), 0.1);
    surface.core = { colour: backing, rough: 0.95, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const x = u[i] * tufts * rows;
      const y = v[i] * tufts;
      const cell = noise.cells(x + 0.14 * fibres[i], y - 0.14 * fibres[i], jitter);
      const [id, near] = [cell.id, cell.first];
      const round = Math.max(0, 1 - near * near * 1.5);
      let h = Math.sqrt(round) * (0.8 + 0.3 * id) + 0.16 * fibres[i];
      let shade = 0.42 + 0.6 * Math.sqrt(round) + 0.16 * fibres[i] + 0.05 * pile[i];
      let colour = blend(first, second, clamp(heather * (id > 0.55 ? 1 : 0) + 0.25 * fibres[i] + 0.2, 0, 1));
      if (missing) {
        // Whole tufts are gone: the tuft's own centre counts.
        const [cx, cy] = [(x - cell.dx) / (tufts * rows) - missingX, (y - cell.dy) / tufts - missingY];
        if (cx * cx + cy * cy < missingSize * missingSize) [h, shade, colour] = [-0.5 + 0.1 * fibres[i], 0.42 + 0.12 * fibres[i], backing];
      }
      surface.height[i] = scale * ((0.62 / tufts) * h + 0.015 * pile[i]);
      surface.paint(i, colour, clamp(shade, 0.06, 1.5), 0.95, 0);
      surface.soft[i] = 0.3;
      surface.part[i] = 1;
    }
  },
};
