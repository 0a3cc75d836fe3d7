// A crown cap from above: a printed disc that bends down into 21 flutes.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { angleOf, chance, clamp, cosine, length, pick, sine, smoothstep, TAU } from '../render/numbers.ts';
import { textPrint } from '../render/print.ts';

const paints: readonly (readonly [Rgb, Rgb])[] = [
  [srgb(176, 36, 36), srgb(232, 226, 214)],
  [srgb(30, 70, 130), srgb(226, 226, 222)],
  [srgb(206, 166, 70), srgb(70, 36, 26)],
  [srgb(30, 92, 60), srgb(226, 206, 130)],
  [srgb(36, 36, 40), srgb(206, 170, 90)],
  [srgb(222, 220, 214), srgb(150, 36, 40)],
];

export const bottleCap: Category = {
  name: 'bottle_cap',
  kind: 'object',
  defects: ['missing_part', 'misplaced_part', 'scratch', 'dent', 'hole', 'stain', 'colour_change', 'foreign_fibre', 'broken_edge'],
  build(stage) {
    const { surface, random } = stage;
    stage.ground();
    const { u, v, scale } = stage.place({ scale: [0.68, 0.84], shift: 0.08 });
    const [paint, ink] = pick(random, paints).map((colour) => vary(random, colour, 0.08, 0.03));
    const bare = chance(random, 0.15);
    const metal = vary(random, srgb(206, 204, 198), 0.04, 0.01);
    const flutes = 21;
    const turn = random.uniform(0, TAU);
    const disc = random.uniform(0.66, 0.72);
    const gloss = random.uniform(0.18, 0.36);
    const words = textPrint(pick(random, ['ALPIN', 'NORD', 'KOLA', 'BREW', 'OPAL', 'LIMO', 'STAR']), 1.7);
    const letter = random.uniform(0.26, 0.34);
    const rays = random.integer(8, 18);
    const emblem = chance(random, 0.5);
    const ring = random.uniform(0.5, 0.56);
    const orange = stage.field(0.06, 2);
    const haze = stage.field(0.5, 3);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // The print is missing, or a flute is flat; the print is off its place.
    const noPrint = missing !== undefined && missing.severity < 0.6;
    const flatFrom = missing && !noPrint ? missing.random.uniform(0, TAU) : 9;
    const angle = moved ? moved.random.uniform(0.3, 1) * (chance(moved.random, 0.5) ? 1 : -1) : 0;
    const [shiftX, shiftY] = moved ? [0.06 + 0.06 * moved.severity, moved.random.uniform(-0.08, 0.08)] : [0, 0];
    const [c, s] = [cosine(angle), sine(angle)];
    surface.core = { colour: metal, rough: 0.35, metal: 1 };
    for (let i = 0; i < surface.count; i++) {
      const [x, y] = [u[i], v[i]];
      const r = length(x, y);
      if (r > 1.02) continue;
      const polar = angleOf(x, y);
      const flat = missing && !noPrint ? smoothstep(1, 0.6, Math.abs(((polar - flatFrom + 3 * TAU / 2) % TAU) - TAU / 2)) : 0;
      const wave = cosine(flutes * polar + turn) * (1 - flat);
      const out = smoothstep(disc + 0.06, 1, r);
      if (r > 0.965 + 0.035 * wave) continue;
      const shoulder = clamp((r - disc) / (1 - disc), 0, 1);
      const h = 0.34 - 0.3 * shoulder * shoulder + 0.055 * wave * out + 0.012 * smoothstep(disc + 0.02, disc - 0.04, r);
      surface.height[i] = scale * (h + 0.0005 * orange[i] + 0.002 * haze[i]);
      // Bare steel shines through at the cut edge.
      const edge = smoothstep(0.93, 0.98, r - 0.035 * wave);
      if (bare) surface.paint(i, metal, 1 + 0.03 * haze[i], 0.3, 1);
      else surface.paint(i, paint, 1 + 0.02 * haze[i], gloss, 0.25);
      if (edge > 0 && !bare) surface.expose(i, edge, 1);
      if (!noPrint && r < disc + 0.04) {
        const px = (x - shiftX) * c + (y - shiftY) * s;
        const py = (y - shiftY) * c - (x - shiftX) * s;
        const pr = length(px, py);
        let cover = words.at(px / letter + words.width / 2, py / letter + 0.5);
        if (Math.abs(pr - ring) < 0.02) cover = 1;
        if (emblem && pr > letter * 0.5 * words.width + 0.02 && pr < ring - 0.05 && cosine(rays * angleOf(px, py)) > 0.3) cover = 1;
        if (cover > 0) {
          surface.tint(i, ink, 0.92 * cover);
          surface.metal[i] *= 1 - cover;
        }
      }
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
