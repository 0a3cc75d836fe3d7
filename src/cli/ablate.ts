import { Command, InvalidArgumentError } from 'commander';
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset } from '../data/dataset.ts';
import { dataIdentity, modelFiles } from '../eval/identity.ts';
import { type Shard, wholeShard } from '../eval/state.ts';
import { Gpu } from '../gpu/device.ts';
import { readClipSizes } from '../models/clip/clip.ts';
import { ablationResults, ablationTable, isDone, readPublished, runAblation, writeAblation } from '../report/ablation.ts';
import { ablationTables, planAblation } from '../report/ablation_tables.ts';
import { shardOf } from './eval.ts';
import { evaluateInFolder, trainInFolder } from './experiment.ts';
import { awaitInterruption } from './interruption.ts';
import { type DeviceFlags, gpuOptions, listOfNames, prepareOut, variantPolicy, wholeNumber, withDevice } from './options.ts';
import { formatDuration } from './progress.ts';
import { type ConfigFlags, openChecked, runConfigFor, withConfig } from './train.ts';

interface AblateFlags extends DeviceFlags, ConfigFlags {
  readonly data: string;
  readonly classes?: readonly string[];
  readonly eval: string;
  readonly evalClasses?: readonly string[];
  readonly clip: string;
  readonly cnn: string;
  readonly out: string;
  readonly tables: readonly number[];
  readonly seeds: number;
  readonly shard?: Shard;
  readonly published?: string;
  readonly saveEvery: number;
  readonly check: boolean;
}

/** Parses "2, 4". */
function tableNumbers(text: string): number[] {
  const known = ablationTables.map(({ number }): number => number);
  const numbers = text.split(',').map((part) => Number(part.trim()));
  if (!numbers.every((number) => known.includes(number))) throw new InvalidArgumentError(`It must be some of ${known.join(',')}.`);
  return [...new Set(numbers)];
}

/** Warns when the figures will not be zero-shot. */
function warnOfOverlap(flags: AblateFlags, train: Dataset, evaluation: Dataset): void {
  if (realpathSync(flags.data) !== realpathSync(flags.eval)) return;
  const common = train.classes.filter((name) => evaluation.classes.includes(name));
  if (common.length) process.stderr.write(`mfp-clip: trained and evaluated on the same images of ${common.join(', ')}: the figures will not be zero-shot. Choose others with --classes and --eval-classes.\n`);
}

async function ablate(flags: AblateFlags): Promise<void> {
  const { out, shard = wholeShard } = flags;
  const plan = planAblation(runConfigFor(flags, await readClipSizes(flags.clip)), flags.seeds, flags.tables);
  const published = flags.published === undefined ? undefined : readPublished(flags.published, ablationTables.flatMap(({ rows }) => rows.map(({ id }) => id)));
  const train = await openChecked(flags.data, 'test', flags.classes, flags.check);
  const evaluation = await openChecked(flags.eval, 'test', flags.evalClasses, flags.check);
  warnOfOverlap(flags, train, evaluation);
  await prepareOut(out);
  const { clip, cnn } = await modelFiles({ clip: flags.clip, cnn: flags.cnn });
  const source = { train: dataIdentity(train), evaluation: dataIdentity(evaluation), clip, cnn };
  const interruption = awaitInterruption('this step');
  let gpu: Gpu | undefined;
  let finished: boolean;
  try {
    finished = await runAblation({
      plan,
      source,
      out,
      shard,
      signal: interruption.signal,
      onUnit({ label, seed }, { index, total, done }) {
        process.stderr.write(`mfp-clip: ${index + 1}/${total} ${label}, seed ${seed}${done ? ': there already' : ''}\n`);
      },
      async work(unit, folder) {
        // Opened for the first unit that needs it: putting tables together needs none.
        gpu ??= await Gpu.open(gpuOptions(flags));
        const start = performance.now();
        const experiment = { gpu, clip: flags.clip, cnn: flags.cnn, variants: variantPolicy(flags), signal: interruption.signal };
        const mfp = await trainInFolder(experiment, train, unit.config, folder, flags.saveEvery);
        const done = mfp !== undefined && (await evaluateInFolder(experiment, evaluation, { mfp, precision: unit.config.training.precision }, folder)) !== undefined;
        if (done) process.stderr.write(`mfp-clip: ${unit.name} is done after ${formatDuration((performance.now() - start) / 1000)}\n`);
        return done;
      },
    });
  } finally {
    interruption.ignore();
    gpu?.close();
  }
  if (!finished) {
    process.stderr.write('mfp-clip: stopped. The same command goes on from here.\n');
    process.exitCode = interruption.exitCode;
    return;
  }
  const missing = plan.units.filter((unit) => !isDone(out, unit));
  if (missing.length) {
    process.stderr.write(`mfp-clip: shard ${shard.index}/${shard.count} is done; ${missing.length} of ${plan.units.length} runs are missing still. When all are there, the same command without --shard prints the tables.\n`);
    return;
  }
  const results = ablationResults(plan, source, out);
  await writeAblation(out, results, published);
  for (const table of results.tables) process.stdout.write(`Table ${table.number}: ${table.title}\n${ablationTable(table, published)}\n`);
  process.stderr.write(`mfp-clip: the tables are in ${join(out, 'ablation.md')}\n`);
}

/** `mfp-clip ablate`. */
export function ablateCommand(): Command {
  const command = new Command('ablate')
    .description("the paper's tables 2, 3 and 4: trains and evaluates each row with several seeds; run again, it goes on where it stopped")
    .requiredOption('--data <folder>', 'data set to train on')
    .option('--classes <list>', 'classes to train on, separated by commas; default: all', listOfNames)
    .requiredOption('--eval <folder>', 'data set to evaluate on')
    .option('--eval-classes <list>', 'classes to evaluate on, separated by commas; default: all', listOfNames)
    .requiredOption('--clip <path>', 'CLIP: a Hugging Face folder, or safetensors with OpenAI\'s names')
    .requiredOption('--cnn <path>', 'ResNet: safetensors with torchvision\'s or timm\'s names')
    .requiredOption('--out <folder>', 'where ablation.json, ablation.md and a folder for each run go')
    .option('--tables <list>', 'tables to make, separated by commas', tableNumbers, ablationTables.map(({ number }) => number))
    .option('--seeds <n>', 'seeds of each row, from --seed on', wholeNumber(1), 3)
    .option('--shard <i/n>', 'run the i-th of n parts of all rows and seeds; default: everything', shardOf)
    .option('--published <file>', 'JSON with figures of a publication to stand beside: {"source": "...", "figures": {"MVTec-AD": {"all": {"P-AUROC": 90.0}}}}')
    .option('--save-every <updates>', 'updates between checkpoints', wholeNumber(1), 200)
    .option('--no-check', 'do not read all images before the first update');
  withConfig(command).addHelpText(
    'after',
    `\nRows of the tables, and the fields of the configuration that they set:\n${ablationTables
      .map(({ number, title, rows }) => `  ${number}: ${title}\n${rows.map(({ id, changes }) => `     ${id.padEnd(14)} ${JSON.stringify(changes).replaceAll('"', '')}`).join('\n')}`)
      .join('\n')}`,
  );
  return withDevice(command).action(ablate);
}
