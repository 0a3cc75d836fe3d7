// A populated circuit board: traces under solder mask, chips with legs, passives with solder joints, vias and print.
import type { Category } from '../category.ts';
import { around } from '../defects/site.ts';
import { blend, type Rgb, srgb, vary } from '../render/colour.ts';
import { chance, clamp, cosine, length, pick, sine, smoothstep, TAU } from '../render/numbers.ts';
import { textPrint } from '../render/print.ts';
import type { Stage } from '../render/stage.ts';

const masks: readonly Rgb[] = [srgb(24, 84, 52), srgb(20, 70, 46), srgb(26, 56, 110), srgb(34, 36, 38), srgb(86, 24, 28)];

/** What sits in a cell of the board's raster. */
interface Part {
  readonly kind: 'chip' | 'resistor' | 'capacitor' | 'can';
  readonly x: number;
  readonly y: number;
  /** Quarter turns. */
  readonly turn: number;
  readonly width: number;
  readonly height: number;
  readonly text: string;
}

const raster = 0.42;

export const circuitBoard: Category = {
  name: 'circuit_board',
  kind: 'texture',
  defects: ['missing_part', 'misplaced_part', 'scratch', 'crack', 'stain', 'foreign_fibre', 'colour_change', 'hole'],
  build(stage) {
    const { surface, random } = stage;
    const { u, v, scale, pose } = stage.place({ scale: [0.95, 1.25] });
    const [c, s] = [cosine(pose.angle) * scale, sine(pose.angle) * scale];
    /** Samples within a radius of a point of the board, with their offset from it in the board's directions. */
    const near = (x: number, y: number, radius: number, visit: (i: number, dx: number, dy: number) => void): void =>
      around(surface, pose.x + x * c - y * s, pose.y + x * s + y * c, radius * scale * 1.12, (i) => visit(i, u[i] - x, v[i] - y));
    const mask = vary(random, pick(random, masks), 0.1, 0.04);
    const copper = blend(mask, srgb(150, 130, 60), 0.22);
    const tin = vary(random, pick(random, [srgb(196, 196, 194), srgb(196, 196, 194), srgb(206, 176, 104)]), 0.05, 0.01);
    const fibre = stage.field(0.05, 2, 0.8);
    const dust = stage.field(0.6, 4, 0.6);
    const print = srgb(226, 226, 220);
    surface.core = { colour: srgb(196, 150, 100), rough: 0.5, metal: 0.5 };
    for (let i = 0; i < surface.count; i++) {
      surface.height[i] = scale * 0.0006 * fibre[i];
      surface.paint(i, mask, clamp(1 + 0.05 * fibre[i] + 0.05 * dust[i], 0.3, 1.5), 0.34, 0);
      surface.soft[i] = 0.1;
      surface.part[i] = 1;
    }
    // Copper shows lighter through the mask: traces in eight directions.
    for (let k = 0; k < 46; k++) {
      let [x, y] = [Math.round(random.uniform(-1.3, 1.3) / 0.07) * 0.07, Math.round(random.uniform(-1.3, 1.3) / 0.07) * 0.07];
      let direction = random.integer(0, 7);
      const width = pick(random, [0.012, 0.012, 0.018, 0.03]);
      for (let leg = random.integer(2, 4); leg > 0; leg--) {
        const reach = random.uniform(0.12, 0.55);
        const [dx, dy] = [cosine((direction * TAU) / 8), sine((direction * TAU) / 8)];
        near(x + (dx * reach) / 2, y + (dy * reach) / 2, reach / 2 + 0.03, (i, px, py) => {
          const t = clamp(px * dx + py * dy, -reach / 2, reach / 2);
          if (length(px - t * dx, py - t * dy) > width) return;
          surface.height[i] = scale * 0.005;
          surface.paint(i, copper, clamp(1 + 0.05 * dust[i], 0.3, 1.5), 0.3, 0.1);
        });
        [x, y] = [x + dx * reach, y + dy * reach];
        direction = (direction + pick(random, [1, 7])) % 8;
      }
      drawVia(x, y);
    }
    function drawVia(x: number, y: number): void {
      near(x, y, 0.035, (i, dx, dy) => {
        const r = length(dx, dy);
        if (r > 0.035) return;
        surface.height[i] = scale * (r < 0.014 ? -0.03 : 0.006);
        surface.paint(i, tin, r < 0.014 ? 0.15 : 1, 0.35, r < 0.014 ? 0 : 0.9);
      });
    }
    const parts = layOut(stage);
    const fault = stage.fault;
    const central = parts.filter((part) => Math.max(Math.abs(part.x * c - part.y * s + pose.x), Math.abs(part.x * s + part.y * c + pose.y)) < 0.75);
    const chosen = fault && central.length ? pick(fault.random, central) : undefined;
    for (const part of parts) {
      drawPads(part);
      if (fault && part === chosen) {
        if (fault.kind === 'missing_part') continue;
        const turn = fault.random.uniform(0.15, 0.6) * (0.5 + fault.severity) * (chance(fault.random, 0.5) ? 1 : -1);
        const away = fault.random.uniform(0, TAU);
        drawBody(part, turn, 0.06 * (0.4 + fault.severity) * cosine(away), 0.06 * (0.4 + fault.severity) * sine(away));
      } else drawBody(part, 0, 0, 0);
    }

    /** Calls back in the part's own directions. */
    function inPart(part: Part, extra: number, offX: number, offY: number, visit: (i: number, x: number, y: number) => void): void {
      const angle = (part.turn * TAU) / 4 + extra;
      const [pc, ps] = [cosine(angle), sine(angle)];
      near(part.x + offX, part.y + offY, length(part.width, part.height) + 0.12, (i, dx, dy) => visit(i, dx * pc + dy * ps, dy * pc - dx * ps));
    }

    function drawPads(part: Part): void {
      const label = textPrint(part.text, 1.1);
      const letter = 0.045;
      inPart(part, 0, 0, 0, (i, x, y) => {
        if (part.kind === 'chip') {
          const pitch = 0.075;
          const leg = y / pitch - Math.floor(y / pitch) - 0.5;
          if (Math.abs(Math.abs(x) - part.width - 0.05) < 0.035 && Math.abs(leg) < 0.3 && Math.abs(y) < part.height - 0.02) pad(i, x, y);
        } else if (Math.abs(Math.abs(x) - part.width) < 0.035 && Math.abs(y) < part.height + 0.012) pad(i, x, y);
        else if (part.kind === 'can' && length(x, y) < part.width + 0.035 && length(x, y) > part.width + 0.02) ink(i, 1);
        const text = label.at((x + (label.width * letter) / 2) / letter, (y - part.height - 0.03) / letter);
        if (text > 0 && part.kind !== 'chip') ink(i, text);
      });
    }
    function pad(i: number, x: number, y: number): void {
      surface.height[i] = scale * (0.008 + 0.004 * sine(x * 40) * sine(y * 40));
      surface.paint(i, tin, 0.95 + 0.06 * dust[i], 0.3, 1);
    }
    function ink(i: number, amount: number): void {
      surface.tint(i, print, amount);
      surface.rough[i] = 0.7;
      surface.metal[i] *= 1 - amount;
    }

    function drawBody(part: Part, extra: number, offX: number, offY: number): void {
      const label = textPrint(part.text, 1.2);
      const letter = part.kind === 'chip' ? Math.min(0.08, (part.height * 1.7) / label.width) : 0.06;
      inPart(part, extra, offX, offY, (i, x, y) => {
        const [ax, ay] = [Math.abs(x), Math.abs(y)];
        if (part.kind === 'chip') {
          const pitch = 0.075;
          const leg = y / pitch - Math.floor(y / pitch) - 0.5;
          if (ax > part.width && ax < part.width + 0.075 && Math.abs(leg) < 0.2 && ay < part.height - 0.02) {
            // A leg bends down to its pad.
            surface.height[i] = scale * (0.075 - 0.055 * smoothstep(part.width + 0.01, part.width + 0.055, ax));
            surface.paint(i, tin, 1, 0.25, 1);
          } else if (ax <= part.width && ay <= part.height) {
            const edge = Math.min(part.width - ax, part.height - ay);
            surface.height[i] = scale * (0.13 - 0.04 * smoothstep(0.025, 0, edge) + 0.0009 * fibre[i]);
            const notch = length(x, y + part.height - 0.06) < 0.025 || (x < -part.width + 0.07 && y < -part.height + 0.07 && length(x + part.width - 0.055, y + part.height - 0.055) < 0.02);
            surface.paint(i, srgb(40, 40, 42), notch ? 0.6 : 1 + 0.06 * dust[i], 0.55, 0);
            const text = Math.max(label.at((y + (label.width * letter) / 2) / letter, (-x + letter * 0.5) / letter));
            if (text > 0) surface.tint(i, srgb(150, 150, 148), 0.75 * text);
          }
        } else if (part.kind === 'can') {
          const r = length(x, y);
          if (r > part.width) return;
          const rim = smoothstep(part.width - 0.03, part.width - 0.01, r);
          surface.height[i] = scale * (0.3 + 0.012 * rim - 0.04 * smoothstep(part.width - 0.015, part.width, r));
          surface.paint(i, x < -part.width * 0.45 && r < part.width - 0.02 ? srgb(36, 36, 40) : srgb(190, 190, 192), 1, 0.32, x < -part.width * 0.45 ? 0 : 1);
        } else if (ax < part.width + 0.03 && ay < part.height) {
          const end = ax > part.width * 0.62;
          const edge = Math.min(part.width + 0.03 - ax, part.height - ay);
          surface.height[i] = scale * ((part.kind === 'resistor' ? 0.05 : 0.08) - 0.03 * smoothstep(0.018, 0, edge) + (end ? 0.008 : 0));
          if (end) surface.paint(i, srgb(200, 200, 198), 1, 0.3, 1);
          else surface.paint(i, part.kind === 'resistor' ? srgb(34, 34, 38) : srgb(166, 128, 88), 1 + 0.04 * dust[i], 0.45, 0);
        }
      });
      // Solder creeps up at the ends of passives.
      if (part.kind !== 'resistor' && part.kind !== 'capacitor') return;
      inPart(part, 0, 0, 0, (i, x, y) => {
        const d = Math.abs(x) - part.width - 0.03;
        if (d < 0 || d > 0.035 || Math.abs(y) > part.height) return;
        surface.height[i] = Math.max(surface.height[i], scale * 0.045 * (1 - d / 0.035) * (1 - d / 0.035));
        surface.paint(i, tin, 1, 0.18, 1);
      });
    }
  },
};

