// A gelatin capsule on its side: two glossy halves of different colour, a locking ring, a printed number.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { chance, pick, smoothstep } from '../render/numbers.ts';
import { textPrint } from '../render/print.ts';

const shells: readonly (readonly [Rgb, Rgb])[] = [
  [srgb(226, 210, 160), srgb(178, 44, 40)],
  [srgb(232, 226, 214), srgb(52, 104, 160)],
  [srgb(240, 190, 60), srgb(70, 120, 70)],
  [srgb(216, 120, 50), srgb(216, 120, 50)],
  [srgb(40, 40, 44), srgb(190, 120, 40)],
  [srgb(120, 170, 190), srgb(232, 230, 226)],
  [srgb(232, 228, 224), srgb(232, 228, 224)],
  [srgb(190, 92, 110), srgb(80, 58, 92)],
];

export const capsule: Category = {
  name: 'capsule',
  kind: 'object',
  defects: ['scratch', 'crack', 'hole', 'dent', 'stain', 'missing_part', 'misplaced_part', 'colour_change', 'foreign_fibre', 'broken_edge'],
  build(stage) {
    const { surface, random } = stage;
    stage.ground(['white', 'grey', 'dark', 'steel', 'belt']);
    const { u, v, scale } = stage.place({ scale: [0.72, 0.88] });
    const [bodyColour, capColour] = pick(random, shells);
    const [body, cap] = [vary(random, bodyColour, 0.08, 0.03), vary(random, capColour, 0.08, 0.03)];
    const radius = random.uniform(0.32, 0.4);
    const seam = random.uniform(-0.12, 0.2);
    const end = 1;
    const gloss = random.uniform(0.14, 0.3);
    const ink: Rgb = chance(random, 0.7) ? srgb(30, 28, 30) : srgb(235, 232, 226);
    const print = textPrint(`${pick(random, ['A', 'K', 'M', 'P', 'T', 'NX', 'RX', 'Z'])}${random.integer(10, 890)}`, 1.5);
    const letter = radius * random.uniform(0.5, 0.75);
    const clouds = stage.field(0.3, 3);
    const printAt = random.uniform(-0.8, -0.72);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // The cap sits askew or half pulled off; or the print is gone, or the whole cap.
    const pull = moved ? 0.05 + 0.12 * moved.severity : 0;
    const skew = moved ? moved.random.uniform(-0.12, 0.12) : 0;
    const noCap = missing !== undefined && missing.severity > 0.45;
    const noPrint = missing !== undefined && !noCap;
    surface.core = { colour: srgb(225, 215, 190), rough: 0.9, metal: 0 };
    for (let i = 0; i < surface.count; i++) {
      const x = u[i];
      if (x < -1.05 || x > 1.3 || Math.abs(v[i]) > radius * 1.7) continue;
      const isCap = x > seam + pull && !noCap;
      const y = isCap ? v[i] - skew * (x - seam) : v[i];
      const shell = isCap ? radius * 1.045 : radius;
      const tip = isCap ? end + pull : noCap && x > 0 ? 0.78 : end;
      // Along the axis a half ends in a dome.
      const beyond = Math.max(0, Math.abs(x) - (tip - shell));
      const open = noCap && x > 0;
      const across = open ? 1 - (y / shell) * (y / shell) : 1 - (y * y + beyond * beyond) / (shell * shell);
      if (across <= 0 || (open && x > 0.45)) continue;
      let h = shell * (0.9 + Math.sqrt(across));
      // The rim of the cap, the locking groove behind it, and the taper of the body before it.
      const behind = x - seam - pull;
      if (isCap) h -= shell * (0.1 * smoothstep(0.03, 0, behind) + 0.03 * smoothstep(0.03, 0, Math.abs(behind - 0.13)));
      else if (behind < 0 && behind > -0.5) h -= shell * 0.02 * smoothstep(-0.5, 0, behind);
      const colour = isCap ? cap : body;
      const shade = (1 + 0.03 * clouds[i]) * (open && x > 0.36 ? 0.55 : 1);
      surface.height[i] = scale * h;
      surface.paint(i, colour, shade, gloss, 0);
      surface.soft[i] = 0.55;
      surface.part[i] = 1;
      if (!noPrint) {
        // The print follows the round of the shell.
        const round = y / shell;
        const text = print.at((x - printAt) / letter, (round * (1 + 0.2 * round * round) * shell) / letter + 0.5);
        if (text > 0) surface.tint(i, ink, 0.85 * text);
      }
    }
  },
};
