// A grid of crimped wires over an open ground.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { chance, clamp, cosine, PI, pick, sine } from '../render/numbers.ts';

export const wireGrid: Category = {
  name: 'wire_grid',
  kind: 'texture',
  defects: ['missing_part', 'misplaced_part', 'foreign_fibre', 'stain', 'colour_change', 'crack'],
  light: { elevation: [35, 70] },
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground(['white', 'grey', 'dark', 'dark', 'belt']);
    const { u, v, scale } = stage.place({ scale: [0.85, 1.2] });
    const metal = vary(random, pick(random, [srgb(190, 190, 192), srgb(150, 152, 156), srgb(200, 170, 110), srgb(70, 72, 74), srgb(190, 190, 192)]), 0.08, 0.015);
    const painted = chance(random, 0.2);
    const paint = vary(random, pick(random, [srgb(40, 80, 60), srgb(232, 232, 228), srgb(30, 30, 32)]), 0.1);
    const pitch = random.uniform(2.6, 5.2);
    const thick = random.uniform(0.13, 0.22);
    const crimp = random.uniform(0.7, 1);
    const drop = random.uniform(0.02, 0.25);
    const rough = random.uniform(0.25, 0.5);
    const wear = stage.field(0.4, 4, 0.6);
    const sway = random.uniform(0.01, 0.05);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    const fault = missing ?? moved;
    const faultWire = fault ? Math.round(fault.random.uniform(-0.55, 0.55) * pitch) : 1e9;
    const faultStart = fault ? fault.random.uniform(-0.7, 0.1) : 0;
    const faultLength = fault ? (0.7 + 1.6 * fault.severity) / pitch : 0;
    const push = moved ? (chance(moved.random, 0.5) ? 1 : -1) * (0.2 + 0.35 * moved.severity) : 0;
    surface.core = { colour: srgb(110, 70, 50), rough: 0.8, metal: 0.2 };
    surface.part.fill(0);
    for (let i = 0; i < surface.count; i++) {
      const along = v[i];
      let a = u[i] * pitch + sway * noise.at(Math.floor(u[i] * pitch + 0.5) * 9.1, along * 1.5);
      const b = v[i] * pitch + sway * noise.at(u[i] * 1.5, Math.floor(v[i] * pitch + 0.5) * 7.7 + 40);
      const inFault = fault !== undefined && along > faultStart && along < faultStart + faultLength;
      let column = Math.floor(a + 0.5);
      if (moved && inFault && Math.abs(a - faultWire - push * 0.5) < 0.75) {
        const t = sine((PI * (along - faultStart)) / faultLength);
        a -= push * t * t;
        column = faultWire;
      }
      const row = Math.floor(b + 0.5);
      const fa = (a - column) / thick;
      const fb = (b - row) / thick;
      // Wires pass over and under each other in turn.
      const parity = ((column + row) & 1) === 0 ? 1 : -1;
      const rise = crimp * thick * parity;
      const warp = fa * fa < 1 && !(missing && column === faultWire && inFault) ? thick * Math.sqrt(1 - fa * fa) + rise * cosine(PI * (b - row)) : -9;
      const weft = fb * fb < 1 ? thick * Math.sqrt(1 - fb * fb) - rise * cosine(PI * (a - column)) : -9;
      const top = Math.max(warp, weft);
      if (top < -8) {
        surface.height[i] -= scale * drop;
        continue;
      }
      surface.height[i] = scale * (top / pitch + 0.0008 * wear[i]);
      const shade = 1 - 0.07 * Math.max(0, wear[i]);
      if (painted) surface.paint(i, paint, shade, 0.35, 0);
      else surface.paint(i, metal, shade, clamp(rough + 0.06 * wear[i], 0.15, 0.75), 1);
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
