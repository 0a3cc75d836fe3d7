// Woven cloth: warp and weft threads that pass over and under each other in plain, twill, satin or basket weave.
import type { Category } from '../category.ts';
import { type Rgb, srgb, vary } from '../render/colour.ts';
import { hash2 } from '../render/noise.ts';
import { chance, clamp, PI, pick, sine } from '../render/numbers.ts';

const dyes: readonly (readonly [Rgb, Rgb])[] = [
  [srgb(196, 186, 165), srgb(205, 196, 178)],
  [srgb(56, 74, 110), srgb(150, 160, 175)],
  [srgb(120, 112, 102), srgb(96, 90, 84)],
  [srgb(150, 62, 54), srgb(128, 52, 48)],
  [srgb(64, 92, 80), srgb(84, 112, 96)],
  [srgb(178, 150, 96), srgb(120, 90, 60)],
  [srgb(70, 70, 74), srgb(46, 46, 50)],
  [srgb(120, 140, 162), srgb(198, 202, 204)],
];

/** Whether the warp lies on top at a crossing. */
const weaves: readonly ((i: number, j: number) => boolean)[] = [
  (i, j) => ((i + j) & 1) === 0,
  (i, j) => ((i + j) & 3) < 2,
  (i, j) => (((i >> 1) + (j >> 1)) & 1) === 0,
  (i, j) => (i * 3 + j) % 5 !== 0,
];

export const wovenFabric: Category = {
  name: 'woven_fabric',
  kind: 'texture',
  defects: ['hole', 'stain', 'foreign_fibre', 'missing_part', 'misplaced_part', 'colour_change', 'scratch'],
  light: { elevation: [25, 60] },
  build(stage) {
    const { surface, random, noise } = stage;
    const { u, v, scale } = stage.place({ scale: [0.8, 1.25] });
    const [warpDye, weftDye] = pick(random, dyes);
    const [warp, weft] = [vary(random, warpDye, 0.12), vary(random, chance(random, 0.5) ? weftDye : warpDye, 0.12)];
    const over = pick(random, weaves);
    const pitch = random.uniform(8, 15);
    const width = random.uniform(0.86, 1);
    const wobble = random.uniform(0.05, 0.16);
    const uneven = random.uniform(0.04, 0.14);
    const twist = random.uniform(2.5, 4);
    const fuzz = stage.field(0.05, 3, 0.8);
    const drape = stage.field(1.4, 2);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // The faulty thread: warp threads run along v.
    const fault = missing ?? moved;
    const faultThread = fault ? Math.round(fault.random.uniform(-0.6, 0.6) * pitch) : 1e9;
    const faultFrom = fault ? fault.random.uniform(-0.8, 0.2) : 0;
    const faultTo = faultFrom + (fault ? 0.3 + fault.severity : 0);
    const side = moved && chance(moved.random, 0.5) ? -1 : 1;
    const push = moved ? 0.8 + 0.8 * moved.severity : 0;
    surface.core = { colour: [warp[0] * 0.9, warp[1] * 0.9, warp[2] * 0.9], rough: 0.95, metal: 0 };
    // Twist lines finer than two samples would only alias.
    const twistShown = clamp((1 / (pitch * twist)) * scale / surface.unit / 2 - 1, 0, 1);
    for (let i = 0; i < surface.count; i++) {
      let a = u[i] * pitch;
      const b = v[i] * pitch + wobble * noise.at(Math.floor(v[i] * pitch) * 5.7, u[i] * 2.5 + 31);
      a += wobble * noise.at(Math.floor(a) * 7.3, v[i] * 2.5);
      let slit = false;
      if (moved && v[i] > faultFrom && v[i] < faultTo) {
        // Threads on one side are pushed away and crowd together; a slit without them opens.
        const t = sine((PI * (v[i] - faultFrom)) / (faultTo - faultFrom));
        const away = (a - faultThread) * side;
        const wide = push * t * t;
        slit = away > 0 && away < wide;
        if (away >= wide && away < 3.5) a -= side * wide * ((3.5 - away) / (3.5 - wide));
      }
      const column = Math.floor(a);
      const row = Math.floor(b);
      const fa = (a - column - 0.5) * 2;
      const fb = (b - row - 0.5) * 2;
      const here = over(column, row) ? 1 : -1;
      // Halfway to the next crossing a thread is at the middle height if it changes sides there.
      const nextRow = over(column, fb > 0 ? row + 1 : row - 1) ? 1 : -1;
      const nextColumn = over(fa > 0 ? column + 1 : column - 1, row) ? 1 : -1;
      const warpRise = here + (nextRow - here) * 0.5 * fb * fb;
      const weftRise = -(here + (nextColumn - here) * 0.5 * fa * fa);
      const thickWarp = width * (1 + uneven * (hash2(column, 7, 11) - 0.5) + 0.12 * noise.at(column * 3.1, v[i] * 4));
      const thickWeft = width * (1 + uneven * (hash2(9, row, 23) - 0.5) + 0.12 * noise.at(u[i] * 4, row * 3.7));
      const acrossWarp = 1 - (fa / thickWarp) * (fa / thickWarp);
      const acrossWeft = 1 - (fb / thickWeft) * (fb / thickWeft);
      let warpHeight = acrossWarp > 0 ? Math.sqrt(acrossWarp) * 0.9 + warpRise * 0.55 : -2;
      const weftHeight = acrossWeft > 0 ? Math.sqrt(acrossWeft) * 0.9 + weftRise * 0.55 : -2;
      if (slit || (missing && column === faultThread && v[i] > faultFrom && v[i] < faultTo)) warpHeight = -2;
      const isWarp = warpHeight > weftHeight;
      const top = Math.max(warpHeight, weftHeight, -0.8);
      const along = isWarp ? b : a;
      const across = isWarp ? fa : fb;
      const ply = sine((along * twist + across * 0.8) * PI * 2) * twistShown;
      const thread = isWarp ? hash2(column, 3, 5) : hash2(row, 4, 6);
      const depth = (top <= -0.8 ? 0.25 : 0.78 + 0.22 * clamp(top, -0.5, 1)) * (slit ? 0.45 : 1);
      surface.height[i] = scale * ((0.3 / pitch) * (top + 0.05 * ply + 0.06 * fuzz[i]) + 0.012 * drape[i]);
      surface.paint(i, isWarp ? warp : weft, depth * (1 + uneven * 1.2 * (thread - 0.5) + 0.07 * fuzz[i] + 0.06 * ply), 0.85, 0);
      surface.soft[i] = 0.25;
      surface.part[i] = 1;
    }
  },
};
