// A pressed tablet, round or oblong, with a score line and embossed letters.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { chance, clamp, length, pick, smoothstep } from '../render/numbers.ts';
import { textPrint } from '../render/print.ts';

const tints: readonly Rgb[] = [srgb(236, 234, 228), srgb(236, 234, 228), srgb(226, 190, 176), srgb(220, 208, 150), srgb(160, 190, 206), srgb(186, 206, 170), srgb(196, 134, 96), srgb(206, 170, 190)];

export const tablet: Category = {
  name: 'tablet',
  kind: 'object',
  defects: ['scratch', 'crack', 'hole', 'stain', 'missing_part', 'misplaced_part', 'foreign_fibre', 'broken_edge', 'colour_change'],
  build(stage) {
    const { surface, random } = stage;
    stage.ground(['grey', 'dark', 'steel', 'belt', 'white', 'felt']);
    const { u, v, scale } = stage.place({ scale: [0.66, 0.82], shift: 0.1 });
    const tint = vary(random, pick(random, tints), 0.06, 0.02);
    const long = chance(random, 0.4) ? random.uniform(0.35, 0.55) : 0;
    const radius = long ? random.uniform(0.46, 0.56) : random.uniform(0.8, 0.95);
    const thick = random.uniform(0.26, 0.36);
    const bevel = random.uniform(0.1, 0.22);
    const dome = random.uniform(0.02, 0.12);
    const coated = chance(random, 0.35);
    const speckle = coated ? 0.01 : random.uniform(0.02, 0.08);
    const powder = stage.field(0.04, 3, 0.85);
    const mottle = stage.field(0.25, 4, 0.7);
    const scored = chance(random, 0.75);
    const text = [textPrint(`${pick(random, ['A', 'B', 'G', 'L', 'M', 'R', 'T', 'W'])}${random.integer(1, 9)}`, 1.7), textPrint(`${random.integer(10, 99)}`, 1.7)];
    const letter = radius * random.uniform(0.38, 0.5);
    const deep = random.uniform(0.035, 0.06);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // What is missing is the stamp or, in gross cases, a piece of the tablet; what is misplaced is the stamp.
    const gone = missing !== undefined && missing.severity > 0.5;
    const slant = missing ? missing.random.uniform(-0.5, 0.5) : 0;
    const cutAt = missing ? missing.random.uniform(0.1, 0.6) * (radius + long) : 9;
    const blank = missing !== undefined && !gone;
    const shiftX = moved ? (chance(moved.random, 0.5) ? 1 : -1) * radius * (0.12 + 0.25 * moved.severity) : 0;
    const shiftY = moved ? moved.random.uniform(-0.25, 0.25) * radius : 0;
    surface.core = { colour: coated ? srgb(238, 236, 230) : [tint[0] * 1.02, tint[1], tint[2] * 0.97], rough: 0.95, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const x = u[i];
      const y = v[i];
      const r = length(Math.max(0, Math.abs(x) - long), y);
      if (r > radius) continue;
      if (gone && x + slant * y > cutAt + 0.02 * mottle[i]) continue;
      const inside = radius - r;
      const t = inside / bevel;
      const rim = inside < bevel ? 1 - (1 - t) * (1 - t) : 1;
      let h = thick * (0.55 + 0.45 * rim) + dome * (1 - (r / radius) * (r / radius));
      let shade = 1 + speckle * mottle[i] + 0.5 * speckle * powder[i];
      // Half cylinders pressed in: the score and the strokes of the letters.
      const line = scored && Math.abs(x - shiftX) < 0.05 && inside > bevel * 0.4 ? 1 - Math.abs(x - shiftX) / 0.05 : 0;
      let stamp = line;
      if (!blank) {
        const side = x < shiftX ? 0 : 1;
        const print = text[side];
        const centre = (side ? 1 : -1) * (long ? (long + radius) * 0.5 : radius * 0.47) + shiftX;
        stamp = Math.max(stamp, print.at((x - centre) / letter + print.width / 2, (y - shiftY) / letter + 0.5));
      } else stamp = 0;
      h -= deep * stamp;
      shade *= 1 - 0.28 * stamp;
      let face = 0;
      if (gone) {
        face = smoothstep(cutAt - 0.09, cutAt, x + slant * y + 0.03 * mottle[i]);
        h *= 1 - 0.75 * face;
      }
      surface.height[i] = scale * (h + (coated ? 0.0006 : 0.0016) * powder[i] + face * 0.012 * powder[i]);
      surface.paint(i, tint, clamp(shade, 0.2, 1.1), coated ? 0.35 : 0.92, 0);
      if (face) surface.expose(i, face * 0.8, 0.95);
      surface.soft[i] = 0.5;
      surface.part[i] = 1;
    }
  },
};
