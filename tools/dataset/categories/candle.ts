// A tea light from above: wax in a thin aluminium cup, with a wick.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { angleOf, clamp, cosine, length, pick, sine, smoothstep, TAU } from '../render/numbers.ts';

const waxes: readonly Rgb[] = [srgb(238, 234, 224), srgb(238, 234, 224), srgb(226, 206, 150), srgb(190, 70, 60), srgb(150, 170, 130), srgb(190, 160, 186)];

export const candle: Category = {
  name: 'candle',
  kind: 'object',
  defects: ['missing_part', 'misplaced_part', 'crack', 'hole', 'scratch', 'stain', 'dent', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random } = stage;
    stage.ground();
    const { u, v, scale } = stage.place({ scale: [0.72, 0.88], shift: 0.08 });
    const wax = vary(random, pick(random, waxes), 0.06, 0.02);
    const metal = vary(random, srgb(206, 207, 208), 0.04, 0.01);
    const cup = random.uniform(0.93, 0.95);
    const level = random.uniform(0.2, 0.27);
    const hollow = random.uniform(0.01, 0.06);
    const ribs = random.integer(30, 44);
    const wickX = random.uniform(-0.04, 0.04);
    const wickY = random.uniform(-0.04, 0.04);
    const wickLength = random.uniform(0.16, 0.3);
    const wickAngle = random.uniform(0, TAU);
    const bloom = stage.field(0.35, 4, 0.6);
    const fine = stage.field(0.05, 3, 0.7);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // The wick is missing, or away from the middle.
    const away = moved ? 0.15 + 0.35 * moved.severity : 0;
    const awayAngle = moved ? moved.random.uniform(0, TAU) : 0;
    const baseX = wickX + away * cosine(awayAngle);
    const baseY = wickY + away * sine(awayAngle);
    surface.core = { colour: [wax[0] * 0.95, wax[1] * 0.95, wax[2] * 0.92], rough: 0.85, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const [x, y] = [u[i], v[i]];
      const r = length(x, y);
      if (r > 1) continue;
      if (r > cup) {
        // A rolled rim with fine ribs.
        const t = (r - cup) / (1 - cup);
        const rib = sine(ribs * 2 * angleOf(x, y));
        surface.height[i] = scale * (0.3 + 0.03 * Math.sqrt(clamp(1 - (2 * t - 1) * (2 * t - 1), 0, 1)) + 0.004 * rib * t);
        surface.paint(i, metal, 1, 0.25, 1);
        surface.soft[i] = 0;
      } else {
        const wall = smoothstep(cup, cup - 0.05, r);
        const dip = smoothstep(0.5, 0, length(x - wickX, y - wickY));
        surface.height[i] = scale * (level + 0.03 * (1 - wall) - hollow * dip + 0.0015 * bloom[i] + 0.0007 * fine[i]);
        surface.paint(i, wax, clamp(1 + 0.025 * bloom[i] + 0.01 * fine[i], 0.3, 1.1), 0.42, 0);
        surface.soft[i] = 0.9;
      }
      surface.part[i] = 1;
      if (missing) continue;
      // The wick leans to one side; a small metal foot shows at its base.
      const along = clamp(((x - baseX) * cosine(wickAngle) + (y - baseY) * sine(wickAngle)) / wickLength, 0, 1);
      const off = length(x - baseX - along * wickLength * cosine(wickAngle), y - baseY - along * wickLength * sine(wickAngle));
      if (off < 0.05) {
        const q = off / 0.05;
        surface.height[i] = scale * (level + 0.06 + 0.25 * along + 0.05 * Math.sqrt(1 - q * q));
        surface.paint(i, along > 0.55 ? srgb(70, 62, 54) : srgb(222, 214, 196), 0.9 + 0.2 * sine(along * 50 + q * 2), 0.95, 0);
        surface.soft[i] = 0.3;
      }
    }
  },
};
