import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Metrics, metricNames } from '../../src/eval/results.ts';
import { type AblationOptions, type AblationSource, ablationMarkdown, ablationResults, ablationTable, isDone, metricsOf, readPublished, runAblation, spreadOf, spreadText, writeAblation } from '../../src/report/ablation.ts';
import { type AblationUnit, ablationTables, configDifferences, planAblation, rowConfig } from '../../src/report/ablation_tables.ts';
import { parseRunConfig } from '../../src/train/config.ts';
import { scratchFolder } from '../support/command.ts';
import { errorOf } from '../support/errors.ts';

const base = parseRunConfig({ training: { epochs: 3, seed: 7 } }, 'test');
const source: AblationSource = {
  train: { layout: 'MVTec', images: 12, fingerprint: 'aaaa' },
  evaluation: { layout: 'VisA', images: 34, fingerprint: 'bbbb' },
  clip: 'cccc',
  cnn: 'dddd',
};
const rowIds = ablationTables.flatMap(({ rows }) => rows.map(({ id }) => id));

/** Metrics that tell units apart: from the seed and the number of differences of the configuration. */
function metricsFor({ config, seed }: AblationUnit): Metrics {
  return Object.fromEntries(metricNames.map(([key], i) => [key, key === 'aupro' && config.sp.count === 1 ? null : 0.5 + 0.01 * seed + 0.002 * (configDifferences(config, base).length + i)])) as unknown as Metrics;
}

/** Stands in for training and evaluation. @param stopAfter units */
function standIn(out: string, stopAfter = Number.POSITIVE_INFINITY): { readonly worked: string[]; readonly options: Pick<AblationOptions, 'work' | 'signal' | 'out' | 'source'> } {
  const worked: string[] = [];
  const stop = new AbortController();
  return {
    worked,
    options: {
      out,
      source,
      signal: stop.signal,
      async work(unit, folder) {
        assert.ok(existsSync(join(folder, 'unit.json')));
        assert.not.ok(isDone(out, unit));
        if (worked.length === stopAfter) {
          // Interrupted in the middle: what is there so far stays.
          writeFileSync(join(folder, 'checkpoint.safetensors'), 'half');
          stop.abort();
          return false;
        }
        worked.push(unit.name);
        for (const file of ['checkpoint.safetensors', 'evaluation.safetensors', 'mfp.safetensors']) writeFileSync(join(folder, file), 'tensors');
        writeFileSync(join(folder, 'results.json'), JSON.stringify({ mean: metricsFor(unit) }));
        return true;
      },
    },
  };
}

const whole = { index: 1, count: 1 };

test('rows are the configuration with the fields they name, and nothing else', () => {
  for (const row of ablationTables.flatMap(({ rows }) => rows)) {
    const config = rowConfig(base, row);
    assert.equal(parseRunConfig(config, row.id), config, 'every row is a valid configuration');
    const named = Object.entries(row.changes).flatMap(([section, fields]) => Object.keys(fields).map((field) => `${section}.${field}`));
    for (const difference of configDifferences(config, base)) assert.ok(named.includes(difference.split('=')[0]), `${row.id}: ${difference}`);
  }
  assert.is(new Set(rowIds).size, rowIds.length);
  assert.equal(configDifferences(rowConfig(base, ablationTables[0].rows[0]), base), ['i2tp.enabled=false', 'sp.enabled=false', 'mpfa.enabled=false', 'mp.enabled=false']);
  assert.equal(configDifferences(rowConfig(base, ablationTables[1].rows.at(-1)!), base), ['i2tp.concat=token']);
});

