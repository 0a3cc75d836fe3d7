// A screw on its side: head, plain shank, thread and point.
import type { Category } from '../category.ts';
import { srgb, vary } from '../render/colour.ts';
import { chance, clamp, pick, smoothstep } from '../render/numbers.ts';

export const screw: Category = {
  name: 'screw',
  kind: 'object',
  defects: ['scratch', 'missing_part', 'misplaced_part', 'broken_edge', 'stain', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground(['white', 'grey', 'grey', 'dark', 'belt']);
    const { u, v, scale } = stage.place({ scale: [0.78, 0.9], shift: 0.05 });
    const metal = vary(random, pick(random, [srgb(188, 188, 190), srgb(204, 176, 112), srgb(92, 92, 96), srgb(180, 176, 160)]), 0.06, 0.015);
    const radius = random.uniform(0.15, 0.2);
    const head = radius * random.uniform(1.9, 2.3);
    const shape = pick(random, ['pan', 'countersunk', 'hex'] as const);
    const headLength = shape === 'countersunk' ? head - radius + 0.05 : random.uniform(0.2, 0.3);
    const pitch = random.uniform(13, 19);
    const depth = radius * random.uniform(0.22, 0.32);
    const plain = random.uniform(-0.55, 0);
    const point = chance(random, 0.7) ? random.uniform(0.2, 0.4) : 0.06;
    const rough = random.uniform(0.26, 0.42);
    const grit = stage.field(0.05, 2, 0.7);
    const haze = stage.field(0.3, 3);
    const missing = stage.faultOf('missing_part');
    const moved = stage.faultOf('misplaced_part');
    // A stretch without thread, or no point; the thread displaced, or the shank bent.
    const bare = missing ? missing.random.uniform(plain, 0.55) : 9;
    const bareLength = missing ? 0.18 + 0.35 * missing.severity : 0;
    const short = missing && missing.severity > 0.65 && chance(missing.random, 0.6) ? missing.random.uniform(0.55, 0.8) : 1;
    const bend = moved ? (chance(moved.random, 0.5) ? 1 : -1) * (0.12 + 0.25 * moved.severity) : 0;
    const bendAt = moved ? moved.random.uniform(-0.4, 0.3) : 0;
    surface.core = { colour: srgb(130, 124, 118), rough: 0.6, metal: 0.8 };
    for (let i = 0; i < surface.count; i++) {
      const x = u[i];
      const y = v[i] - (x > bendAt ? bend * (x - bendAt) : 0);
      if (x < -1 || x > short || Math.abs(y) > head) continue;
      let r = radius;
      let rest = head;
      let twist = 0;
      if (x < -1 + headLength) {
        const t = (x + 1) / headLength;
        r = shape === 'countersunk' ? (t < 0.12 ? head : head - (head - radius) * (t - 0.12) * 1.136) : head;
        if (shape === 'pan') r = head * Math.sqrt(clamp(1 - (1 - Math.min(1, t * 1.15)) * (1 - Math.min(1, t * 1.15)) * 0.75, 0, 1)) * smoothstep(1.02, 0.97, t);
      } else if (x > plain) {
        // A helix: at the near side its flanks lean with the turn.
        const turn = x * pitch + (y / radius) * 0.28;
        const wave = Math.abs(turn - Math.floor(turn) - 0.5) * 2;
        const start = smoothstep(plain, plain + 0.08, x);
        const taper = x > 1 - point ? (1 - x) / point : 1;
        const crest = wave * wave * (3 - 2 * wave);
        const threaded = bare < x && x < bare + bareLength ? 0.1 : 1;
        r = (radius + depth * 0.35 * start) * (0.15 + 0.85 * taper) - depth * start * threaded * (1 - crest) * (0.4 + 0.6 * taper);
        twist = crest;
      }
      if (Math.abs(y) >= r) continue;
      const across = y / r;
      let high = Math.sqrt(1 - across * across) * r;
      if (shape === 'hex' && x < -1 + headLength) {
        // Flats of the hexagon: one on top, two leaning.
        const flat = Math.abs(y) / head;
        high = head * (flat < 0.5 ? 0.86 : 0.86 - (flat - 0.5) * 1.5) - smoothstep(0.03, 0, x + 1) * 0.04;
      }
      rest += high;
      surface.height[i] = scale * (rest * 0.9 + 0.0005 * grit[i]);
      surface.paint(i, metal, clamp(0.86 + 0.1 * twist + 0.05 * haze[i] + 0.04 * grit[i] + 0.03 * noise.at(x * 6, y * 60), 0.2, 1.2), clamp(rough + 0.05 * haze[i], 0.15, 0.6), 1);
      surface.soft[i] = 0;
      surface.part[i] = 1;
    }
  },
};
