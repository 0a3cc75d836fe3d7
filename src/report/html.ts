import { join } from 'node:path';
import type { EvaluationResults, ClassResults, Metrics } from '../eval/results.ts';
import { metricNames } from '../eval/results.ts';
import { percent, resultNotes } from '../eval/tables.ts';
import { writeFileAtomic } from '../io/files.ts';
import { heatColour, heatOpacity } from '../io/heatmap.ts';
import { escapeXml, formatTick, ticks } from './chart.ts';
import type { ClassPanels, Panel, PanelRole } from './panels.ts';
import { type Tick, smallChart, steps } from './small_chart.ts';
import { noValue } from './table.ts';

/** A page that needs nothing else: one style sheet in it, light, dark and on paper. Colours are Okabe and Ito's, or lighter ones of the same hues. */
const styles = `
:root { --paper: #ffffff; --card: #f5f6f8; --ink: #1c2126; --quiet: #5a646e; --line: #d8dde2; --bar: #5b9bc8;
  --normal: #0072b2; --abnormal: #d55e00; --image: #8e4f9e; --pixel: #007f5c; color-scheme: light dark; }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --card: #1d2125; --ink: #e4e8ec; --quiet: #9ba5af; --line: #383f46; --bar: #4f8fb8;
    --normal: #5fb8ee; --abnormal: #f2935a; --image: #d59be4; --pixel: #3fc9a0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 28px 24px 60px; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 27px; line-height: 1.2; }
h2 { margin: 44px 0 12px; font-size: 20px; line-height: 1.3; }
h2 small { margin-left: 8px; color: var(--quiet); font-size: 14px; font-weight: 400; }
p { margin: 8px 0; max-width: 80ch; }
a { color: inherit; text-decoration-color: var(--quiet); text-underline-offset: 2px; }
.quiet, figcaption { color: var(--quiet); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.tile { flex: 1 1 200px; padding: 12px 16px; border-radius: 8px; background: var(--card); }
.tile b { display: block; font-size: 28px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { display: block; color: var(--quiet); font-size: 13px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px 6px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; text-align: left; }
thead th { color: var(--quiet); font-size: 13px; font-weight: 600; }
th.metric { width: 10%; }
td.metric { background: linear-gradient(90deg, var(--bar) var(--share), var(--line) var(--share)) no-repeat right 10px bottom 2px / 52px 3px; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
tbody tr:last-child td { border-top: 2px solid var(--line); border-bottom: 0; font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 12px; }
.charts figure { display: flex; flex-direction: column; justify-content: space-between; margin: 0; padding: 10px 10px 6px; border-radius: 8px; background: var(--card); }
.charts figcaption { display: flex; flex-wrap: wrap; gap: 2px 10px; margin: 0 2px 6px; font-size: 12.5px; }
.charts figcaption b { flex-basis: 100%; color: var(--ink); }
.key::before { content: ""; display: inline-block; width: 14px; height: 3px; margin-right: 5px; vertical-align: 4px; background: var(--colour); -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.chart { display: block; width: 100%; max-width: 330px; margin: 0 auto; height: auto; overflow: visible; font-size: 11px; fill: var(--quiet); }
.chart .grid { stroke: var(--line); fill: none; }
.chart .frame { stroke: var(--quiet); stroke-opacity: .6; fill: none; }
.chart .line { stroke-width: 1.8; stroke-linejoin: round; fill: none; }
.chart .mark { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 4 3; fill: none; }
.chart .halo { fill: var(--ink); stroke: var(--card); stroke-width: 3px; paint-order: stroke; }
.legend { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 10px; margin: 18px 0 8px; font-size: 13px; color: var(--quiet); }
.legend .scale { width: 160px; height: 12px; border-radius: 2px; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(440px, 100%), 1fr)); gap: 12px; }
.panel { margin: 0; padding: 10px; border-radius: 8px; background: var(--card); }
.panel header { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 2px 12px; margin: 0 2px 8px; font-size: 13px; }
.panel header b { font-size: 14px; }
.trio { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; align-items: end; }
.trio div { font-size: 12px; color: var(--quiet); }
.trio svg, .trio img { display: block; width: 100%; height: auto; border-radius: 3px; background: #000; }
.panel figcaption { margin: 6px 2px 0; font-size: 12px; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 12px 0; font-size: 14px; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
pre { padding: 12px 14px; border-radius: 8px; background: var(--card); font-size: 12px; overflow-x: auto; }
@media (max-width: 560px) { body { padding: 18px 14px 40px; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } }
@media print { body { max-width: none; padding: 0 1px; font-size: 12px; } section { break-before: page; } section:last-of-type { break-before: auto; } h2 { margin-top: 0; } .chart { font-size: 14px; } .scroll { overflow: visible; } th, td { padding: 3px 5px 5px; font-size: 11px; } thead th { font-size: 11px; }
  td.metric { background-position: right 5px bottom 1px; background-size: 40px 2px; } .charts { grid-template-columns: repeat(4, 1fr); gap: 6px; } .charts figure { padding: 8px 8px 4px; } .charts figcaption { font-size: 10.5px; } .panels { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  figure, .tile, tr, h2 { break-inside: avoid; } h2, .legend { break-after: avoid; } .charts figure, .panel, .tile { border: 1px solid var(--line); } }
@page { margin: 14mm; }
`;

