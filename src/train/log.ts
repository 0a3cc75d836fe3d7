import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { UserError } from '../errors.ts';
import { writeFileAtomic } from '../io/files.ts';
import { lineChart } from '../report/chart.ts';

/** Any line of `log.jsonl`; lines of updates carry a step. */
export interface LogLine {
  readonly step: number;
  readonly [field: string]: unknown;
}

/** `log.jsonl` of a run: one JSON object per line. */
export class RunLog {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** All whole lines; one that a killed run left half-written is not one. */
  lines(): LogLine[] {
    if (!existsSync(this.#file)) return [];
    const result: LogLine[] = [];
    for (const line of readFileSync(this.#file, 'utf8').split('\n')) {
      try {
        result.push(JSON.parse(line) as LogLine);
      } catch {
        // The last line of a killed run.
      }
    }
    return result;
  }

  /** Drops what came after `step`: a resumed run writes it again. */
  async truncate(step: number): Promise<void> {
    const kept = this.lines().filter((line) => line.step <= step);
    await writeFileAtomic(this.#file, kept.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }

  append(line: LogLine): void {
    try {
      appendFileSync(this.#file, `${JSON.stringify(line)}\n`);
    } catch (error) {
      throw new UserError(`cannot write ${this.#file}: ${(error as Error).message}`);
    }
  }
}

/** Mean of the last `window` values at each point. */
function smoothed(points: readonly (readonly [number, number])[], window: number): [number, number][] {
  let sum = 0;
  return points.map(([x, y], i) => {
    sum += y - (i >= window ? points[i - window][1] : 0);
    return [x, sum / Math.min(window, i + 1)];
  });
}

/** The loss curve of a run as SVG: every update's loss, faint, and its running mean. */
export function lossChart(lines: readonly LogLine[], title: string): string {
  const points = lines.filter((line) => typeof line.loss === 'number').map((line) => [line.step, line.loss as number] as const);
  const window = Math.max(1, Math.min(100, Math.round(points.length / 20)));
  return lineChart({
    title,
    xLabel: 'update',
    yLabel: 'loss',
    series: [
      { name: 'loss', points, faint: true },
      { name: `mean of ${window}`, points: smoothed(points, window) },
    ],
  });
}
