import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { mean, sampleStandardDeviation } from 'simple-statistics';
import { UserError } from '../errors.ts';
import { type DataIdentity, softwareVersion } from '../eval/identity.ts';
import { type EvaluationResults, type Metrics, metricNames } from '../eval/results.ts';
import { type Shard, inShard } from '../eval/state.ts';
import { readableJson } from '../eval/tables.ts';
import { writeFileAtomic } from '../io/files.ts';
import { type RunConfig, defaultRunConfig } from '../train/config.ts';
import { type AblationPlan, type AblationUnit, configDifferences } from './ablation_tables.ts';
import { noValue, table } from './table.ts';

/** What an ablation is made with; all of its units must agree in it. */
export interface AblationSource {
  readonly train: DataIdentity;
  readonly evaluation: DataIdentity;
  /** Hashes of the files. */
  readonly clip: string;
  readonly cnn: string | null;
}

/** What a unit's folder says it is: `unit.json`. */
interface UnitIdentity extends AblationSource {
  readonly software: string;
  readonly config: RunConfig;
}

/** How to run the units. */
export interface AblationOptions {
  readonly plan: AblationPlan;
  readonly source: AblationSource;
  /** A folder for each unit goes here. */
  readonly out: string;
  readonly shard: Shard;
  readonly signal?: AbortSignal;
  /**
   * Trains and evaluates a unit in its folder, which it finds as it left it, and leaves `results.json` there.
   *
   * @returns false when `signal` was aborted before the end
   */
  work(unit: AblationUnit, folder: string): Promise<boolean>;
  /** Called for each unit of the shard: before it is worked on, or when it is there already. */
  onUnit?(unit: AblationUnit, place: { readonly index: number; readonly total: number; readonly done: boolean }): void;
}