/** Titles of the panels. */
const roleNames: Record<PanelRole, string> = {
  best: 'Best',
  worst: 'Worst',
  'highest normal': 'Highest score of a normal image',
  'lowest normal': 'Lowest score of a normal image',
};

/** "1 region", "3 regions". */
function counted(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

/** An anchor that any class name gives. */
function anchor(index: number): string {
  return `class-${index + 1}`;
}

function tile({ classes, mean }: EvaluationResults, key: keyof Metrics, name: string): string {
  const known = classes.filter(({ metrics }) => metrics[key] !== null).sort((a, b) => a.metrics[key]! - b.metrics[key]!);
  const ends = known.length > 1 ? `${percent(known[0].metrics[key])} (${known[0].words}) to ${percent(known.at(-1)!.metrics[key])} (${known.at(-1)!.words})` : counted(known.length, 'class', 'classes');
  return `<div class="tile"><span>${name}, mean</span><b>${percent(mean[key])}</b><span>${escapeXml(ends)}</span></div>`;
}

function metricsTable({ classes, mean }: EvaluationResults): string {
  const cells = (metrics: Metrics): string =>
    metricNames.map(([key]) => (metrics[key] === null ? `<td>${noValue}</td>` : `<td class="metric" style="--share:${percent(metrics[key])}%">${percent(metrics[key])}</td>`)).join('');
  const rows = classes.map(
    ({ words, normalImages, abnormalImages, metrics }, i) => `<tr><td><a href="#${anchor(i)}">${escapeXml(words)}</a></td><td>${normalImages}</td><td>${abnormalImages}</td>${cells(metrics)}</tr>`,
  );
  const total = (count: 'normalImages' | 'abnormalImages'): number => classes.reduce((sum, part) => sum + part[count], 0);
  rows.push(`<tr><td>mean</td><td>${total('normalImages')}</td><td>${total('abnormalImages')}</td>${cells(mean)}</tr>`);
  const header = [...['class', 'normal', 'abnormal'].map((name) => `<th>${name}</th>`), ...metricNames.map(([, name]) => `<th class="metric">${name}</th>`)].join('');
  return `<div class="scroll"><table><thead><tr>${header}</tr></thead><tbody>\n${rows.join('\n')}\n</tbody></table></div>`;
}

const unit: readonly Tick[] = [0, 0.2, 0.4, 0.6, 0.8, 1].map((value) => [value, formatTick(value)]);

/** A legend entry of a chart. */
function key(colour: string, text: string): string {
  return `<span class="key" style="--colour:var(--${colour})">${text}</span>`;
}

function chartFigure(title: string, keys: readonly string[], chart: string): string {
  return `<figure><figcaption><b>${title}</b>${keys.join('')}</figcaption>${chart}</figure>`;
}

function rocFigure({ words, curves, metrics }: ClassResults): string {
  const empty = !curves.imageRoc.length && !curves.pixelRoc.length;
  return chartFigure(
    'ROC',
    [key('image', `image ${percent(metrics.imageAuroc)}`), key('pixel', `pixel ${percent(metrics.pixelAuroc)}`)],
    smallChart({
      label: `ROC curves of ${words}: area by image ${percent(metrics.imageAuroc)}, by pixel ${percent(metrics.pixelAuroc)} percent`,
      xLabel: 'false positive rate',
      xRange: [0, 1],
      yRange: [0, 1],
      xTicks: unit,
      yTicks: unit,
      series: [
        { points: [[0, 0], [1, 1]], colour: 'var(--quiet)', dashed: true },
        { points: curves.pixelRoc, colour: 'var(--pixel)' },
        { points: curves.imageRoc, colour: 'var(--image)' },
      ],
      note: empty ? 'not defined' : undefined,
    }),
  );
}

function proFigure({ words, curves, metrics }: ClassResults, limit: number): string {
  return chartFigure(
    'PRO',
    [key('pixel', `AUPRO ${percent(metrics.aupro)}`)],
    smallChart({
      label: `Per-region overlap over false positive rate of ${words}: area ${percent(metrics.aupro)} percent`,
      xLabel: 'false positive rate',
      xRange: [0, limit],
      yRange: [0, 1],
      xTicks: ticks(0, limit, 4).map((value) => [value, formatTick(value)]),
      yTicks: unit,
      series: [{ points: curves.pro, colour: 'var(--pixel)' }],
      note: curves.pro.length ? undefined : 'not defined',
    }),
  );
}

/** The part of the scale from 0 to 1 that a histogram shows: all of it, or where scores lie close, the tenths that hold them. */
function shownScores(low: number, high: number): [number, number] {
  return high - low > 0.4 ? [0, 1] : [Math.floor(low * 10) / 10, Math.min(10, Math.floor(high * 10) + 1) / 10];
}

function scoreTicks([low, high]: readonly [number, number]): Tick[] {
  return ticks(low, high, 5).map((value) => [value, formatTick(value)]);
}

/** Bars of the image histograms. */
const imageBars = 25;

function imageScores({ words, images, f1Thresholds }: ClassResults): string {
  const scores = images.map(({ score }) => score);
  const range = shownScores(Math.min(1, ...scores), Math.max(0, ...scores));
  const counts = (label: 0 | 1): number[] => {
    const bars: number[] = new Array(imageBars).fill(0);
    for (const image of images) if (image.label === label) bars[Math.min(imageBars - 1, Math.floor(((image.score - range[0]) / (range[1] - range[0])) * imageBars))]++;
    return bars;
  };
  const [normal, abnormal] = [counts(0), counts(1)];
  const most = Math.max(1, ...normal, ...abnormal);
  return chartFigure(
    'Image scores',
    [key('normal', 'normal'), key('abnormal', 'abnormal')],
    smallChart({
      label: `Histogram of the image scores of ${words}`,
      xLabel: 'score',
      xRange: range,
      yRange: [0, most * 1.15],
      xTicks: scoreTicks(range),
      yTicks: ticks(0, most, 4).filter(Number.isInteger).map((value) => [value, formatTick(value)]),
      series: [
        { points: steps(normal, range), colour: 'var(--normal)', filled: true },
        { points: steps(abnormal, range), colour: 'var(--abnormal)', filled: true },
      ],
      mark: f1Thresholds.image === null ? undefined : { x: f1Thresholds.image, text: `best F1: ${f1Thresholds.image.toFixed(2)}` },
    }),
  );
}

/** Shares below this are not told apart, as powers of ten. */
const smallestShare = -5;

function pixelScores({ words, distributions: { pixel }, f1Thresholds }: ClassResults): string {
  const parts = pixel.normal.length;
  const used = pixel.normal.flatMap((count, i) => (count + pixel.abnormal[i] > 0 ? [i] : []));
  // The upper end belongs to its part, and must not begin the next tenth.
  const range = shownScores((used[0] ?? 0) / parts, (used.at(-1) ?? parts - 1) / parts);
  const [first, last] = range.map((score) => Math.round(score * parts));
  const shares = (counts: readonly number[]): [number, number][] => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    return total ? steps(counts.slice(first, last).map((count) => Math.max(smallestShare, Math.log10(count / total))), range) : [];
  };
  return chartFigure(
    'Pixel scores',
    [key('normal', 'normal'), key('abnormal', 'defect')],
    smallChart({
      label: `Histogram of the pixel scores of ${words}, as shares on a logarithmic scale`,
      xLabel: 'score',
      xRange: range,
      yRange: [smallestShare, 0.4],
      xTicks: scoreTicks(range),
      yTicks: [[0, '100%'], [-1, '10%'], [-2, '1%'], [-3, '0.1%'], [-4, '0.01%']],
      series: [
        { points: shares(pixel.normal), colour: 'var(--normal)', filled: true },
        { points: shares(pixel.abnormal), colour: 'var(--abnormal)', filled: true },
      ],
      mark: f1Thresholds.pixel === null ? undefined : { x: f1Thresholds.pixel, text: `best F1: ${f1Thresholds.pixel.toFixed(2)}` },
    }),
  );
}

