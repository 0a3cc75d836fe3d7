import { join } from 'node:path';
import { writeFileAtomic } from '../io/files.ts';
import { noValue, table } from '../report/table.ts';
import { type EvaluationResults, type Metrics, metricNames } from './results.ts';

/** A metric in percent, as papers print it. */
export function percent(value: number | null): string {
  return value === null ? noValue : (100 * value).toFixed(1);
}

function metricCells(metrics: Metrics): string[] {
  return metricNames.map(([key]) => percent(metrics[key]));
}

/** The table of an evaluation for terminals and Markdown: a row for each class and one for their mean, metrics in percent. */
export function resultsTable({ classes, mean }: EvaluationResults): string {
  const rows = classes.map(({ class: name, normalImages, abnormalImages, metrics }) => [name, String(normalImages), String(abnormalImages), ...metricCells(metrics)]);
  const total = (count: 'normalImages' | 'abnormalImages'): string => String(classes.reduce((sum, part) => sum + part[count], 0));
  return table(['class', 'normal', 'abnormal', ...metricNames.map(([, name]) => name)], [...rows, ['mean', total('normalImages'), total('abnormalImages'), ...metricCells(mean)]]);
}

/** Whether a table has a metric without value, which wants an explanation. */
export function hasUndefined({ classes }: EvaluationResults): boolean {
  return classes.some(({ metrics }) => metricNames.some(([key]) => metrics[key] === null));
}

/** What the dash in a table says. */
export const undefinedNote = `${noValue}: not defined, because the class has no normal or no abnormal images (or pixels); the mean leaves it out.`;

/** Scores in fewer bins than this are too close for streamed pixel metrics to be trusted to the fourth digit. */
const fewBins = 1000;

/** What has to be said below a table: one sentence each. */
export function resultNotes(results: EvaluationResults): string[] {
  const notes = hasUndefined(results) ? [undefinedNote] : [];
  const coarse = results.classes.filter(({ pixelBins }) => pixelBins !== null && pixelBins < fewBins);
  if (coarse.length) {
    notes.push(`Pixel scores so close that they share few bins (${coarse.map(({ class: name, pixelBins }) => `${name}: ${pixelBins}`).join(', ')}): the pixel metrics there are rough. --exact sorts all pixels instead.`);
  }
  return notes;
}

/** `results.md`. */
export function resultsMarkdown(results: EvaluationResults): string {
  const { identity, proLimit } = results;
  const { data, model, exact } = identity;
  const files = model.files ? [`CLIP ${model.files.clip}`, ...(model.files.cnn ? [`CNN ${model.files.cnn}`] : []), model.files.mfp ? `trained model ${model.files.mfp}` : 'no trained model'].join(', ') : '';
  return `# Evaluation

${resultsTable(results)}
Metrics in percent: I- by image, P- by pixel, AUPRO up to a false positive rate of ${proLimit}, over 8-connected regions.
${resultNotes(results)
  .map((note) => `\n${note}\n`)
  .join('')}
- Data: ${data.images} images in the layout of ${data.layout}, fingerprint ${data.fingerprint}
- Model: maps of ${model.size} × ${model.size} pixels, ${model.precision}${files ? `; fingerprints: ${files}` : ''}
- Pixel metrics: ${exact ? 'exact, from all pixels sorted' : 'from histograms of 65,536 bins'}
- mfp-clip ${identity.software}
`;
}

/** A field of a CSV file. */
function field(value: string | number | null): string {
  const text = value === null ? '' : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** `results.csv`: metrics from 0 to 1 in full precision, empty where they have no value. */
export function resultsCsv({ classes, mean }: EvaluationResults): string {
  const cells = (metrics: Metrics): (number | null)[] => metricNames.map(([key]) => metrics[key]);
  const total = (count: 'normalImages' | 'abnormalImages' | 'regions'): number => classes.reduce((sum, part) => sum + part[count], 0);
  const rows = [
    ['class', 'normal', 'abnormal', 'regions', ...metricNames.map(([, name]) => name)],
    ...classes.map(({ class: name, normalImages, abnormalImages, regions, metrics }) => [name, normalImages, abnormalImages, regions, ...cells(metrics)]),
    ['mean', total('normalImages'), total('abnormalImages'), total('regions'), ...cells(mean)],
  ];
  return rows.map((row) => `${row.map(field).join(',')}\n`).join('');
}

/** JSON with lists of numbers, and of pairs of them, on one line: a curve is not worth a hundred lines. */
export function readableJson(value: unknown, indent = ''): string {
  const isShort = (item: unknown): boolean => typeof item !== 'object' || item === null || (Array.isArray(item) && item.every((part) => typeof part === 'number'));
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    if (value.every(isShort)) return JSON.stringify(value);
    return `[\n${value.map((item) => inner + readableJson(item, inner)).join(',\n')}\n${indent}]`;
  }
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  if (!entries.length) return '{}';
  return `{\n${entries.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${readableJson(item, inner)}`).join(',\n')}\n${indent}}`;
}

/** `results.json`. */
export function resultsJson(results: EvaluationResults): string {
  return `${readableJson(results)}\n`;
}

/** Writes `results.json`, `results.csv` and `results.md` into a folder. @throws UserError when it cannot be written */
export async function writeResults(folder: string, results: EvaluationResults): Promise<void> {
  await writeFileAtomic(join(folder, 'results.csv'), resultsCsv(results));
  await writeFileAtomic(join(folder, 'results.md'), resultsMarkdown(results));
  // Last, because whoever waits for the evaluation looks for this one.
  await writeFileAtomic(join(folder, 'results.json'), resultsJson(results));
}