test('rows with the same configuration share their runs, under one name whichever tables are asked for', () => {
  const plan = planAblation(base, 3, [2, 3, 4]);
  assert.equal(plan.seeds, [7, 8, 9]);
  // 18 rows, of which "all", "mpfa-3", "i2tp-feature", "sp-stage-1" and "sp-count-5" are the defaults.
  assert.is(plan.units.length, 14 * 3);
  assert.is(new Set(plan.units.map(({ name }) => name)).size, plan.units.length);
  assert.is(new Set(plan.units.map(({ config }) => JSON.stringify(config))).size, plan.units.length);
  for (const { name, seed, config } of plan.units) assert.is(name.endsWith(`-seed-${seed}`) && config.training.seed, seed);
  const [, three] = plan.tables;
  assert.equal(three.rows[1].units.map(({ name }) => name), ['all-seed-7', 'all-seed-8', 'all-seed-9']);
  const alone = planAblation(base, 1, [3]);
  assert.equal(alone.units.map(({ name }) => name), ['mpfa-1-seed-7', 'all-seed-7', 'mpfa-5-seed-7', 'i2tp-token-seed-7']);
  // With another base other rows fall together.
  assert.is(planAblation({ ...base, sp: { ...base.sp, count: 10 } }, 1, [4]).tables[0].rows[6].units[0].name, 'all-seed-7');
});

test('each unit is worked on once, over interruptions and shards, and the tables are the same', async () => {
  const folder = scratchFolder();
  const plan = planAblation(base, 2, [2, 3]);
  const single = standIn(join(folder, 'whole'));
  assert.ok(await runAblation({ plan, shard: whole, ...single.options }));
  assert.equal(single.worked, plan.units.map(({ name }) => name));
  const expected = ablationResults(plan, source, join(folder, 'whole'));

  const parts = join(folder, 'parts');
  const worked: string[] = [];
  for (const index of [2, 1, 3]) {
    const interrupted = standIn(parts, 2);
    assert.not.ok(await runAblation({ plan, shard: { index, count: 3 }, ...interrupted.options }));
    const again = standIn(parts);
    const seen: boolean[] = [];
    assert.ok(await runAblation({ plan, shard: { index, count: 3 }, ...again.options, onUnit: (_, { done }) => seen.push(done) }));
    assert.equal(seen.slice(0, 3), [true, true, false]);
    worked.push(...interrupted.worked, ...again.worked);
  }
  assert.equal(worked.sort(), plan.units.map(({ name }) => name).sort());
  assert.equal(ablationResults(plan, source, parts), expected);
  // More seeds and tables later go on from what is there.
  const larger = standIn(parts);
  assert.ok(await runAblation({ plan: planAblation(base, 3, [2, 3, 4]), shard: whole, ...larger.options }));
  assert.is(larger.worked.length, 14 * 3 - plan.units.length);
  for (const file of ['checkpoint.safetensors', 'evaluation.safetensors']) assert.not.ok(existsSync(join(parts, 'all-seed-7', file)));
  assert.ok(existsSync(join(parts, 'all-seed-7', 'mfp.safetensors')));
});

test('the runs of another ablation are not taken for this one', async () => {
  const out = join(scratchFolder(), 'out');
  const plan = planAblation(base, 1, [3]);
  assert.ok(await runAblation({ plan, shard: whole, ...standIn(out).options }));
  const run = (changes: Partial<AblationOptions>): Promise<Error> => {
    const { options, worked } = standIn(out);
    return errorOf(async () => {
      await runAblation({ plan, shard: whole, ...options, ...changes }).finally(() => assert.equal(worked, [], 'found before any work'));
    });
  };
  assert.match((await run({ plan: planAblation({ ...base, training: { ...base.training, epochs: 4 } }, 1, [3]) })).message, /mpfa-1-seed-7 belongs to another ablation: another configuration\. Choose another --out/);
  assert.match((await run({ source: { ...source, evaluation: { ...source.evaluation, fingerprint: 'eeee' } } })).message, /another data set to evaluate on/);
  assert.match((await run({ source: { ...source, train: { ...source.train, images: 13 }, cnn: null } })).message, /another data set to train on, another CNN/);
  rmSync(join(out, 'all-seed-7', 'unit.json'));
  assert.match((await run({})).message, /all-seed-7 holds something else than a unit of an ablation/);
});

test('damaged results are named', async () => {
  const out = scratchFolder();
  const [unit] = planAblation(base, 1, [2]).units;
  mkdirSync(join(out, unit.name));
  for (const content of ['{', '{}', '{"mean": {"imageAuroc": 0.5}}', `{"mean": ${JSON.stringify({ ...metricsFor(unit), aupro: 'high' })}}`]) {
    writeFileSync(join(out, unit.name, 'results.json'), content);
    assert.throws(() => metricsOf(out, unit), /baseline-seed-7\/results\.json/);
  }
});

