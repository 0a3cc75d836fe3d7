// A closed zipper: two rows of teeth that mesh, on woven tapes.
import type { Category } from '../category.ts';
import { blend, type Rgb, srgb, vary } from '../render/colour.ts';
import { chance, clamp, cosine, PI, pick, sine, smoothstep, TAU } from '../render/numbers.ts';

const tapes: readonly Rgb[] = [srgb(36, 36, 40), srgb(48, 60, 96), srgb(150, 40, 44), srgb(186, 176, 156), srgb(70, 96, 72), srgb(110, 108, 104), srgb(170, 140, 90)];

export const zipper: Category = {
  name: 'zipper',
  kind: 'texture',
  defects: ['missing_part', 'misplaced_part', 'stain', 'hole', 'foreign_fibre', 'colour_change', 'scratch'],
  build(stage) {
    const { surface, random, noise } = stage;
    const { u, v, scale } = stage.place({ scale: [0.95, 1.25], shift: 0.12 });
    const tape = vary(random, pick(random, tapes), 0.14);
    const metal = chance(random, 0.6);
    const tooth = metal ? vary(random, pick(random, [srgb(196, 194, 188), srgb(206, 170, 100), srgb(130, 112, 84)]), 0.06, 0.015) : vary(random, blend(tape, [0.3, 0.3, 0.3], 0.15), 0.1);
    const pitch = random.uniform(0.15, 0.22);
    const width = random.uniform(0.13, 0.17);
    const thick = pitch * random.uniform(0.36, 0.42);
    const weave = random.uniform(16, 24);
    const cord = random.uniform(0.03, 0.05);
    const fuzz = stage.field(0.045, 3, 0.8);
    const drape = stage.field(0.9, 3);
    const stitches = random.uniform(9, 14);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    const fault = missing ?? moved;
    const faultAt = fault ? Math.round(fault.random.uniform(-0.55, 0.55) / pitch) : 1e9;
    const faultSide = fault && chance(fault.random, 0.5) ? 1 : 0;
    const gone = missing ? 1 + Math.floor(missing.severity * 2.5) : 0;
    // The rows part over a stretch, or one tooth is bent.
    const split = moved && moved.severity > 0.5 ? 0.08 + 0.1 * moved.severity : 0;
    const splitHalf = 0.35;
    const bent = moved && !split ? moved.random.uniform(0.4, 0.9) * (chance(moved.random, 0.5) ? 1 : -1) : 0;
    const below = srgb(20, 20, 22);
    surface.core = { colour: vary(random, srgb(170, 160, 150), 0.1), rough: 0.95, metal: 0 };
    const weaveShown = clamp(scale / weave / surface.unit / 2.2 - 0.6, 0, 1);
    for (let i = 0; i < surface.count; i++) {
      const y = v[i];
      const off = (y - faultAt * pitch) / splitHalf;
      const apart = split && Math.abs(off) < 1 ? split * (0.5 + 0.5 * cosine(PI * off)) : 0;
      const side = u[i] > 0 ? 1 : -1;
      const x = u[i] - side * apart;
      const inside = side * x;
      // Woven tape, with a corded edge under the teeth and a line of stitches.
      const [a, b] = [x * weave, y * weave];
      const twill = sine((a + b) * PI) * sine((a - b) * PI * 0.5);
      const rib = sine(b * TAU * 0.5);
      const corded = smoothstep(cord, 0, Math.abs(inside - width * 0.55));
      const stitch = smoothstep(0.022, 0.01, Math.abs(inside - width * 1.5)) * (sine(y * stitches * TAU) > -0.3 ? 1 : 0);
      let h = 0.006 * (0.6 * twill + 0.5 * rib) * weaveShown + 0.0018 * fuzz[i] + 0.014 * drape[i] + 0.035 * corded + 0.01 * stitch;
      let shade = (0.9 + 0.16 * twill * weaveShown + 0.09 * fuzz[i]) * (1 + 0.12 * stitch);
      if (inside < 0) {
        surface.height[i] = scale * -0.12;
        surface.paint(i, below, 0.6 + 0.1 * fuzz[i], 0.95, 0);
        surface.soft[i] = 0;
        surface.part[i] = 1;
        continue;
      }
      surface.height[i] = scale * h;
      surface.paint(i, tape, clamp(shade, 0.1, 1.4), 0.95, 0);
      surface.soft[i] = 0.2;
      surface.part[i] = 1;
      // Teeth of both rows can reach a sample; the right row sits half a pitch further on.
      for (let row = 0; row < 2; row++) {
        const sign = row ? 1 : -1;
        const reach = u[i] * sign - apart;
        if (reach < -0.075 || reach > width) continue;
        const at = y / pitch - row * 0.5;
        const index = Math.floor(at + 0.5);
        const isFault = row === faultSide && index >= faultAt && index < faultAt + Math.max(1, gone);
        if (missing && isFault) continue;
        let across = (at - index) * pitch;
        if (bent && row === faultSide && index === faultAt) across -= bent * (width - reach) * 0.5 - bent * 0.03;
        // A head that is wider than its neck, with a rounded end.
        const head = smoothstep(0.06, 0.02, reach);
        const half = thick * (0.8 + 0.35 * head) * (reach < -0.035 ? Math.sqrt(clamp(1 - ((reach + 0.035) / 0.04) * ((reach + 0.035) / 0.04), 0, 1)) : 1) * smoothstep(width, width - 0.03, reach);
        const q = half > 0 ? Math.abs(across) / half : 2;
        if (q >= 1) continue;
        h = 0.05 + 0.06 * Math.sqrt(1 - q * q * 0.8) - 0.02 * smoothstep(0.06, width, reach) + 0.01 * head;
        if (scale * h <= surface.height[i]) continue;
        shade = 0.95 + 0.06 * noise.at(index * 3.7 + row, reach * 20);
        surface.height[i] = scale * h;
        surface.paint(i, tooth, shade, metal ? 0.26 : 0.3, metal ? 1 : 0);
        surface.soft[i] = metal ? 0 : 0.3;
      }
    }
  },
};
