// Parts of machines: nothing but the outline is the same in the pictures of one of these categories. Make, colour, grooves, trim and what is
// mounted are drawn anew for each picture, so that what is learned from them is not how a thing looks, but how a defect does: real
// categories are few, and a model learns their looks by heart (domain randomisation: Tobin et al. 2017).
import type { Category } from '../category.ts';
import { blend, type Rgb, srgb, vary } from '../render/colour.ts';
import { angleOf, chance, clamp, cosine, length, pick, scaled, sine, smoothstep, TAU } from '../render/numbers.ts';
import { textPrint } from '../render/print.ts';
import type { Stage } from '../render/stage.ts';

/** What a region of a part is made of. */
interface Material {
  readonly colour: Rgb;
  readonly rough: number;
  readonly metal: number;
  readonly soft: number;
}

const metals: readonly Rgb[] = [srgb(186, 186, 190), srgb(204, 168, 100), srgb(120, 120, 126), srgb(196, 128, 92), srgb(92, 94, 98)];
const inks: readonly Rgb[] = [srgb(28, 28, 30), srgb(236, 234, 228), srgb(170, 40, 34), srgb(30, 60, 120)];

function drawMaterial({ random }: Stage): Material {
  if (chance(random, 0.35)) return { colour: vary(random, pick(random, metals), 0.1, 0.02), rough: random.uniform(0.2, 0.5), metal: 1, soft: 0 };
  // Any colour: plastics, paints, rubbers, ceramics.
  const grey = scaled(random, 14, 236);
  const colourful = chance(random, 0.6) ? random.uniform(0.2, 0.85) : random.uniform(0, 0.12);
  const hue = random.uniform(0, TAU);
  const channel = (turn: number): number => clamp(grey * (1 + colourful * cosine(hue + turn)), 6, 242);
  return { colour: srgb(channel(0), channel(TAU / 3), channel((2 * TAU) / 3)), rough: random.uniform(0.12, 0.9), metal: 0, soft: random.uniform(0, 0.6) };
}

/** How far inside of its outline a point of a part is. */
type Outline = (x: number, y: number) => number;

const box = (x: number, y: number, width: number, height: number, round: number): number => {
  const [qx, qy] = [Math.abs(x) - width + round, Math.abs(y) - height + round];
  return round - length(Math.max(qx, 0), Math.max(qy, 0)) - Math.min(Math.max(qx, qy), 0);
};

/** What a part is named after. */
type Shape = 'disc' | 'panel' | 'prism' | 'knob' | 'rod' | 'cross' | 'shaft';

/** Draws an outline of a shape; a long one is as wide as it says. */
function drawOutline({ random }: Stage, kind: Shape): { readonly outline: Outline; readonly long: boolean; readonly width: number } {
  if (kind === 'disc') return { outline: (x, y) => 1 - length(x, y), long: false, width: 1 };
  if (kind === 'panel') {
    const height = random.uniform(0.3, 0.95);
    const round = random.uniform(0.02, 0.5) * height;
    return { outline: (x, y) => box(x, y, 0.98, height, round), long: height < 0.55, width: height };
  }
  if (kind === 'prism') {
    const sides = random.integer(3, 9);
    const corner = random.uniform(0.86, 1);
    const inner = cosine(TAU / 2 / sides);
    const normals = Array.from({ length: sides }, (_, k) => [cosine((k * TAU) / sides), sine((k * TAU) / sides)] as const);
    return { outline: (x, y) => Math.min(inner - Math.max(...normals.map(([nx, ny]) => nx * x + ny * y)), corner - length(x, y)), long: false, width: inner };
  }
  if (kind === 'knob') {
    const lobes = random.integer(2, 8);
    const depth = random.uniform(0.06, 0.32);
    return { outline: (x, y) => 1 - depth * (0.5 - 0.5 * cosine(lobes * angleOf(x, y))) - length(x, y), long: false, width: 1 - depth };
  }
  if (kind === 'rod') {
    const radius = random.uniform(0.18, 0.5);
    return { outline: (x, y) => radius - length(Math.max(Math.abs(x) - 1 + radius, 0), y), long: true, width: radius };
  }
  if (kind === 'cross') {
    const [wide, round] = [random.uniform(0.25, 0.5), random.uniform(0.02, 0.2)];
    return { outline: (x, y) => Math.max(box(x, y, 0.98, wide, round), box(y, x, 0.98, wide, round)), long: false, width: wide };
  }
  // A turned part from its side: sections of different widths.
  const sections = random.integer(2, 5);
  const ends = Array.from({ length: sections - 1 }, () => random.uniform(-0.8, 0.8)).sort((a, b) => a - b);
  const widths = Array.from({ length: sections }, () => random.uniform(0.14, 0.46));
  return {
    outline: (x, y) => {
      let section = 0;
      while (section < sections - 1 && x > ends[section]) section++;
      return Math.min(widths[section] - Math.abs(y), 0.98 - Math.abs(x));
    },
    long: true,
    width: Math.min(...widths),
  };
}

