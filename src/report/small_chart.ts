import { escapeXml } from './chart.ts';

/** A line, or a step of a histogram with the area under it. */
export interface SmallSeries {
  readonly points: readonly (readonly [x: number, y: number])[];
  /** A CSS colour, such as the variable of a page: it then follows the page's light or dark scheme. */
  readonly colour: string;
  readonly filled?: boolean;
  readonly dashed?: boolean;
}

/** A position on an axis with its label. */
export type Tick = readonly [value: number, text: string];

/** A chart of a few square centimetres that stands beside others of its kind: axes and ticks are given, so that all have the same. */
export interface SmallChart {
  /** What it shows, for readers who cannot see it. */
  readonly label: string;
  readonly xLabel: string;
  readonly xRange: readonly [number, number];
  readonly yRange: readonly [number, number];
  readonly xTicks: readonly Tick[];
  readonly yTicks: readonly Tick[];
  readonly series: readonly SmallSeries[];
  /** A vertical line with words beside it. */
  readonly mark?: { readonly x: number; readonly text: string };
  /** Stands in the middle of a chart that has nothing to show. */
  readonly note?: string;
}

const width = 250;
const height = 190;
const frame = { left: 42, right: 240, top: 8, bottom: 152 };

/** A number of SVG coordinates: two digits behind the point. */
function coordinate(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** Points at equal distances become a staircase whose steps are as wide as that distance. */
export function steps(values: readonly number[], [low, high]: readonly [number, number]): [number, number][] {
  const step = (high - low) / values.length;
  return values.flatMap((value, i): [number, number][] => [
    [low + i * step, value],
    [low + (i + 1) * step, value],
  ]);
}

/**
 * A small chart as SVG inside an HTML page. Colours of axes and text are the CSS variables --ink, --quiet, --line and --paper of
 * the page. Values outside the ranges are drawn on the frame.
 */
export function smallChart({ label, xLabel, xRange, yRange, xTicks, yTicks, series, mark, note }: SmallChart): string {
  const place = (value: number, [low, high]: readonly [number, number], from: number, to: number): number => from + Math.min(1, Math.max(0, (value - low) / (high - low))) * (to - from);
  const px = (x: number): string => coordinate(place(x, xRange, frame.left, frame.right));
  const py = (y: number): string => coordinate(place(y, yRange, frame.bottom, frame.top));
  const parts: string[] = [];
  for (const [value, text] of xTicks) {
    parts.push(`<path class="grid" d="M${px(value)} ${frame.top}V${frame.bottom}"/><text x="${px(value)}" y="${frame.bottom + 15}" text-anchor="middle">${escapeXml(text)}</text>`);
  }
  for (const [value, text] of yTicks) {
    parts.push(`<path class="grid" d="M${frame.left} ${py(value)}H${frame.right}"/><text x="${frame.left - 6}" y="${coordinate(Number(py(value)) + 3.5)}" text-anchor="end">${escapeXml(text)}</text>`);
  }
  for (const { points, colour, filled, dashed } of series) {
    if (!points.length) continue;
    const line = points.map(([x, y], i) => `${i ? 'L' : 'M'}${px(x)} ${py(y)}`).join('');
    if (filled) parts.push(`<path d="${line}V${frame.bottom}L${px(points[0][0])} ${frame.bottom}Z" style="fill:${colour}" fill-opacity="0.22"/>`);
    parts.push(`<path d="${line}" class="line" style="stroke:${colour}"${dashed ? ' stroke-dasharray="3 3"' : ''}/>`);
  }
  parts.push(`<rect x="${frame.left}" y="${frame.top}" width="${frame.right - frame.left}" height="${frame.bottom - frame.top}" class="frame"/>`);
  if (mark) {
    const x = Number(px(mark.x));
    const onTheLeft = x > (frame.left + frame.right) / 2;
    parts.push(`<path d="M${px(mark.x)} ${frame.top}V${frame.bottom}" class="mark"/><text x="${coordinate(x + (onTheLeft ? -4 : 4))}" y="${frame.top + 11}"${onTheLeft ? ' text-anchor="end"' : ''} class="halo">${escapeXml(mark.text)}</text>`);
  }
  if (note !== undefined) parts.push(`<text x="${(frame.left + frame.right) / 2}" y="${(frame.top + frame.bottom) / 2 + 4}" text-anchor="middle" class="halo">${escapeXml(note)}</text>`);
  parts.push(`<text x="${(frame.left + frame.right) / 2}" y="${height - 5}" text-anchor="middle">${escapeXml(xLabel)}</text>`);
  return `<svg class="chart" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeXml(label)}">${parts.join('')}</svg>`;
}
