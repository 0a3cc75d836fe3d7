import { chartColours, escapeXml, formatTick, logTicks } from './chart.ts';

/** One measured kernel. */
export interface RooflinePoint {
  /** The computation: op, case, type. Ways to compute the same have one number. */
  readonly name: string;
  /** How it is computed; each way has its look. */
  readonly variant: string;
  /** Operations and bytes that the computation needs at least. */
  readonly flops: number;
  readonly bytes: number;
  readonly milliseconds: number;
}

/** What a roofline plot shows. */
export interface RooflineChart {
  readonly title: string;
  /** GB/s of a copy. */
  readonly gigabytes: number;
  /** GFLOP/s of multiply-adds. */
  readonly gigaflops: number;
  readonly points: readonly RooflinePoint[];
}

const width = 1240;
const frame = { left: 70, right: 1220, top: 48, bottom: 600 };
/** Height of a line of the list below the plot. */
const lineHeight = 16;
/** Width of a letter of the list, on average, in pixels; a little more than it is. */
const letterWidth = 5.8;
/** Radius of a mark. */
const radius = 4.5;

/** A rectangle that a label or a mark takes. */
interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

function coordinate(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function overlap(a: Box, b: Box): number {
  return Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
}

function boxAround(x: number, y: number, halfWidth: number, halfHeight: number): Box {
  return { left: x - halfWidth, right: x + halfWidth, top: y - halfHeight, bottom: y + halfHeight };
}

/** A mark of one of four shapes. */
function mark(shape: number, x: number, y: number, colour: string): string {
  const at = (dx: number, dy: number): string => `${coordinate(x + dx * radius)} ${coordinate(y + dy * radius)}`;
  const style = `fill="${colour}" stroke="#fff"`;
  if (shape === 0) return `<circle cx="${coordinate(x)}" cy="${coordinate(y)}" r="${radius}" ${style}/>`;
  const corners = [
    [at(-0.9, -0.9), at(0.9, -0.9), at(0.9, 0.9), at(-0.9, 0.9)],
    [at(0, -1.25), at(1.25, 0), at(0, 1.25), at(-1.25, 0)],
    [at(0, -1.2), at(1.15, 0.9), at(-1.15, 0.9)],
  ][shape - 1];
  return `<path d="M${corners.join('L')}Z" ${style}/>`;
}

/** Round values on a logarithmic axis: powers of ten, and 2 and 5 times them where few of those are in the range. */
function axisTicks(low: number, high: number): number[] {
  if (high / low > 300) return logTicks(low, high);
  return logTicks(low / 10, high * 10)
    .flatMap((power) => [power, 2 * power, 5 * power])
    .map((value) => Number(value.toPrecision(3)))
    .filter((value) => value >= low && value <= high);
}

/**
 * A roofline plot (Williams, Waterman and Patterson 2009) as a self-contained SVG document: each kernel by its arithmetic
 * intensity and rate, under what the adapter can do at most. Computations are numbered, with a list below; the ways to compute one stand
 * above each other. What has no arithmetic has no intensity; it stands on the left edge, as far below the copy rate as it is.
 */
export function rooflineChart({ title, gigabytes, gigaflops, points }: RooflineChart): string {
  const intensity = ({ flops, bytes }: RooflinePoint): number => flops / bytes;
  const ridge = gigaflops / gigabytes;
  const computing = points.filter(({ flops }) => flops > 0);
  const x0 = Math.min(ridge / 20, ...computing.map(intensity)) / 2;
  const x1 = Math.max(ridge * 20, ...computing.map(intensity)) * 2;
  const place = (point: RooflinePoint): [x: number, y: number] => (point.flops > 0 ? [intensity(point), point.flops / point.milliseconds / 1e6] : [x0, (point.bytes / point.milliseconds / 1e6) * x0]);
  const y0 = Math.min(gigabytes * x0, ...points.map((point) => place(point)[1])) / 2;
  const y1 = Math.max(gigaflops, ...points.map((point) => place(point)[1])) * 2;
  const px = (x: number): number => frame.left + (Math.log(x / x0) / Math.log(x1 / x0)) * (frame.right - frame.left);
  const py = (y: number): number => frame.bottom - (Math.log(y / y0) / Math.log(y1 / y0)) * (frame.bottom - frame.top);
  const parts: string[] = [];
  for (const value of axisTicks(x0, x1)) {
    const x = coordinate(px(value));
    parts.push(`<path class="grid" d="M${x} ${frame.top}V${frame.bottom}"/><text x="${x}" y="${frame.bottom + 17}" text-anchor="middle">${formatTick(value)}</text>`);
  }
  for (const value of axisTicks(y0, y1)) {
    const y = py(value);
    parts.push(`<path class="grid" d="M${frame.left} ${coordinate(y)}H${frame.right}"/><text x="${frame.left - 8}" y="${coordinate(y + 4)}" text-anchor="end">${formatTick(value)}</text>`);
  }
  parts.push(`<rect x="${frame.left}" y="${frame.top}" width="${frame.right - frame.left}" height="${frame.bottom - frame.top}" fill="none" stroke="#888"/>`);
  const [ridgeX, roofY] = [px(ridge), py(gigaflops)];
  const [slopeX, slopeY] = [px(x0), py(gigabytes * x0)];
  parts.push(`<path d="M${coordinate(slopeX)} ${coordinate(slopeY)}L${coordinate(ridgeX)} ${coordinate(roofY)}H${frame.right}" fill="none" stroke="#222" stroke-width="2"/>`);
  const angle = (Math.atan2(roofY - slopeY, ridgeX - slopeX) * 180) / Math.PI;
  const [middleX, middleY] = [(slopeX + ridgeX) / 2, (slopeY + roofY) / 2];
  const roofText = `multiply-add ${formatTick(Number(gigaflops.toPrecision(3)))} GFLOP/s`;
  parts.push(
    `<text x="${coordinate(middleX)}" y="${coordinate(middleY)}" dy="-7" text-anchor="middle" class="roof" transform="rotate(${coordinate(angle)} ${coordinate(middleX)} ${coordinate(middleY)})">copy ${formatTick(Number(gigabytes.toPrecision(3)))} GB/s</text>`,
    `<text x="${coordinate(ridgeX + 8)}" y="${coordinate(roofY - 7)}" class="roof">${roofText}</text>`,
  );
  // Variants take the colours in turn, then the next shape.
  const colours = chartColours.slice(0, 6);
  const variants = [...new Set(points.map(({ variant }) => variant))];
  const lookOf = (variant: string): { colour: string; shape: number } => {
    const i = variants.indexOf(variant);
    return { colour: colours[i % colours.length], shape: Math.floor(i / colours.length) % 4 };
  };
  const names = [...new Set(points.map(({ name }) => name))];
  const cases = names.map((name) => points.filter((point) => point.name === name).sort((a, b) => a.milliseconds - b.milliseconds));
  const marks = cases.flat().map((point) => {
    const [x, y] = place(point);
    return { point, x: px(x), y: py(y), ...lookOf(point.variant) };
  });
  const taken: Box[] = [
    ...marks.map(({ x, y }) => boxAround(x, y, radius, radius)),
    { left: ridgeX + 6, right: ridgeX + 14 + 1.15 * letterWidth * roofText.length, top: roofY - 18, bottom: roofY },
    // The rotated words, in pieces.
    ...[-2, -1, 0, 1, 2].map((step) => boxAround(middleX + step * 20 * Math.cos((angle * Math.PI) / 180), middleY + step * 20 * Math.sin((angle * Math.PI) / 180) - 10, 12, 10)),
  ];
  const labels: string[] = [];
  cases.forEach(([best, ...others], i) => {
    const [x, y] = [px(place(best)[0]), py(place(best)[1])];
    const halfWidth = 3.2 * String(i + 1).length + 1;
    const candidates = [11, 17, 24, 33, 44, 58, 75].flatMap((distance) =>
      [0, 180, 270, 90, 315, 45, 225, 135, 20, 340, 160, 200, 70, 110, 250, 290].map((degrees) => {
        const [dx, dy] = [Math.cos((degrees * Math.PI) / 180) * (distance + halfWidth - 4), Math.sin((degrees * Math.PI) / 180) * distance];
        const box = boxAround(x + dx, y + dy, halfWidth, 6);
        const outside = box.left < frame.left + 2 || box.right > frame.right - 2 || box.top < frame.top + 2 || box.bottom > frame.bottom - 2;
        return { dx, dy, box, distance, cost: taken.reduce((sum, other) => sum + overlap(box, other), outside ? 1e4 : 0) };
      }),
    );
    const chosen = candidates.reduce((a, b) => (b.cost < a.cost ? b : a));
    taken.push(chosen.box);
    const last = others.at(-1);
    if (last) parts.push(`<path d="M${coordinate(x)} ${coordinate(y)}V${coordinate(py(place(last)[1]))}" stroke="#999" stroke-width="0.7"/>`);
    if (chosen.distance > 17) parts.push(`<path d="M${coordinate(x)} ${coordinate(y)}L${coordinate(x + chosen.dx)} ${coordinate(y + chosen.dy)}" stroke="#555" stroke-width="0.6"/>`);
    labels.push(`<text x="${coordinate(x + chosen.dx)}" y="${coordinate(y + chosen.dy + 3.5)}" text-anchor="middle" class="number">${i + 1}</text>`);
  });
  parts.push(...marks.map(({ point, x, y, colour, shape }) => `<g><title>${escapeXml(`${point.name}, ${point.variant}`)}</title>${mark(shape, x, y, colour)}</g>`), ...labels);

  // What the marks are, in rows of their own below the axis.
  let [keyX, keyY] = [frame.left, frame.bottom + 58];
  for (const variant of variants) {
    const needed = 24 + letterWidth * variant.length;
    if (keyX + needed > frame.right) [keyX, keyY] = [frame.left, keyY + lineHeight];
    const { colour, shape } = lookOf(variant);
    parts.push(`${mark(shape, keyX + 5, keyY - 4, colour)}<text x="${coordinate(keyX + 14)}" y="${keyY}">${escapeXml(variant)}</text>`);
    keyX += needed + 8;
  }

  const rateOf = ({ flops, bytes, milliseconds }: RooflinePoint): string => `${formatTick(Number(((flops || bytes) / milliseconds / 1e6).toPrecision(3)))} ${flops > 0 ? 'GFLOP/s' : 'GB/s'}`;
  const share = ({ flops, bytes, milliseconds }: RooflinePoint): number => Math.max(flops / gigaflops, bytes / gigabytes) / 1e6 / milliseconds;
  const lines = cases.map(([best]) => ({ text: best.name, rate: `${rateOf(best)}, ${(100 * share(best)).toFixed(0)}%, ${best.variant}` }));
  const longest = Math.max(0, ...lines.map(({ text, rate }) => text.length + rate.length));
  const columnWidth = 36 + letterWidth * (longest + 2);
  const columns = Math.max(1, Math.min(Math.floor((width - 40) / columnWidth), Math.ceil(lines.length / 4)));
  const perColumn = Math.ceil(lines.length / columns);
  const listTop = keyY + 46;
  const step = (width - 40) / columns;
  lines.forEach(({ text, rate }, i) => {
    const left = 20 + Math.floor(i / perColumn) * step;
    const y = listTop + (i % perColumn) * lineHeight;
    parts.push(
      `<text x="${coordinate(left + 22)}" y="${y}" text-anchor="end" font-weight="600">${i + 1}</text><text x="${coordinate(left + 30)}" y="${y}">${escapeXml(text)}</text>` +
        `<text x="${coordinate(left + Math.min(step, columnWidth) - 8)}" y="${y}" text-anchor="end">${escapeXml(rate)}</text>`,
    );
  });
  const height = listTop + perColumn * lineHeight + 8;
  const still = points.some(({ flops }) => flops === 0) ? ' Marks on the left edge move data without arithmetic.' : '';
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="11" fill="#222">
<style>.grid{stroke:#ddd}.roof{font-weight:600;font-size:12px}.number{font-size:10px;paint-order:stroke;stroke:#fff;stroke-width:2.5px}</style>
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="${width / 2}" y="28" text-anchor="middle" font-size="15" font-weight="600">${escapeXml(title)}</text>
${parts.join('\n')}
<text x="${(frame.left + frame.right) / 2}" y="${frame.bottom + 36}" text-anchor="middle" font-size="12">FLOP for each byte that must be moved</text>
<text x="20" y="${(frame.top + frame.bottom) / 2}" text-anchor="middle" font-size="12" transform="rotate(-90 20 ${(frame.top + frame.bottom) / 2})">GFLOP/s</text>
<text x="20" y="${listTop - 24}">The fastest of each number, and what share that is of what the adapter could reach.${still}</text>
</svg>
`;
}