/** Things of the same kind at regular places: holes, pockets, studs, inlays, pins. */
interface Row {
  readonly places: readonly { readonly x: number; readonly y: number }[];
  readonly size: number;
  readonly square: boolean;
  readonly make: 'hole' | 'pocket' | 'stud' | 'inlay' | 'pin';
  readonly material: Material;
}

/** How much two colours differ, 0 to 1. */
const contrast = (a: Rgb, b: Rgb): number => Math.max(...a.map((value, i) => Math.abs(value - b[i]) / Math.max(value + b[i], 0.1)));

function drawRow(stage: Stage, long: boolean, width: number, main: Material): Row {
  const { random } = stage;
  let places: { x: number; y: number }[];
  let room: number;
  if (long) {
    const count = random.integer(2, 6);
    const [first, last] = [random.uniform(-0.8, -0.4), random.uniform(0.3, 0.8)];
    places = Array.from({ length: count }, (_, k) => ({ x: first + ((last - first) * k) / (count - 1), y: 0 }));
    room = Math.min((last - first) / (count - 1), 1.6 * width) / 2;
  } else if (chance(random, 0.7)) {
    const count = random.integer(2, 10);
    const radius = width * random.uniform(0.42, 0.74);
    places = Array.from({ length: count }, (_, k) => ({ x: radius * cosine((k * TAU) / count), y: radius * sine((k * TAU) / count) }));
    room = Math.min(radius * sine(TAU / 2 / count), radius * 0.8, width - radius);
  } else {
    const [columns, lines] = [random.integer(2, 4), random.integer(2, 4)];
    const [stepX, stepY] = [(1.1 * width) / columns, (1.1 * width) / lines];
    places = Array.from({ length: columns * lines }, (_, k) => ({ x: ((k % columns) - (columns - 1) / 2) * stepX, y: (Math.floor(k / columns) - (lines - 1) / 2) * stepY }));
    room = Math.min(stepX, stepY) / 2;
  }
  // What is mounted must be seen, or nobody sees that it is missing.
  let material = drawMaterial(stage);
  for (let draw = 0; draw < 20 && contrast(material.colour, main.colour) < 0.15; draw++) material = drawMaterial(stage);
  const row: Row = { places, size: room * random.uniform(0.5, 0.85), square: chance(random, 0.25), make: pick(random, ['hole', 'pocket', 'stud', 'inlay', 'pin']), material };
  const fault = stage.fault;
  if (!fault) return row;
  const hurt = fault.random.integer(0, places.length - 1);
  if (fault.kind === 'missing_part') return { ...row, places: places.filter((_, k) => k !== hurt) };
  const [turn, away] = [fault.random.uniform(0, TAU), row.size * (0.6 + 0.9 * fault.severity)];
  return { ...row, places: places.map((place, k) => (k === hurt ? { x: place.x + away * cosine(turn), y: place.y + away * sine(turn) } : place)) };
}

