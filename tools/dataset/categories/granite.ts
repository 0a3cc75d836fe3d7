// Polished stone: grains of several minerals, some dark, some glassy.
import type { Category } from '../category.ts';
import { blend, type Rgb, srgb, vary } from '../render/colour.ts';
import { clamp, pick, smoothstep } from '../render/numbers.ts';

const minerals: readonly (readonly [base: Rgb, pale: Rgb, dark: Rgb, tinted: Rgb])[] = [
  [srgb(166, 163, 160), srgb(206, 203, 198), srgb(52, 52, 56), srgb(140, 134, 128)],
  [srgb(156, 120, 106), srgb(198, 176, 164), srgb(48, 44, 44), srgb(130, 90, 78)],
  [srgb(66, 69, 72), srgb(112, 116, 118), srgb(26, 26, 28), srgb(84, 90, 96)],
  [srgb(192, 180, 158), srgb(216, 209, 194), srgb(104, 86, 66), srgb(170, 144, 108)],
  [srgb(98, 106, 100), srgb(144, 152, 144), srgb(34, 38, 36), srgb(80, 92, 84)],
];

export const granite: Category = {
  name: 'granite',
  kind: 'texture',
  defects: ['scratch', 'crack', 'hole', 'stain', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random } = stage;
    const { scale } = stage.place({ scale: [0.8, 1.3] });
    const [base, pale, dark, tinted] = pick(random, minerals).map((mineral) => vary(random, mineral, 0.08, 0.02));
    const size = scale * random.uniform(0.05, 0.095);
    const veins = stage.field(0.8, 4, 0.6);
    const paleGrains = stage.field(size * 1.3, 3, 0.6);
    const darkGrains = stage.field(size, 3, 0.65);
    const tintedGrains = stage.field(size * 1.8, 3, 0.6);
    const fine = stage.field(0.05, 2, 0.6);
    const [paleFrom, darkFrom, tintedFrom] = [random.uniform(0.1, 0.7), random.uniform(0.7, 1.4), random.uniform(0.2, 1)];
    const rough = random.uniform(0.12, 0.35);
    surface.core = { colour: blend(base, [0.6, 0.58, 0.55], 0.4), rough: 0.95, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const paleHere = smoothstep(paleFrom, paleFrom + 0.45, paleGrains[i]);
      const darkHere = smoothstep(darkFrom, darkFrom + 0.3, darkGrains[i] + 0.25 * veins[i]);
      const tintedHere = smoothstep(tintedFrom, tintedFrom + 0.5, tintedGrains[i]);
      const colour = blend(blend(blend(base, tinted, tintedHere), pale, paleHere), dark, darkHere);
      surface.height[i] = scale * (0.0002 * fine[i] - 0.0004 * darkHere);
      surface.paint(i, colour, clamp(1 + 0.07 * fine[i] + 0.05 * veins[i], 0.15, 1.5), rough + 0.08 * darkHere, 0);
      surface.soft[i] = 0.1 + 0.3 * paleHere;
      surface.part[i] = 1;
    }
  },
};