test('spreads are mean and sample standard deviation, and have no value where one is missing', () => {
  assert.equal(spreadOf([0.5]), { mean: 0.5, deviation: null });
  const { mean, deviation } = spreadOf([0.1, 0.2, 0.6]);
  assert.ok(Math.abs(mean! - 0.3) < 1e-12 && Math.abs(deviation! - Math.sqrt((0.04 + 0.01 + 0.09) / 2)) < 1e-12);
  assert.equal(spreadOf([0.5, null]), { mean: null, deviation: null });
  assert.equal([spreadText({ mean: 0.9714, deviation: 0.0031 }), spreadText({ mean: 0.5, deviation: null }), spreadText({ mean: null, deviation: null })], ['97.1 ± 0.3', '50.0', '–']);
});

test('tables are written with their configurations, and with published figures where they are given', async () => {
  const folder = scratchFolder();
  const out = join(folder, 'out');
  const plan = planAblation(base, 2, [2, 4]);
  assert.ok(await runAblation({ plan, shard: whole, ...standIn(out).options }));
  const results = ablationResults(plan, source, out);
  const markdown = ablationMarkdown(results, undefined);
  assert.match(markdown, /## Table 2: .*\n\n\| row .*\| differs in +\|\n\|-+\|[-:|]+\n\| baseline: adapters alone \| 58\.4 ± 0\.8 \|/);
  assert.match(markdown, /\| SP, K = 1 .*\| +– \| sp\.count=1 +\|/);
  assert.match(markdown, /\| all four .*\| nothing +\|/);
  assert.match(markdown, /Published figures: none given/);
  assert.match(markdown, /the defaults with training\.epochs=3\n- Trained on 12 images \(fingerprint aaaa\), evaluated on 34 \(fingerprint bbbb\)/);
  assert.not.match(ablationTable(results.tables[0], undefined), /differs in|published/);

  const file = join(folder, 'published.json');
  writeFileSync(file, JSON.stringify({ source: 'A paper', figures: { 'MVTec-AD': { all: { 'P-AUROC': 12.34, AUPRO: 56 } }, VisA: { baseline: { 'P-AUROC': 1 } } } }));
  const published = readPublished(file, rowIds);
  const text = ablationTable(results.tables[0], published);
  assert.match(text, /\| P-AUROC, published, MVTec-AD \| AUPRO, published, MVTec-AD \| P-AUROC, published, VisA \|\n/);
  assert.match(text, /\| all four .*\| +12\.3 \| +56\.0 \| +– \|\n/);
  assert.not.match(ablationTable(results.tables[1], published), /published/);
  await writeAblation(out, results, published);
  assert.match(readFileSync(join(out, 'ablation.md'), 'utf8'), /Published figures: A paper; on other data/);
  const stored = JSON.parse(readFileSync(join(out, 'ablation.json'), 'utf8'));
  assert.equal(stored.tables, results.tables);
  assert.equal(stored.published, published);
  assert.equal(stored.tables[0].rows[0].runs.map((run: { folder: string }) => run.folder), ['baseline-seed-7', 'baseline-seed-8']);
});

test('mistakes in a file of published figures are named', () => {
  const file = join(scratchFolder(), 'published.json');
  for (const [content, expected] of [
    ['{', /cannot read .*published\.json/],
    ['[]', /it needs a "source" and "figures"/],
    ['{"source": "x", "figures": {"VisA": {"everything": {}}}}', /"VisA" has a row "everything"; there are baseline, /],
    ['{"source": "x", "figures": {"VisA": {"all": {"P-ROC": 3}}}}', /"all" of "VisA" has a metric "P-ROC"; there are I-AUROC, /],
    ['{"source": "x", "figures": {"VisA": {"all": {"P-AUROC": 300}}}}', /must be a number from 0 to 100/],
  ] as const) {
    writeFileSync(file, content);
    assert.throws(() => readPublished(file, rowIds), expected);
  }
});

test.run();