const machinePart = (shape: Shape): Category => ({
  name: shape,
  kind: 'object',
  varied: true,
  defects: ['missing_part', 'misplaced_part', 'scratch', 'crack', 'hole', 'dent', 'stain', 'broken_edge', 'colour_change', 'foreign_fibre'],
  build(stage) {
    const { surface, random, noise } = stage;
    stage.ground();
    const { u, v, scale } = stage.place({ scale: [0.68, 0.94], shift: 0.1 });
    const { outline, long, width } = drawOutline(stage, shape);
    const [main, other] = [drawMaterial(stage), drawMaterial(stage)];
    const thick = random.uniform(0.1, 0.4);
    const profile = long ? pick(random, ['round', 'round', 'flat'] as const) : pick(random, ['flat', 'flat', 'dome', 'dish', 'rim'] as const);
    const bevel = random.uniform(0.015, 0.1);
    const bore = !long && chance(random, 0.45) ? width * random.uniform(0.12, 0.5) : 0;
    const blind = chance(random, 0.4);
    // Where the second material is.
    const zone = pick(random, ['none', 'none', 'outside', 'half', 'band', 'edge'] as const);
    const zoneAt = random.uniform(0.25, 0.8) * width;
    const zoneFrom = random.uniform(-0.5, 0.4);
    const step = chance(random, 0.5) ? random.uniform(-0.06, 0.06) : 0;
    // What the part is grooved with.
    const groove = pick(random, long ? (['none', 'across', 'across', 'along'] as const) : (['none', 'rings', 'rings', 'rays', 'across'] as const));
    const [grooveFrom, grooveTo] = [random.uniform(-0.9, 0.1), random.uniform(0.3, 0.95)];
    const pitch = groove === 'rays' ? random.integer(12, 60) : groove === 'rings' ? random.uniform(3, 26) : random.uniform(5, 40);
    const depth = (groove === 'rays' ? 0.25 : 0.5) * scaled(random, 0.15, 1) / pitch;
    const skew = groove === 'across' ? random.uniform(-0.3, 0.3) : 0;
    const finish = pick(random, ['smooth', 'cast', 'turned', 'brushed'] as const);
    const grit = stage.field(random.uniform(0.03, 0.1), 3, 0.8);
    const haze = stage.field(random.uniform(0.3, 1), 4, 0.6);
    const [relief, dirt, mottle] = [scaled(random, 0.0002, 0.003), random.uniform(0.01, 0.1), random.uniform(0.01, 0.08)];
    const row = drawRow(stage, long, width, main);
    const hasPrint = chance(random, 0.45);
    const print = textPrint(pick(random, ['A', 'B', 'H', 'R', 'S', 'V', 'XL', 'OK', 'TE']) + random.integer(1, 9999), random.uniform(1, 1.8));
    const letter = Math.min(0.34 * width, 1.1 / print.width) * random.uniform(0.55, 1);
    const ink = pick(random, inks);
    const [printX, printY] = [random.uniform(-0.25, 0.25) * (long ? 1 : 0.4), random.uniform(-0.3, 0.3) * width];
    surface.core = { colour: blend(main.colour, srgb(200, 196, 186), main.metal ? 0.1 : 0.4), rough: main.metal ? 0.3 : 0.8, metal: main.metal };
    for (let i = 0; i < surface.count; i++) {
      const [x, y] = [u[i], v[i]];
      const edge = outline(x, y);
      if (edge < 0) continue;
      const r = length(x, y);
      if (bore && r < bore && !blind) continue;
      let h: number;
      if (profile === 'round') h = thick * 0.3 + Math.sqrt(Math.max(0, edge * (2 * width - Math.min(edge, width))));
      else {
        h = thick - bevel * 0.7 * smoothstep(bevel, 0, edge);
        if (profile === 'dome') h += 0.3 * thick * (1 - smoothstep(0, width, r));
        else if (profile === 'dish') h -= 0.3 * thick * (1 - smoothstep(0.2 * width, 0.9 * width, r));
        else if (profile === 'rim') h -= 0.4 * thick * smoothstep(0.1, 0.16, edge);
      }
      const outer = zone === 'outside' ? r > zoneAt : zone === 'half' ? x > zoneFrom : zone === 'band' ? Math.abs(x - zoneFrom) < 0.3 * zoneAt : zone === 'edge' ? edge < 0.3 * zoneAt : false;
      let material = outer ? other : main;
      if (outer) h += step;
      const along = groove === 'rings' ? r : x;
      if (groove !== 'none' && along > grooveFrom && along < grooveTo) {
        const turn = groove === 'rings' ? r * pitch : groove === 'rays' ? (angleOf(x, y) / TAU) * pitch : groove === 'along' ? (y * pitch) / 2 : (x + skew * y) * pitch;
        h += depth * (Math.abs(turn - Math.floor(turn) - 0.5) * 4 - 1) * smoothstep(0, 0.04, Math.min(along - grooveFrom, grooveTo - along));
      }
      let shade = 1;
      if (bore && r < bore + 0.04) {
        h -= 0.03 * smoothstep(bore + 0.04, bore, r);
        if (r < bore) {
          h -= Math.min(thick * 0.8, 0.2) * smoothstep(bore, bore * 0.9, r);
          shade = 0.8;
        }
      }
      let near = 9;
      for (const place of row.places) {
        const [dx, dy] = [x - place.x, y - place.y];
        near = Math.min(near, row.square ? Math.max(Math.abs(dx), Math.abs(dy)) : length(dx, dy));
      }
      if (near < row.size) {
        if (row.make === 'hole') continue;
        const rise = smoothstep(row.size, row.size * 0.75, near);
        material = row.material;
        if (row.make === 'pocket') h -= 0.1 * rise;
        else if (row.make === 'stud') h += 0.08 * rise;
        else if (row.make === 'pin') h += 0.4 * row.size * Math.sqrt(Math.max(0, 1 - (near / row.size) * (near / row.size)));
      }
      const tool = finish === 'turned' && !long ? noise.at(r * 80, angleOf(x, y) * 0.8) + 0.6 * noise.at(r * 180, angleOf(x, y) * 1.4) : finish === 'brushed' || finish === 'turned' ? noise.at(x * 3, y * 70) + 0.6 * noise.at(x * 5, y * 150) : finish === 'cast' ? 2 * grit[i] : 0.3 * grit[i];
      surface.height[i] = scale * (Math.max(h, 0.02) + relief * tool);
      surface.paint(i, material.colour, clamp(shade * (1 + mottle * haze[i] + 0.02 * tool - dirt * Math.max(0, haze[i])), 0.1, 1.4), clamp(material.rough + 0.04 * haze[i], 0.1, 0.95), material.metal);
      surface.soft[i] = material.soft;
      surface.part[i] = 1;
      if (hasPrint) {
        const text = print.at((x - printX) / letter + print.width / 2, (y - printY) / letter + 0.5);
        if (text > 0) surface.tint(i, ink, 0.9 * text);
      }
    }
  },
});

export const cross = machinePart('cross');
export const disc = machinePart('disc');
export const knob = machinePart('knob');
export const panel = machinePart('panel');
export const prism = machinePart('prism');
export const rod = machinePart('rod');
export const shaft = machinePart('shaft');
