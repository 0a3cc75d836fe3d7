import type { RunConfig } from '../train/config.ts';
import { type MfpConfig } from '../models/mfp/config.ts';

/** Fields of the configuration that a row sets. */
export type RowChanges = { readonly [Section in keyof MfpConfig]?: Partial<MfpConfig[Section]> };

/** A row of a table: a configuration and its name. */
export interface AblationRow {
  /** Short and unique among all tables: names of folders, and of rows in a file of published figures. */
  readonly id: string;
  readonly label: string;
  readonly changes: RowChanges;
}

/** A table of the paper. */
export interface AblationTable {
  readonly number: 2 | 3 | 4;
  readonly title: string;
  readonly rows: readonly AblationRow[];
}

/** Which of the four parts are on. */
function parts(...on: readonly ('i2tp' | 'sp' | 'mpfa' | 'mp')[]): RowChanges {
  const enabled = (part: (typeof on)[number]): { enabled: boolean } => ({ enabled: on.includes(part) });
  return { i2tp: enabled('i2tp'), sp: enabled('sp'), mpfa: enabled('mpfa'), mp: enabled('mp') };
}

/**
 * The ablations of the paper. Table 2: what each part adds. Table 3: the neighbourhood of MPFA, and where I2TP concatenates.
 * Table 4: in which stages of the image tower SP gives fresh prompts, and how many. A row changes the fields that it names; all
 * others are those of the run's configuration.
 */
export const ablationTables: readonly AblationTable[] = [
  {
    number: 2,
    title: 'Contribution of the parts',
    rows: [
      { id: 'baseline', label: 'baseline: adapters alone', changes: parts() },
      { id: 'i2tp', label: '+ I2TP', changes: parts('i2tp') },
      { id: 'sp', label: '+ SP', changes: parts('sp') },
      { id: 'mpfa', label: '+ MPFA', changes: parts('mpfa') },
      { id: 'mp', label: '+ MP', changes: parts('mp') },
      { id: 'all', label: 'all four', changes: parts('i2tp', 'sp', 'mpfa', 'mp') },
    ],
  },
  {
    number: 3,
    title: 'Readings of MPFA and I2TP',
    rows: [
      { id: 'mpfa-1', label: 'MPFA 1 × 1', changes: { mpfa: { enabled: true, size: 1 } } },
      { id: 'mpfa-3', label: 'MPFA 3 × 3', changes: { mpfa: { enabled: true, size: 3 } } },
      { id: 'mpfa-5', label: 'MPFA 5 × 5', changes: { mpfa: { enabled: true, size: 5 } } },
      { id: 'i2tp-feature', label: 'I2TP on features', changes: { i2tp: { enabled: true, concat: 'feature' } } },
      { id: 'i2tp-token', label: 'I2TP on tokens', changes: { i2tp: { enabled: true, concat: 'token' } } },
    ],
  },
  {
    number: 4,
    title: 'Stages and number of the self prompts',
    rows: [
      { id: 'sp-stage-1', label: 'SP in stage 1', changes: { sp: { enabled: true, stages: [1] } } },
      { id: 'sp-stages-1-2', label: 'SP in stages 1 to 2', changes: { sp: { enabled: true, stages: [1, 2] } } },
      { id: 'sp-stages-1-3', label: 'SP in stages 1 to 3', changes: { sp: { enabled: true, stages: [1, 2, 3] } } },
      { id: 'sp-stages-1-4', label: 'SP in stages 1 to 4', changes: { sp: { enabled: true, stages: [1, 2, 3, 4] } } },
      { id: 'sp-count-1', label: 'SP, K = 1', changes: { sp: { enabled: true, count: 1 } } },
      { id: 'sp-count-5', label: 'SP, K = 5', changes: { sp: { enabled: true, count: 5 } } },
      { id: 'sp-count-10', label: 'SP, K = 10', changes: { sp: { enabled: true, count: 10 } } },
    ],
  },
];

/** The configuration of a row. */
export function rowConfig(base: RunConfig, { changes }: AblationRow): RunConfig {
  const config = structuredClone(base) as unknown as Record<string, Record<string, unknown>>;
  for (const [section, fields] of Object.entries(changes)) Object.assign(config[section], fields);
  return config as unknown as RunConfig;
}

/** Fields in which two configurations differ, as "sp.count=10". */
export function configDifferences(config: RunConfig, from: RunConfig): string[] {
  const fields = config as unknown as Record<string, Record<string, unknown>>;
  const others = from as unknown as typeof fields;
  return Object.entries(fields).flatMap(([section, values]) =>
    Object.entries(values).flatMap(([field, value]) => (JSON.stringify(value) === JSON.stringify(others[section][field]) ? [] : [`${section}.${field}=${typeof value === 'string' ? value : JSON.stringify(value)}`])),
  );
}

/** One training with its evaluation. Rows that are the same configuration, in one table or several, share it. */
export interface AblationUnit {
  /** Name of its folder. */
  readonly name: string;
  /** Label of the first row that it stands for. */
  readonly label: string;
  readonly seed: number;
  readonly config: RunConfig;
}

/** A table with the units of each row. */
export interface PlannedTable extends AblationTable {
  readonly rows: readonly (AblationRow & { readonly config: RunConfig; readonly units: readonly AblationUnit[] })[];
}

/** What has to be run for some tables. */
export interface AblationPlan {
  readonly base: RunConfig;
  readonly seeds: readonly number[];
  readonly tables: readonly PlannedTable[];
  /** All units, without repetition: seed by seed, so that the first rows of all are there early. */
  readonly units: readonly AblationUnit[];
}

/**
 * @param base the configuration that rows change; its seed is the first
 * @param seeds how many seeds
 * @param numbers which tables
 */
export function planAblation(base: RunConfig, seeds: number, numbers: readonly number[]): AblationPlan {
  // Of all tables, not only of those asked for: a unit has the same name whichever they are.
  const firstWith = new Map<string, AblationRow>();
  for (const row of ablationTables.flatMap(({ rows }) => rows)) {
    const key = JSON.stringify(rowConfig(base, row));
    if (!firstWith.has(key)) firstWith.set(key, row);
  }
  const seedList = Array.from({ length: seeds }, (_, i) => base.training.seed + i);
  const units = new Map<string, AblationUnit>();
  const unitOf = (row: AblationRow, seed: number): AblationUnit => {
    const config = rowConfig(base, row);
    const first = firstWith.get(JSON.stringify(config))!;
    const name = `${first.id}-seed-${seed}`;
    if (!units.has(name)) units.set(name, { name, label: first.label, seed, config: { ...config, training: { ...config.training, seed } } });
    return units.get(name)!;
  };
  const tables = ablationTables
    .filter(({ number }) => numbers.includes(number))
    .map((table) => ({ ...table, rows: table.rows.map((row) => ({ ...row, config: rowConfig(base, row), units: seedList.map((seed) => unitOf(row, seed)) })) }));
  const ordered = seedList.flatMap((seed) => [...units.values()].filter((unit) => unit.seed === seed));
  return { base, seeds: seedList, tables, units: ordered };
}