function dataUri(png: Uint8Array): string {
  return `data:image/png;base64,${Buffer.from(png.buffer, png.byteOffset, png.byteLength).toString('base64')}`;
}

function panelFigure(panel: Panel, id: string, threshold: number | null): string {
  const { role, image, width, height, photo, mask, heat } = panel;
  const { label, score, pixelAuroc, defect, file } = image;
  const called = threshold === null ? '' : score >= threshold ? (label ? ', found' : ', false alarm') : label ? ', missed' : '';
  const figures = `score ${score.toFixed(3)}${called}${pixelAuroc === null ? '' : `; pixel AUROC ${percent(pixelAuroc)}`}`;
  const box = `viewBox="0 0 ${width} ${height}" role="img"`;
  const stretched = `width="${width}" height="${height}" preserveAspectRatio="none"`;
  const truth = mask ? `<img src="${dataUri(mask)}" width="${width}" height="${height}" alt="defect of ${escapeXml(file)}">` : `<svg ${box} aria-label="no defect"><text x="${width / 2}" y="${height / 2}" text-anchor="middle" dominant-baseline="middle" font-size="${Math.round(Math.min(width, height) / 12)}" fill="#8b949e">no defect</text></svg>`;
  return `<figure class="panel"><header><b>${roleNames[role]}</b><span>${figures}</span></header><div class="trio">
<div>image<svg ${box} aria-label="${escapeXml(file)}"><image id="${id}" href="${dataUri(photo)}" ${stretched}/></svg></div>
<div>ground truth${truth}</div>
<div>map<svg ${box} aria-label="map of ${escapeXml(file)}"><use href="#${id}"/><image href="${dataUri(heat)}" ${stretched}/></svg></div>
</div><figcaption>${label ? `${escapeXml(defect.replaceAll('_', ' '))}: ` : ''}${escapeXml(file)}</figcaption></figure>`;
}

