// A sheet of metal with rows of punched holes.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { chance, clamp, length, pick, smoothstep } from '../render/numbers.ts';

export const perforatedPlate: Category = {
  name: 'perforated_plate',
  kind: 'texture',
  defects: ['missing_part', 'misplaced_part', 'scratch', 'dent', 'stain', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground(['dark']);
    const { u, v, scale } = stage.place({ scale: [0.85, 1.2] });
    const painted = chance(random, 0.4);
    const metal = vary(random, srgb(188, 189, 191), 0.06, 0.01);
    const paint = vary(random, pick(random, [srgb(226, 226, 222), srgb(50, 52, 54), srgb(70, 98, 126), srgb(150, 152, 150)]), 0.08);
    const pitch = random.uniform(2.8, 5);
    const hex = chance(random, 0.5);
    const radius = random.uniform(0.24, 0.36);
    const square = chance(random, 0.25);
    const thick = random.uniform(0.14, 0.35);
    const rough = painted ? random.uniform(0.3, 0.6) : random.uniform(0.28, 0.42);
    const haze = stage.field(0.5, 4, 0.6);
    const peel = stage.field(0.05, 2);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    const fault = missing ?? moved;
    const rowScale = hex ? 1.1547 : 1;
    const faultY = fault ? Math.round(fault.random.uniform(-0.6, 0.6) * pitch * rowScale) : 1e9;
    const faultX = fault ? Math.round(fault.random.uniform(-0.6, 0.6) * pitch) : 1e9;
    const [shiftX, shiftY] = moved ? [(0.12 + 0.2 * moved.severity) * (chance(moved.random, 0.5) ? 1 : -1), moved.random.uniform(-0.2, 0.2)] : [0, 0];
    surface.core = { colour: painted ? srgb(150, 150, 152) : srgb(210, 210, 212), rough: 0.35, metal: 1 };
    for (let i = 0; i < surface.count; i++) {
      const b = v[i] * pitch * rowScale;
      const row = Math.floor(b + 0.5);
      const a = u[i] * pitch + (hex ? (row & 1) * 0.5 : 0);
      const column = Math.floor(a + 0.5);
      const here = column === faultX && row === faultY;
      const x = a - column - (here ? shiftX : 0);
      const y = (b - row) / rowScale - (here ? shiftY : 0);
      const r = square ? Math.max(Math.abs(x), Math.abs(y), length(x, y) * 0.8) : length(x, y);
      if (r < radius && !(missing && here)) {
        surface.height[i] -= scale * thick;
        continue;
      }
      const lip = missing && here ? 0 : smoothstep(radius + 0.07, radius, r);
      const brush = painted ? 0 : noise.at(u[i] * 1.5, v[i] * 80);
      surface.height[i] = scale * (0.04 - 0.022 * lip + 0.0008 * brush + 0.001 * haze[i] + (painted ? 0.0012 * peel[i] : 0));
      if (painted) surface.paint(i, paint, clamp(1 + 0.03 * haze[i], 0.2, 1.3), rough, 0);
      else surface.paint(i, metal, clamp(1 + 0.05 * brush + 0.04 * haze[i], 0.2, 1.2), clamp(rough + 0.04 * haze[i], 0.15, 0.7), 1);
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