/** Puts parts in the cells of a raster, chips over several cells. */
function layOut({ random }: Stage): Part[] {
  const parts: Part[] = [];
  const cells = 7;
  const taken = new Set<string>();
  const free = (x: number, y: number, w: number, h: number): boolean => {
    for (let j = 0; j < h; j++) for (let i = 0; i < w; i++) if (x + i >= cells || y + j >= cells || taken.has(`${x + i},${y + j}`)) return false;
    return true;
  };
  const centre = (cell: number, span: number): number => (cell + span / 2 - cells / 2) * raster;
  for (let k = 0; k < 4; k++) {
    const [x, y] = [random.integer(0, cells - 2), random.integer(0, cells - 2)];
    if (!free(x, y, 2, 2)) continue;
    for (const [i, j] of [[0, 0], [1, 0], [0, 1], [1, 1]]) taken.add(`${x + i},${y + j}`);
    parts.push({ kind: 'chip', x: centre(x, 2), y: centre(y, 2), turn: random.integer(0, 3), width: random.uniform(0.17, 0.24), height: random.uniform(0.26, 0.34), text: `${pick(random, ['LM', 'TL', 'SN', 'AT', 'MAX'])}${random.integer(100, 999)}` });
  }
  for (let y = 0; y < cells; y++) {
    for (let x = 0; x < cells; x++) {
      if (taken.has(`${x},${y}`)) continue;
      const roll = random.uniform();
      const turn = random.integer(0, 1);
      if (roll < 0.12) parts.push({ kind: 'can', x: centre(x, 1), y: centre(y, 1), turn: random.integer(0, 3), width: random.uniform(0.12, 0.17), height: 0.17, text: '' });
      else if (roll < 0.72) {
        const count = random.integer(1, 2);
        for (let k = 0; k < count; k++) {
          const off = count === 1 ? 0 : (k - 0.5) * raster * 0.5;
          const capacitor = chance(random, 0.5);
          parts.push({ kind: capacitor ? 'capacitor' : 'resistor', x: centre(x, 1) + (turn ? off : 0), y: centre(y, 1) + (turn ? 0 : off), turn, width: random.uniform(0.065, 0.085), height: random.uniform(0.04, 0.055), text: `${capacitor ? 'C' : 'R'}${random.integer(1, 99)}` });
        }
      }
    }
  }
  return parts;
}
