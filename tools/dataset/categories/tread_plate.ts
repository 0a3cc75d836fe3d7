// Tread plate: rolled metal with raised lens-shaped lugs in alternating directions.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { chance, clamp, pick, scaled, smoothstep } from '../render/numbers.ts';

export const treadPlate: Category = {
  name: 'tread_plate',
  kind: 'texture',
  defects: ['missing_part', 'misplaced_part', 'scratch', 'dent', 'stain', 'crack', 'colour_change'],
  light: { elevation: [28, 65] },
  build(stage) {
    const { surface, random } = stage;
    const { u, v, scale } = stage.place({ scale: [0.85, 1.2] });
    const metal = vary(random, pick(random, [srgb(186, 187, 190), srgb(160, 162, 166), srgb(120, 116, 112)]), 0.06, 0.012);
    const pitch = random.uniform(2, 3.3);
    const long = random.uniform(0.44, 0.5);
    const wide = random.uniform(0.15, 0.22);
    const high = random.uniform(0.04, 0.065);
    const rough = random.uniform(0.34, 0.5);
    const mill = stage.field(0.05, 3, 0.8);
    const haze = stage.field(0.7, 4, 0.6);
    const grit = scaled(random, 0.00015, 0.0009);
    const polish = random.uniform(0.04, 0.16);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    const fault = missing ?? moved;
    const faultX = fault ? Math.floor(fault.random.uniform(-0.6, 0.6) * pitch) : 1e9;
    const faultY = fault ? Math.floor(fault.random.uniform(-0.6, 0.6) * pitch) : 1e9;
    const turned = moved ? chance(moved.random, 0.5) : false;
    const [shiftX, shiftY] = moved ? [moved.random.uniform(0.1, 0.22), moved.random.uniform(-0.2, -0.1)] : [0, 0];
    surface.core = { colour: srgb(116, 66, 44), rough: 0.8, metal: 0.15 };
    for (let i = 0; i < surface.count; i++) {
      const a = u[i] * pitch;
      const b = v[i] * pitch;
      const column = Math.floor(a);
      const row = Math.floor(b);
      const here = column === faultX && row === faultY;
      const x = a - column - 0.5 - (here && !turned ? shiftX : 0);
      const y = b - row - 0.5 - (here && !turned ? shiftY : 0);
      const upright = (((column + row) & 1) === 0) !== (here && turned);
      const along = (upright ? y : x) / long;
      const across = (upright ? x : y) / wide;
      // Two arcs that meet in points.
      const lens = 1 - along * along - Math.abs(across);
      const lug = missing && here ? 0 : lens > 0 ? Math.sqrt(lens) * smoothstep(0, 0.12, lens) : 0;
      surface.height[i] = scale * (high * lug + grit * mill[i] + 0.004 * haze[i]);
      surface.paint(i, metal, clamp(0.86 + 0.22 * lug + 0.06 * haze[i] + 0.06 * mill[i], 0.2, 1.2), clamp(rough - polish * lug + 0.04 * haze[i], 0.18, 0.7), 1);
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
