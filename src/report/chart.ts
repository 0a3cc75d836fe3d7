/** One line of a chart. */
export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  /** Fainter, for raw values behind a smoothed line. */
  readonly faint?: boolean;
  readonly dashed?: boolean;
}

/** A line chart. */
export interface LineChart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
  /** Limits of the axes; default: those of the points. */
  readonly xRange?: readonly [number, number];
  readonly yRange?: readonly [number, number];
  readonly logX?: boolean;
  readonly logY?: boolean;
  readonly width?: number;
  readonly height?: number;
}

/** Okabe and Ito's colours, which stay apart for colour-blind eyes, on light and dark backgrounds. */
export const chartColours = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000'] as const;

/** Text that is safe inside XML and HTML. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

/** Numbers for people: three significant digits, no trailing zeros, exponents only where they are shorter. */
export function formatTick(value: number): string {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(1).replace(/\.0e/, 'e').replace('e+', 'e');
  return String(Number(value.toPrecision(4)));
}

/** Round values between `low` and `high`: 1, 2 or 5 times a power of ten apart. */
export function ticks(low: number, high: number, most = 6): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw * 0.999)!;
  const result: number[] = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) result.push(Number((i * step).toPrecision(12)));
  return result;
}

/** Powers of ten in a range, thinned to at most ten. */
export function logTicks(low: number, high: number): number[] {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const step = Math.max(1, Math.ceil((last - first + 1) / 10));
  return Array.from({ length: Math.max(0, Math.floor((last - first) / step) + 1) }, (_, i) => 10 ** (first + i * step));
}

/** At most so many points a line: more than a screen has columns only makes the file large. */
const mostPoints = 2000;

/** A line chart as a self-contained SVG document. */
export function lineChart(chart: LineChart): string {
  const { title, xLabel, yLabel, series, logX = false, logY = false, width = 720, height = 420 } = chart;
  const margin = { left: 66, right: 18, top: 40, bottom: 50 };
  const usable = (value: number, log: boolean): boolean => Number.isFinite(value) && (!log || value > 0);
  const shown = series.map(({ points, ...rest }) => {
    const kept = points.filter(([x, y]) => usable(x, logX) && usable(y, logY));
    const stride = Math.ceil(kept.length / mostPoints);
    return { ...rest, points: kept.filter((_, i) => i % stride === 0 || i === kept.length - 1) };
  });
  const range = (axis: 0 | 1, log: boolean, given?: readonly [number, number]): [number, number] => {
    if (given) return [given[0], given[1]];
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (const { points } of shown) {
      for (const point of points) {
        low = Math.min(low, point[axis]);
        high = Math.max(high, point[axis]);
      }
    }
    if (!(low <= high)) return log ? [0.1, 1] : [0, 1];
    if (low === high) return log ? [low / 2, high * 2] : [low - 0.5, high + 0.5];
    // Lines that touch the frame are hard to see; a zero base is kept.
    const room = (high - low) * 0.04;
    return log || axis === 0 ? [low, high] : [low >= 0 && low < room * 4 ? 0 : low - room, high + room];
  };
  const [x0, x1] = range(0, logX, chart.xRange);
  const [y0, y1] = range(1, logY, chart.yRange);
  const scale = (value: number, low: number, high: number, log: boolean): number => (log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const left = margin.left;
  const right = width - margin.right;
  const top = margin.top;
  const bottom = height - margin.bottom;
  const px = (x: number): number => Number((left + scale(x, x0, x1, logX) * (right - left)).toFixed(2));
  const py = (y: number): number => Number((bottom - scale(y, y0, y1, logY) * (bottom - top)).toFixed(2));
  const parts: string[] = [];
  for (const value of logX ? logTicks(x0, x1) : ticks(x0, x1)) {
    parts.push(`<line x1="${px(value)}" y1="${top}" x2="${px(value)}" y2="${bottom}" class="grid"/><text x="${px(value)}" y="${bottom + 18}" text-anchor="middle">${formatTick(value)}</text>`);
  }
  for (const value of logY ? logTicks(y0, y1) : ticks(y0, y1)) {
    parts.push(`<line x1="${left}" y1="${py(value)}" x2="${right}" y2="${py(value)}" class="grid"/><text x="${left - 8}" y="${py(value) + 4}" text-anchor="end">${formatTick(value)}</text>`);
  }
  parts.push(`<rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}" fill="none" stroke="#888"/>`);
  shown.forEach(({ points, faint, dashed }, i) => {
    if (!points.length) return;
    const path = points.map(([x, y], p) => `${p ? 'L' : 'M'}${px(x)} ${py(y)}`).join('');
    parts.push(`<path d="${path}" fill="none" stroke="${chartColours[i % chartColours.length]}" stroke-width="${faint ? 1 : 2}" stroke-opacity="${faint ? 0.35 : 1}"${dashed ? ' stroke-dasharray="6 4"' : ''} clip-path="url(#frame)"/>`);
  });
  // One row of names per line, in the corner with the fewest points under it.
  const named = shown.map(({ name, faint }, i) => ({ name, faint, colour: chartColours[i % chartColours.length] })).filter(({ name }) => name !== '');
  const legendWidth = 34 + 7 * Math.max(0, ...named.map(({ name }) => name.length));
  const legendHeight = 8 + 18 * named.length;
  const corners = [
    [right - legendWidth - 8, top + 8],
    [left + 8, top + 8],
    [right - legendWidth - 8, bottom - legendHeight - 8],
    [left + 8, bottom - legendHeight - 8],
  ];
  const crowd = ([cx, cy]: number[]): number =>
    shown.reduce((sum, { points }) => sum + points.filter(([x, y]) => px(x) > cx - 6 && px(x) < cx + legendWidth + 6 && py(y) > cy - 6 && py(y) < cy + legendHeight + 6).length, 0);
  if (named.length > 1) {
    const [cx, cy] = corners.reduce((best, corner) => (crowd(corner) < crowd(best) ? corner : best));
    parts.push(`<rect x="${cx}" y="${cy}" width="${legendWidth}" height="${legendHeight}" fill="#fff" fill-opacity="0.85" stroke="#ccc"/>`);
    named.forEach(({ name, colour, faint }, i) => {
      const y = cy + 14 + 18 * i;
      parts.push(`<line x1="${cx + 8}" y1="${y}" x2="${cx + 26}" y2="${y}" stroke="${colour}" stroke-width="3" stroke-opacity="${faint ? 0.4 : 1}"/><text x="${cx + 32}" y="${y + 4}">${escapeXml(name)}</text>`);
    });
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" fill="#222">
<style>.grid{stroke:#ddd}</style>
<defs><clipPath id="frame"><rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"/></clipPath></defs>
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="${width / 2}" y="24" text-anchor="middle" font-size="15" font-weight="600">${escapeXml(title)}</text>
${parts.join('\n')}
<text x="${(left + right) / 2}" y="${height - 12}" text-anchor="middle">${escapeXml(xLabel)}</text>
<text x="16" y="${(top + bottom) / 2}" text-anchor="middle" transform="rotate(-90 16 ${(top + bottom) / 2})">${escapeXml(yLabel)}</text>
</svg>
`;
}
