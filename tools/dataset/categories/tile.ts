// A wall of small glazed tiles in mortar.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { hash2 } from '../render/noise.ts';
import { chance, clamp, cosine, pick, sine, smoothstep } from '../render/numbers.ts';

const glazes: readonly Rgb[] = [srgb(226, 224, 216), srgb(96, 132, 150), srgb(150, 176, 160), srgb(52, 74, 96), srgb(176, 120, 86), srgb(120, 124, 128), srgb(206, 190, 160), srgb(60, 96, 84)];

export const tile: Category = {
  name: 'tile',
  kind: 'texture',
  defects: ['scratch', 'crack', 'hole', 'stain', 'missing_part', 'misplaced_part', 'broken_edge', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random } = stage;
    const { u, v, scale } = stage.place({ scale: [0.85, 1.15] });
    const glaze = vary(random, pick(random, glazes), 0.08);
    const mortar = vary(random, pick(random, [srgb(196, 192, 184), srgb(120, 118, 114), srgb(84, 82, 80)]), 0.08, 0.02);
    const pitch = random.uniform(1.5, 3.4);
    const aspect = pick(random, [1, 1, 2]);
    const bond = aspect === 2 || chance(random, 0.3) ? 0.5 : 0;
    const joint = random.uniform(0.035, 0.07);
    const edge = random.uniform(0.08, 0.2);
    const lots = random.uniform(0.02, 0.16);
    const gloss = random.uniform(0.1, 0.4);
    const lean = random.uniform(0.005, 0.03);
    const wave = stage.field(0.35, 3);
    const sand = stage.field(0.03, 2, 0.9);
    const cloud = stage.field(0.25, 4, 0.6);
    const speckled = chance(random, 0.4) ? random.uniform(0.05, 0.2) : 0.02;
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    const fault = missing ?? moved;
    const faultX = fault ? Math.floor(fault.random.uniform(-0.6, 0.6) * pitch) : 1e9;
    const faultY = fault ? Math.floor(fault.random.uniform(-0.6, 0.6) * pitch * aspect) : 1e9;
    const turn = moved ? moved.random.uniform(0.04, 0.1) * (1 + moved.severity) * (chance(moved.random, 0.5) ? 1 : -1) : 0;
    const [turnC, turnS] = [cosine(turn), sine(turn)];
    surface.core = { colour: vary(random, srgb(176, 140, 112), 0.1), rough: 0.9, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const b = v[i] * pitch * aspect;
      const row = Math.floor(b);
      const a = u[i] * pitch + (row & 1) * bond;
      const column = Math.floor(a);
      let x = (a - column - 0.5) / pitch;
      let y = (b - row - 0.5) / (pitch * aspect);
      const here = column === faultX && row === faultY;
      if (moved && here) [x, y] = [x * turnC + y * turnS + turn * 0.1, y * turnC - x * turnS];
      // Distance to the border of the tile, corners rounded.
      const half = 0.5 / pitch - joint / 2;
      const halfY = 0.5 / (pitch * aspect) - joint / 2;
      const corner = 0.025;
      const qx = Math.max(0, Math.abs(x) - half + corner);
      const qy = Math.max(0, Math.abs(y) - halfY + corner);
      const inside = corner - Math.sqrt(qx * qx + qy * qy) - 0.004 * Math.max(-1, wave[i]);
      if (inside <= 0 || (missing && here)) {
        surface.height[i] = scale * (-0.03 + 0.0035 * sand[i] + (missing && here && inside > 0 ? -0.02 + 0.004 * wave[i] : 0));
        surface.paint(i, mortar, clamp(0.9 + 0.08 * sand[i] + 0.05 * cloud[i] - (missing && here && inside > 0 ? 0.2 : 0), 0.1, 1.3), 0.95, 0);
        surface.soft[i] = 0;
        surface.part[i] = missing && here && inside > 0 ? 1 : 0;
        continue;
      }
      const depth = Math.min(inside, Math.min(half - Math.abs(x), halfY - Math.abs(y)) + 0.004);
      const pillow = smoothstep(0, edge * half * 1.6, depth);
      const tiltX = lean * (hash2(column, row, 1) - 0.5);
      const tiltY = lean * (hash2(column, row, 2) - 0.5);
      const raised = moved && here ? 0.015 * moved.severity : 0;
      const lot = 1 + lots * (hash2(column, row, 3) - 0.5) * 2;
      surface.height[i] = scale * (0.03 * pillow - 0.02 + tiltX * x + tiltY * y + raised + 0.0015 * wave[i]);
      surface.paint(i, glaze, clamp(lot * (1 + speckled * Math.min(0, cloud[i]) + 0.04 * wave[i] - 0.18 * (1 - pillow) * 0.6), 0.05, 1.4), gloss, 0);
      surface.soft[i] = 0.12;
      surface.part[i] = 1;
    }
  },
};