/** The colours of the maps as a CSS gradient, over the grey of an average photo. */
const scaleGradient = (() => {
  const stops = Array.from({ length: 17 }, (_, i) => {
    const opacity = heatOpacity(i / 16) / heatOpacity(1);
    const [red, green, blue] = heatColour(i / 16).map((channel) => Math.round(128 + (channel - 128) * opacity));
    return `rgb(${red} ${green} ${blue})`;
  });
  return `linear-gradient(90deg, ${stops.join(', ')})`;
})();

function panelSection({ range: [low, high], panels }: ClassPanels, classIndex: number, threshold: number | null): string {
  if (!panels.length) return '';
  return `<div class="legend"><span>Map: ${low.toFixed(2)} and less</span><span class="scale" style="background:${scaleGradient}"></span><span>${high.toFixed(2)} and more</span></div>
<div class="panels">
${panels.map((panel, i) => panelFigure(panel, `photo-${classIndex + 1}-${i + 1}`, threshold)).join('\n')}
</div>`;
}

function classSection(ofClass: ClassResults, index: number, limit: number, panels: ClassPanels | undefined): string {
  const { words, normalImages, abnormalImages, defects, regions, f1Thresholds } = ofClass;
  const kinds = Object.entries(defects).filter(([name]) => name !== 'good').map(([name, count]) => `${name.replaceAll('_', ' ')} ${count}`);
  const found = `${normalImages} normal, ${abnormalImages} abnormal${kinds.length > 1 ? ` (${kinds.join(', ')})` : ''}, ${counted(regions, 'defect region')}`;
  return `<section id="${anchor(index)}"><h2>${escapeXml(words)}<small>${escapeXml(found)}</small></h2>
<div class="charts">
${[rocFigure(ofClass), proFigure(ofClass, limit), imageScores(ofClass), pixelScores(ofClass)].join('\n')}
</div>
${panels ? panelSection(panels, index, f1Thresholds.image) : ''}</section>`;
}

