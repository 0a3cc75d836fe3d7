import { Command } from 'commander';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.ts';
import { mergeStates } from '../eval/results.ts';
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

async function merge(paths: string[], { out }: { readonly out: string }): Promise<void> {
  const files = [...new Set(paths.flatMap(statesIn))];
  const results = await mergeStates(files);
  await prepareOut(out);
  await presentResults(out, results);
}

/** `mfp-clip merge`. */
export function mergeCommand(): Command {
  return new Command('merge')
    .description('put the shards of an evaluation together: the same results, to the bit, as from one run over everything')
    .argument('<state...>', 'state files of all shards, or a folder with them: that of the run')
    .requiredOption('--out <folder>', 'where results.json, results.csv and results.md go')
    .action(merge);
}
