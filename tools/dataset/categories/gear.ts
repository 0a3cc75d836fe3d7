// A spur gear from above: teeth, web with lightening holes, hub with a keyed bore.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { angleOf, chance, clamp, cosine, length, pick, scaled, sine, smoothstep, TAU } from '../render/numbers.ts';

export const gear: Category = {
  name: 'gear',
  kind: 'object',
  defects: ['missing_part', 'misplaced_part', 'scratch', 'crack', 'dent', 'stain', 'broken_edge', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground();
    const { u, v, scale } = stage.place({ scale: [0.78, 0.92], shift: 0.06 });
    const plastic = chance(random, 0.3);
    const colour = plastic ? vary(random, pick(random, [srgb(228, 224, 212), srgb(46, 46, 48), srgb(186, 60, 44), srgb(70, 110, 160)]), 0.1) : vary(random, pick(random, [srgb(184, 184, 188), srgb(204, 168, 100), srgb(120, 120, 126)]), 0.06, 0.012);
    const teeth = random.integer(13, 26);
    const tooth = 2.1 / teeth;
    const root = 0.98 - tooth;
    const bore = random.uniform(0.12, 0.22);
    const hub = bore + random.uniform(0.1, 0.16);
    const rim = root - random.uniform(0.1, 0.18);
    const web = chance(random, 0.7) ? random.uniform(0.06, 0.14) : 0;
    const holes = web > 0 && chance(random, 0.6) ? random.integer(4, 6) : 0;
    const holeAt = (hub + rim) / 2;
    const holeSize = (rim - hub) * random.uniform(0.24, 0.36);
    const thick = random.uniform(0.22, 0.34);
    const rough = plastic ? random.uniform(0.3, 0.5) : random.uniform(0.25, 0.42);
    const marks = scaled(random, 0.0004, 0.0016);
    const grit = stage.field(0.05, 3, 0.8);
    const haze = stage.field(0.5, 4, 0.6);
    const keyed = chance(random, 0.6);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // A tooth is gone, or leans; or a lightening hole was not made.
    const faultTooth = missing ? missing.random.integer(0, teeth - 1) : moved ? moved.random.integer(0, teeth - 1) : -9;
    const gone = missing ? 1 + Math.floor(missing.severity * 2.2) : 0;
    const lean = moved ? (chance(moved.random, 0.5) ? 1 : -1) * (0.2 + 0.3 * moved.severity) : 0;
    surface.core = { colour: plastic ? [colour[0] * 0.9 + 0.05, colour[1] * 0.9 + 0.05, colour[2] * 0.9 + 0.05] : srgb(150, 148, 146), rough: 0.6, metal: plastic ? 0 : 0.9 };
    for (let i = 0; i < surface.count; i++) {
      const [x, y] = [u[i], v[i]];
      const r = length(x, y);
      if (r > 1 || r < bore) continue;
      if (keyed && Math.abs(x) < bore * 0.35 && y > 0 && y < bore * 1.45) continue;
      const angle = angleOf(x, y);
      let edge = 0.03;
      if (r > root - 0.05) {
        const turn = (angle / TAU + 0.5) * teeth;
        const near = Math.floor(turn);
        const gap = (((near - faultTooth) % teeth) + teeth) % teeth;
        let fraction = turn - near - 0.5;
        if (gap === 0) fraction -= lean * ((r - root) / tooth);
        // The flank: half a tooth's width shrinks towards its tip.
        const t = (r - root) / tooth;
        const half = 0.33 - 0.17 * t * (0.6 + 0.4 * t);
        const flank = ((half - Math.abs(fraction)) * TAU * r) / teeth;
        const out = t > 0 ? Math.min(flank, 0.985 - r) : Math.max(flank, root - r);
        if (gap < gone && t > 0 && r - root > 0.03 * noise.at(angle * 9, 3) + 0.01) continue;
        if (out < 0) continue;
        edge = out;
      }
      let h = thick - 0.03 * smoothstep(0.028, 0, edge);
      const inWeb = smoothstep(hub, hub + 0.03, r) * smoothstep(rim, rim - 0.03, r);
      h -= web * inWeb;
      h -= 0.03 * smoothstep(bore + 0.03, bore, r);
      if (holes) {
        const turn = (angle / TAU + 0.5) * holes;
        const at = ((Math.floor(turn) + 0.5) / holes - 0.5) * TAU;
        const d = length(x - holeAt * cosine(at), y - holeAt * sine(at));
        if (d < holeSize) continue;
        h -= 0.02 * smoothstep(holeSize + 0.025, holeSize, d);
      }
      const lathe = plastic ? 0 : noise.at(r * 70, angle * 0.8) + 0.6 * noise.at(r * 160 + 5, angle * 1.6);
      surface.height[i] = scale * (h + marks * lathe * (1 - inWeb) + (plastic ? 0.0003 : 0.0006) * (0.25 + 0.5 * inWeb) * grit[i]);
      surface.paint(i, colour, clamp(1 + 0.04 * haze[i] + 0.03 * lathe - 0.05 * inWeb, 0.2, 1.2), clamp(rough + 0.04 * haze[i] + 0.1 * inWeb, 0.15, 0.7), plastic ? 0 : 1);
      surface.soft[i] = plastic ? 0.3 : 0;
      surface.part[i] = 1;
    }
  },
};
