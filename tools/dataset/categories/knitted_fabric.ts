// Knitted cloth: columns of V-shaped stitches.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { hash2 } from '../render/noise.ts';
import { clamp, cosine, PI, pick, sine, TAU } from '../render/numbers.ts';

const wools: readonly Rgb[] = [srgb(188, 178, 160), srgb(132, 54, 54), srgb(64, 84, 112), srgb(96, 112, 88), srgb(120, 116, 118), srgb(196, 160, 100), srgb(60, 58, 62), srgb(170, 130, 140)];

export const knittedFabric: Category = {
  name: 'knitted_fabric',
  kind: 'texture',
  defects: ['hole', 'stain', 'foreign_fibre', 'missing_part', 'misplaced_part', 'colour_change'],
  light: { elevation: [25, 60] },
  build(stage) {
    const { surface, random } = stage;
    const { u, v, scale } = stage.place({ scale: [0.85, 1.2] });
    const wool = vary(random, pick(random, wools), 0.12);
    const second = vary(random, pick(random, wools), 0.12);
    const stripes = random.uniform() < 0.35 ? random.integer(2, 5) : 0;
    const columns = random.uniform(5.5, 9.5);
    const rows = columns * random.uniform(1.05, 1.4);
    const slant = random.uniform(0.75, 1.1);
    const fuzz = stage.field(0.045, 3, 0.85);
    const drape = stage.field(1.2, 2);
    const wave = stage.field(0.5, 2);
    const loose = random.uniform(0.03, 0.09);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    const fault = missing ?? moved;
    const faultColumn = fault ? Math.round(fault.random.uniform(-0.5, 0.5) * columns) : 1e9;
    const faultStart = fault ? fault.random.uniform(-0.7, 0.3) : 0;
    const faultLength = fault ? 0.2 + 0.7 * fault.severity : 0;
    surface.core = { colour: wool, rough: 0.95, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const a = u[i] * columns + loose * wave[i];
      let b = v[i] * rows + loose * 1.4 * wave[i];
      const column = Math.floor(a);
      const fa = a - column - 0.5;
      const within = fault !== undefined && column === faultColumn && v[i] > faultStart && v[i] < faultStart + faultLength;
      // A pulled stitch: the column's loops are drawn along it.
      const pulled = moved && within ? sine((PI * (v[i] - faultStart)) / faultLength) : 0;
      b += 0.5 * pulled;
      const s = b + 2 * slant * Math.abs(fa);
      const row = Math.floor(s);
      const across = (s - row - 0.5) * 2;
      // A leg of the V is thickest halfway between the column's middle and its border.
      const leg = (Math.abs(fa) - 0.25) * 4;
      const thick = 0.98 - 0.12 * hash2(column, row, 3);
      const round = Math.max(0, 1 - (across / thick) * (across / thick));
      let h = 1.4 * pulled + Math.sqrt(round) * (0.55 + 0.45 * Math.max(0, 1 - leg * leg)) + 0.25 * (1 - Math.abs(fa) * 2);
      let shade = 0.62 + 0.38 * Math.sqrt(round);
      // Its neighbours are dragged down with it and lie in its shadow.
      shade *= 1 - 0.5 * pulled * Math.abs(fa) * 2;
      if (missing && within) {
        // A ladder: bare rungs across.
        const rung = cosine((b - Math.floor(b) - 0.5) * TAU);
        h = rung > 0.3 ? 0.35 * rung : -0.6;
        shade = rung > 0.3 ? 0.8 : 0.22;
      }
      const ply = sine((across * 0.9 + (fa > 0 ? 1 : -1) * leg * 1.2) * PI * 1.5);
      const colour = stripes && (((row % (2 * stripes)) + 2 * stripes) % (2 * stripes)) < stripes ? second : wool;
      surface.height[i] = scale * ((0.32 / columns) * (h + 0.05 * ply + 0.09 * fuzz[i]) + 0.015 * drape[i]);
      surface.paint(i, colour, clamp(shade * (1 + 0.1 * fuzz[i] + 0.05 * ply + 0.08 * (hash2(column, row, 9) - 0.5)), 0.05, 1.5), 0.95, 0);
      surface.soft[i] = 0.35;
      surface.part[i] = 1;
    }
  },
};
