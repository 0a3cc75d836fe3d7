import { Command } from 'commander';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Dataset, openDataset } from '../data/dataset.ts';
import { UserError } from '../errors.ts';
import { dataIdentity } from '../eval/identity.ts';
import { type EvaluationResults, mergeStates } from '../eval/results.ts';
import type { ReportPanels } from '../report/html.ts';
import { makePanels, mapsOfFolder } from '../report/panels.ts';
import { presentResults } from './eval.ts';
import { prepareOut } from './options.ts';

/** The state files that a person means by a file, a folder of states, or the folder of a run. */
function statesIn(path: string): string[] {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status) throw new UserError(`there is no file or folder ${path}`);
  if (!status.isDirectory()) return [path];
  const shards = join(path, 'shards');
  const folder = existsSync(shards) ? shards : path;
  const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors') && !name.startsWith('.'));
  if (!files.length) throw new UserError(`${folder} has no states of shards (*.safetensors)`);
  return files.sort(new Intl.Collator('en', { numeric: true }).compare).map((name) => join(folder, name));
}

interface MergeFlags {
  readonly out: string;
  readonly data?: string;
  readonly report: boolean;
}

/** The data set of --data. @throws UserError when it is not the one that was evaluated */
function evaluatedData(data: string, { classes, identity }: EvaluationResults): Dataset {
  const dataset = openDataset(data, { classes: classes.map(({ class: name }) => name) });
  const found = dataIdentity(dataset);
  if (found.fingerprint !== identity.data.fingerprint) throw new UserError(`--data ${data} is not the data set that was evaluated: its fingerprint is ${found.fingerprint}, that of the shards ${identity.data.fingerprint}`);
  return dataset;
}

/** The pictures of the report: photos of the data set under the maps that the shards kept. Without either there are none. */
async function picturesOf(results: EvaluationResults, out: string, dataset: Dataset | undefined): Promise<ReportPanels> {
  const maps = join(out, 'maps');
  const kept = existsSync(maps);
  if (dataset && !kept) process.stderr.write(`mfp-clip: there is no folder ${maps}, so the report has no pictures of --data: eval keeps maps with --maps\n`);
  if (!dataset || !kept) {
    return { missing: 'they need the maps and the photos. Evaluate the shards with --maps into the folder that --out of merge names, and give merge the data set with --data; or evaluate in one piece.' };
  }
  return { panels: await makePanels(results, dataset.root, mapsOfFolder(maps)) };
}

async function merge(paths: string[], flags: MergeFlags): Promise<void> {
  const files = [...new Set(paths.flatMap(statesIn))];
  const results = await mergeStates(files);
  const dataset = flags.data === undefined ? undefined : evaluatedData(flags.data, results);
  await prepareOut(flags.out);
  await presentResults(flags.out, results, flags.report ? await picturesOf(results, flags.out, dataset) : undefined);
}

/** `mfp-clip merge`. */
export function mergeCommand(): Command {
  return new Command('merge')
    .description('put the shards of an evaluation together: the results of one run over everything, to the bit where adapter, --batch and kernel variants are the same')
    .argument('<state...>', 'state files of all shards, or a folder with them: that of the run')
    .requiredOption('--out <folder>', 'where results.json, results.csv, results.md and report.html go')
    .option('--data <folder>', 'data set that was evaluated: with the maps that eval --maps kept in --out, the report shows the best and worst images')
    .option('--no-report', 'do not write report.html')
    .action(merge);
}