function readJson<Content>(file: string): Content {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Content;
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${(error as Error).message}`);
  }
}

/** Whether a unit has been trained and evaluated. */
export function isDone(out: string, { name }: AblationUnit): boolean {
  return existsSync(join(out, name, 'results.json'));
}

/** The metrics of a unit that is done. @throws UserError naming the file when it is damaged */
export function metricsOf(out: string, { name }: AblationUnit): Metrics {
  const file = join(out, name, 'results.json');
  const metrics = readJson<EvaluationResults>(file).mean as Partial<Metrics> | undefined;
  if (typeof metrics !== 'object' || metricNames.some(([key]) => metrics[key] !== null && !Number.isFinite(metrics[key]))) throw new UserError(`${file} has no "mean" with the metrics of an evaluation; delete it, and the unit is run again`);
  return metrics as Metrics;
}

/** @throws UserError when a folder holds the unit of another ablation */
async function claimFolder(folder: string, identity: UnitIdentity): Promise<void> {
  const file = join(folder, 'unit.json');
  if (existsSync(file)) {
    const found = readJson<UnitIdentity>(file);
    const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
    const differences = [
      ...(same(found.software, identity.software) ? [] : [`another version of mfp-clip (${found.software})`]),
      ...(same(found.config, identity.config) ? [] : ['another configuration']),
      ...(same(found.train, identity.train) ? [] : ['another data set to train on']),
      ...(same(found.evaluation, identity.evaluation) ? [] : ['another data set to evaluate on']),
      ...(same(found.clip, identity.clip) ? [] : ['another CLIP']),
      ...(same(found.cnn, identity.cnn) ? [] : ['another CNN']),
    ];
    if (differences.length) throw new UserError(`${folder} belongs to another ablation: ${differences.join(', ')}. Choose another --out, or delete that folder.`);
    return;
  }
  // A run of something else: its files would be taken for this unit's.
  if (existsSync(join(folder, 'config.json')) || existsSync(join(folder, 'results.json'))) throw new UserError(`${folder} holds something else than a unit of an ablation. Choose another --out.`);
  await writeFileAtomic(file, `${JSON.stringify(identity, null, 2)}\n`);
}

/**
 * Works on the units of a shard, one after the other. Those that are there already are left out: the same call goes on where an
 * earlier one stopped.
 *
 * @returns whether all units of the shard are done
 * @throws UserError when a folder holds the unit of another ablation, and what `work` throws
 */
export async function runAblation({ plan, source, out, shard, signal, work, onUnit }: AblationOptions): Promise<boolean> {
  const own = plan.units.filter((_, place) => inShard(shard, place));
  const identityOf = ({ config }: AblationUnit): UnitIdentity => ({ software: softwareVersion, ...source, config });
  // Before the work: a folder of another ablation is found at once, not after the hours of those before it.
  for (const unit of own) if (existsSync(join(out, unit.name))) await claimFolder(join(out, unit.name), identityOf(unit));
  for (const [index, unit] of own.entries()) {
    if (signal?.aborted) return false;
    const done = isDone(out, unit);
    onUnit?.(unit, { index, total: own.length, done });
    if (done) continue;
    const folder = join(out, unit.name);
    await claimFolder(folder, identityOf(unit));
    if (!(await work(unit, folder))) return false;
    if (!isDone(out, unit)) throw new Error(`${unit.name}: the work left no results.json`);
    // Moments and counts are of no use to a unit that is done, and as large as everything else together.
    for (const file of ['checkpoint.safetensors', 'evaluation.safetensors']) await rm(join(folder, file), { force: true });
  }
  return true;
}

/** Mean and sample standard deviation over the seeds, from 0 to 1; null where a metric has no value, or a single one no deviation. */
export interface Spread {
  readonly mean: number | null;
  readonly deviation: number | null;
}

/** What `ablation.json` holds. */
export interface AblationResults extends AblationSource {
  readonly format: 1;
  readonly software: string;
  readonly base: RunConfig;
  readonly seeds: readonly number[];
  readonly tables: readonly {
    readonly number: number;
    readonly title: string;
    readonly rows: readonly {
      readonly id: string;
      readonly label: string;
      /** In what the row differs from `base`. */
      readonly configuration: readonly string[];
      readonly runs: readonly { readonly seed: number; readonly folder: string; readonly metrics: Metrics }[];
      readonly metrics: Readonly<Record<keyof Metrics, Spread>>;
    }[];
  }[];
}

/** @param values one for each seed */
export function spreadOf(values: readonly (number | null)[]): Spread {
  const known = values.filter((value) => value !== null);
  if (known.length < values.length || !known.length) return { mean: null, deviation: null };
  return { mean: mean(known), deviation: known.length > 1 ? sampleStandardDeviation(known) : null };
}

/** Puts the units' results into the tables. @throws UserError when a unit's results cannot be read */
export function ablationResults({ base, seeds, tables }: AblationPlan, source: AblationSource, out: string): AblationResults {
  return {
    format: 1,
    software: softwareVersion,
    ...source,
    base,
    seeds,
    tables: tables.map(({ number, title, rows }) => ({
      number,
      title,
      rows: rows.map(({ id, label, config, units }) => {
        const runs = units.map((unit) => ({ seed: unit.seed, folder: unit.name, metrics: metricsOf(out, unit) }));
        const metrics = Object.fromEntries(metricNames.map(([key]) => [key, spreadOf(runs.map((run) => run.metrics[key]))])) as Record<keyof Metrics, Spread>;
        return { id, label, configuration: configDifferences(config, base), runs, metrics };
      }),
    })),
  };
}

/** Figures of a publication, to stand beside the own ones. They are given as a file, because none are part of this program. */
export interface PublishedFigures {
  /** Where they are from. */
  readonly source: string;
  /** By data set, by the row's id, by the metric's name ("P-AUROC"), in percent. */
  readonly figures: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, number>>>>>>;
}

/** @throws UserError naming what is wrong with the file */
export function readPublished(file: string, knownRows: readonly string[]): PublishedFigures {
  const content = readJson<PublishedFigures>(file);
  const wrong = (what: string): UserError => new UserError(`${file}: ${what}. It should look like {"source": "where from", "figures": {"MVTec-AD": {"all": {"P-AUROC": 90.0}}}}.`);
  const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(content) || typeof content.source !== 'string' || !isObject(content.figures)) throw wrong('it needs a "source" and "figures"');
  const names = metricNames.map(([, name]) => name);
  for (const [dataset, rows] of Object.entries(content.figures)) {
    if (!isObject(rows)) throw wrong(`the figures of "${dataset}" must be an object`);
    for (const [row, figures] of Object.entries(rows)) {
      if (!knownRows.includes(row)) throw wrong(`"${dataset}" has a row "${row}"; there are ${knownRows.join(', ')}`);
      if (!isObject(figures)) throw wrong(`the row "${row}" of "${dataset}" must be an object`);
      for (const [metric, value] of Object.entries(figures)) {
        if (!names.includes(metric)) throw wrong(`"${row}" of "${dataset}" has a metric "${metric}"; there are ${names.join(', ')}`);
        if (!(typeof value === 'number' && value >= 0 && value <= 100)) throw wrong(`${metric} of "${row}" of "${dataset}" must be a number from 0 to 100`);
      }
    }
  }
  return content;
}

/** "97.1 ± 0.3", in percent. */
export function spreadText({ mean: middle, deviation }: Spread): string {
  if (middle === null) return noValue;
  const percent = (value: number): string => (100 * value).toFixed(1);
  return deviation === null ? percent(middle) : `${percent(middle)} ± ${percent(deviation)}`;
}

/** One table: the own figures, and those of a publication beside them. @param configuration whether to say in what each row differs */
export function ablationTable({ rows }: AblationResults['tables'][number], published: PublishedFigures | undefined, configuration = false): string {
  const columns = Object.entries(published?.figures ?? {}).flatMap(([dataset, byRow]) =>
    metricNames.flatMap(([, name]) => (rows.some(({ id }) => byRow[id]?.[name] !== undefined) ? [{ header: `${name}, published, ${dataset}`, of: (id: string) => byRow[id]?.[name] }] : [])),
  );
  const header = ['row', ...metricNames.map(([, name]) => name), ...columns.map((column) => column.header), ...(configuration ? ['differs in'] : [])];
  return table(
    header,
    rows.map(({ id, label, configuration: differences, metrics }) => [
      label,
      ...metricNames.map(([key]) => spreadText(metrics[key])),
      ...columns.map(({ of }) => of(id)?.toFixed(1) ?? noValue),
      ...(configuration ? [differences.join(', ') || 'nothing'] : []),
    ]),
  );
}

/** `ablation.md`. */
export function ablationMarkdown(results: AblationResults, published: PublishedFigures | undefined): string {
  const { tables, seeds, base, train, evaluation, clip, cnn, software } = results;
  const seedText = seeds.length > 1 ? `mean ± standard deviation over the seeds ${seeds.join(', ')}` : `seed ${seeds[0]} alone`;
  const differences = configDifferences(base, defaultRunConfig).filter((text) => !text.startsWith('training.seed='));
  return `# Ablation

Metrics in percent, ${seedText}: I- by image, P- by pixel, means over the classes. Each row is trained and evaluated anew; rows with the same configuration share their runs.

${tables.map((part) => `## Table ${part.number}: ${part.title}\n\n${ablationTable(part, published, true)}`).join('\n')}
- Published figures: ${published ? `${published.source}; on other data and with other models` : 'none given (`mfp-clip ablate --published FILE` puts them beside)'}
- Configuration that the rows change: ${differences.length ? `the defaults with ${differences.join(', ')}` : 'the defaults'}
- Trained on ${train.images} images (fingerprint ${train.fingerprint}), evaluated on ${evaluation.images} (fingerprint ${evaluation.fingerprint})
- CLIP ${clip}${cnn === null ? '' : `, CNN ${cnn}`}, mfp-clip ${software}
`;
}

/** Writes `ablation.json` and `ablation.md`. @throws UserError when they cannot be written */
export async function writeAblation(out: string, results: AblationResults, published: PublishedFigures | undefined): Promise<void> {
  await writeFileAtomic(join(out, 'ablation.md'), ablationMarkdown(results, published));
  await writeFileAtomic(join(out, 'ablation.json'), `${readableJson({ ...results, published })}\n`);
}
