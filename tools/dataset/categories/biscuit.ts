// A baked biscuit: browned towards the edge, pricked, with a crumbly surface and a scalloped or plain outline.
import type { Category } from '../category.ts';
import { blend, srgb, vary } from '../render/colour.ts';
import { angleOf, chance, clamp, cosine, length, pick, smoothstep } from '../render/numbers.ts';

export const biscuit: Category = {
  name: 'biscuit',
  kind: 'object',
  defects: ['crack', 'hole', 'stain', 'missing_part', 'broken_edge', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random } = stage;
    stage.ground(['white', 'grey', 'dark', 'steel', 'belt']);
    const { u, v, scale } = stage.place({ scale: [0.72, 0.86], shift: 0.08 });
    const pale = vary(random, pick(random, [srgb(222, 184, 122), srgb(214, 168, 104), srgb(130, 88, 58)]), 0.08, 0.03);
    const brown = vary(random, srgb(150, 92, 46), 0.1, 0.03);
    const square = chance(random, 0.45);
    const aspect = square ? random.uniform(0.75, 1) : 1;
    const scallops = chance(random, 0.6) ? random.integer(20, 34) : 0;
    const scallop = random.uniform(0.015, 0.03);
    const pricks = random.uniform(2.1, 3.2);
    const prick = random.uniform(0.07, 0.11);
    const baked = random.uniform(0.35, 0.8);
    const crumb = stage.field(0.06, 4, 0.75);
    const puff = stage.field(0.6, 3);
    const toast = stage.field(0.45, 4, 0.6);
    const missing = stage.faultOf('missing_part');
    const biteAngle = missing ? missing.random.uniform(-3.1, 3.1) : 0;
    const biteSize = missing ? 0.3 + 0.35 * missing.severity : 0;
    surface.core = { colour: blend(pale, [0.72, 0.56, 0.34], 0.5), rough: 0.95, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const x = u[i];
      const y = v[i] / aspect;
      const wave = scallops ? scallop * cosine(scallops * angleOf(x, y)) : 0.008 * puff[i];
      const corner = 0.22;
      const qx = Math.max(0, Math.abs(x) - 0.9 + corner);
      const qy = Math.max(0, Math.abs(y) - 0.9 + corner);
      const inside = (square ? corner - length(qx, qy) : 0.95 - length(x, y)) + wave;
      if (inside < 0) continue;
      const bx = x - 0.95 * cosine(biteAngle);
      const by = y - 0.95 * cosine(biteAngle - 1.5707963);
      let bitten = 1;
      if (missing) {
        bitten = length(bx, by) - biteSize * (1 + 0.08 * toast[i] + 0.03 * crumb[i]);
        if (bitten < 0) continue;
      }
      const rim = smoothstep(0, 0.14, inside);
      let h = 0.14 * Math.sqrt(rim) + 0.05 * rim + 0.02 * puff[i];
      // Docking holes in rows.
      const [a, b] = [x * pricks + 0.5, y * pricks + 0.5];
      const d = length(a - Math.floor(a) - 0.5, b - Math.floor(b) - 0.5) / pricks;
      const pricked = inside > 0.16 ? smoothstep(prick, prick * 0.35, d) : 0;
      h -= 0.06 * pricked;
      const face = smoothstep(0.06, 0, bitten);
      h *= 1 - 0.5 * face;
      const dark = clamp(baked * (1 - rim) + 0.16 * toast[i] + 0.1 * puff[i] + 0.12 * baked, 0, 1);
      surface.height[i] = scale * (h + 0.005 * crumb[i] * (1 + 1.5 * face));
      surface.paint(i, blend(pale, brown, dark), clamp(1 + 0.07 * crumb[i] - 0.3 * pricked, 0.1, 1.3), 0.9, 0);
      if (face) surface.expose(i, face * 0.8, 1 + 0.1 * crumb[i]);
      surface.soft[i] = 0.3;
      surface.part[i] = 1;
    }
  },
};