function modelWords({ identity: { model } }: EvaluationResults): string {
  const { files, config } = model;
  const untrained = files !== null && files.mfp === null;
  return untrained ? (config.adapter.enabled ? 'MFP-CLIP, untrained' : 'plain zero-shot CLIP, without a trained model') : 'MFP-CLIP';
}

function measuredSection(results: EvaluationResults): string {
  const { identity: { data, model, exact, software }, proLimit } = results;
  const { files, size, precision, config } = model;
  const entries: [string, string][] = [
    ['Data', `${counted(data.images, 'image')} in the layout of ${data.layout}, fingerprint ${data.fingerprint}`],
    ['Model', `${modelWords(results)}; maps of ${size} × ${size} pixels, ${precision}`],
    ...(files ? ([['Fingerprints', [`CLIP ${files.clip}`, ...(files.cnn ? [`CNN ${files.cnn}`] : []), ...(files.mfp ? [`trained model ${files.mfp}`] : [])].join(', ')]] as [string, string][]) : []),
    ['Metrics', `in percent; I- by image, P- by pixel; AUPRO up to a false positive rate of ${proLimit}, over 8-connected regions; pixels ${exact ? 'sorted exactly' : 'counted in 65,536 bins of their score'}`],
    ['Program', `mfp-clip ${software}`],
  ];
  return `<section><h2>How this was measured</h2>
<dl>${entries.map(([name, text]) => `<dt>${name}</dt><dd>${escapeXml(text)}</dd>`).join('\n')}</dl>
<details><summary>Configuration of the model</summary><pre>${escapeXml(JSON.stringify(config, null, 2))}</pre></details></section>`;
}

/** What a report says of its pictures. */
export type ReportPanels = { readonly panels: readonly ClassPanels[] } | { readonly missing: string };

/**
 * An evaluation as one HTML page that needs no other file, script or network: the table, and for each class its ROC and PRO curves,
 * histograms of scores, and the best and worst images. The same results and pictures give the same bytes.
 *
 * @param pictures the pictures of the classes, or why there are none and how to get them
 */
export function reportHtml(results: EvaluationResults, pictures: ReportPanels): string {
  const { classes, proLimit, identity } = results;
  const panels = 'panels' in pictures ? pictures.panels : [];
  const explained = panels.length
    ? 'For each class: the abnormal images whose pixels are ranked best and worst, and the normal ones with the highest scores. The colours of the maps have one scale within a class, from the median of its normal pixels up.'
    : `No pictures: ${'missing' in pictures ? pictures.missing : ''}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Evaluation: ${escapeXml(classes.map(({ words }) => words).join(', ').slice(0, 80))}</title>
<style>${styles}</style>
</head>
<body>
<h1>Evaluation</h1>
<p class="quiet">${escapeXml(modelWords(results))} on ${counted(identity.data.images, 'image')} of ${counted(classes.length, 'class', 'classes')}</p>
<div class="tiles">${tile(results, 'imageAuroc', 'I-AUROC')}${tile(results, 'pixelAuroc', 'P-AUROC')}${tile(results, 'aupro', 'AUPRO')}</div>
${metricsTable(results)}
<p class="quiet">Metrics in percent: I- by image, P- by pixel.</p>
${resultNotes(results).map((note) => `<p class="quiet">${escapeXml(note)}</p>`).join('\n')}
<p class="quiet">${escapeXml(explained)}</p>
${classes.map((ofClass, i) => classSection(ofClass, i, proLimit, panels.find((part) => part.class === ofClass.class))).join('\n')}
${measuredSection(results)}
</body>
</html>
`;
}

/** Writes `report.html` into a folder. @throws UserError when it cannot be written */
export async function writeReport(folder: string, results: EvaluationResults, pictures: ReportPanels): Promise<void> {
  await writeFileAtomic(join(folder, 'report.html'), reportHtml(results, pictures));
}
