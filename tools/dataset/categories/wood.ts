// Planed wood: year rings cut lengthwise, fibres and pores along the grain, at times a joint between two boards.
import type { Category } from '../category.ts';
import { blend, type Rgb, srgb, vary } from '../render/colour.ts';
import { hash2 } from '../render/noise.ts';
import { chance, clamp, pick, smoothstep } from '../render/numbers.ts';

const woods: readonly (readonly [light: Rgb, dark: Rgb])[] = [
  [srgb(206, 164, 112), srgb(158, 106, 62)],
  [srgb(176, 122, 76), srgb(110, 66, 38)],
  [srgb(222, 196, 152), srgb(190, 152, 104)],
  [srgb(116, 78, 54), srgb(66, 42, 30)],
  [srgb(190, 142, 100), srgb(140, 84, 56)],
  [srgb(168, 150, 128), srgb(116, 100, 84)],
];

export const wood: Category = {
  name: 'wood',
  kind: 'texture',
  defects: ['scratch', 'crack', 'hole', 'stain', 'dent', 'colour_change', 'foreign_fibre'],
  light: { elevation: [25, 65] },
  build(stage) {
    const { surface, random, noise } = stage;
    const { u, v, scale } = stage.place({ scale: [0.8, 1.2] });
    const [light, dark] = pick(random, woods).map((tone) => vary(random, tone, 0.08, 0.04));
    const rings = random.uniform(3, 9);
    const wave = random.uniform(0.5, 2.2);
    const boards = chance(random, 0.4) ? random.uniform(0.9, 1.8) : 0.2;
    const pores = random.uniform(0.4, 1);
    const varnish = chance(random, 0.4) ? random.uniform(0.25, 0.45) : random.uniform(0.55, 0.75);
    const fine = stage.field(0.04, 2, 0.9);
    const tone = stage.field(1.2, 3);
    const shift = random.uniform(0, 50);
    surface.core = { colour: blend(light, [0.75, 0.62, 0.42], 0.45), rough: 0.9, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const y = v[i] + 0.31;
      const board = Math.floor(y * boards);
      const fromJoint = Math.min(y * boards - board, board + 1 - y * boards) / boards;
      const own = hash2(board, 1, 77) * 40 + shift;
      const [along, across] = [u[i] + own, v[i] + own * 0.37];
      const flow = noise.at(along * 0.55, across * 0.9) + 0.35 * noise.at(along * 1.4 + 7, across * 2.6);
      const t = across * rings + wave * flow + 0.5 * noise.at(along * 0.3 + 11, across * 3.1);
      const ring = t - Math.floor(t);
      // Late wood darkens slowly and ends at once.
      const rise = ring * ring;
      const late = (0.25 * ring + 0.75 * rise * rise) * smoothstep(1, 0.88, ring);
      const fibre = noise.at(along * 2.2, across * 62);
      const streak = noise.at(along * 0.8 + 3, across * 24);
      const pore = smoothstep(0.25, 0.6, noise.at(along * 5 + 20, across * 75)) * pores * (0.4 + late);
      const gap = boards > 0.5 ? smoothstep(0.012, 0.004, fromJoint) : 0;
      const mixDark = clamp(0.14 + 0.7 * late + 0.32 * streak + 0.26 * fibre, 0, 1);
      surface.height[i] = scale * (0.0008 * late + 0.0009 * fibre - 0.002 * pore - 0.03 * gap + 0.0006 * fine[i]);
      surface.paint(i, blend(light, dark, mixDark), clamp((1 + 0.06 * fibre + 0.07 * tone[i] + 0.05 * streak - 0.45 * pore) * (1 - 0.8 * gap) * (boards > 0.5 ? 0.9 + 0.2 * hash2(board, 5, 3) : 1), 0.05, 1.4), varnish + 0.1 * pore, 0);
      surface.soft[i] = 0.2;
      surface.part[i] = 1;
    }
  },
};
