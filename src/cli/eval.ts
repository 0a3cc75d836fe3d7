import { Command, InvalidArgumentError } from 'commander';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadModel } from '../eval/detector.ts';
import { type EvaluationTimes, evaluateShard } from '../eval/evaluate.ts';
import { modelFiles, softwareVersion } from '../eval/identity.ts';
import { type EvaluationResults, mergeStates } from '../eval/results.ts';
import { type Shard, wholeShard } from '../eval/state.ts';
import { resultNotes, resultsTable, writeResults } from '../eval/tables.ts';
import { formatBytes } from '../gpu/memory.ts';
import { writeFileAtomic } from '../io/files.ts';
import { type ReportPanels, writeReport } from '../report/html.ts';
import { makePanels, mapsOfModel } from '../report/panels.ts';
import { awaitInterruption } from './interruption.ts';
import { type ModelFlags, listOfNames, modelOptions, prepareOut, wholeNumber, withModel } from './options.ts';
import { formatDuration, startProgress } from './progress.ts';
import { openChecked } from './train.ts';

interface EvalFlags extends ModelFlags {
  readonly data: string;
  readonly out: string;
  readonly classes?: readonly string[];
  readonly batch: number;
  readonly exact?: boolean;
  readonly shard?: Shard;
  readonly maps?: boolean;
  readonly check?: boolean;
  readonly report: boolean;
  readonly saveEvery: number;
}

/** Parses "2/7". */
export function shardOf(text: string): Shard {
  const match = /^(\d+)\/(\d+)$/.exec(text.trim());
  const [index, count] = match ? [Number(match[1]), Number(match[2])] : [0, 0];
  if (!match || index < 1 || index > count) throw new InvalidArgumentError('It must be a part and the number of parts, counted from 1: 1/4, 2/4, 3/4, 4/4.');
  return { index, count };
}

/** Where a shard's state is kept in the folder of a run; the pixels of --exact and the times lie beside it. */
export function stateFile(out: string, { index, count }: Shard): string {
  return join(out, 'shards', `${index}-of-${count}.safetensors`);
}

/**
 * Writes the files of an evaluation and prints its table.
 *
 * @param pictures those of `report.html`; undefined: no report
 */
export async function presentResults(out: string, results: EvaluationResults, pictures: ReportPanels | undefined): Promise<void> {
  if (pictures) await writeReport(out, results, pictures);
  await writeResults(out, results);
  process.stdout.write(resultsTable(results));
  for (const note of resultNotes(results)) process.stdout.write(`${note}\n`);
  if (pictures) process.stderr.write(`mfp-clip: the report is ${join(out, 'report.html')}\n`);
}

/** Adds the times of this run to those of the shard: they are no part of the results, which are the same however long they took. */
async function writeTimes(file: string, run: Record<string, unknown>): Promise<void> {
  let runs: unknown[] = [];
  try {
    runs = (JSON.parse(readFileSync(file, 'utf8')) as { runs: unknown[] }).runs;
  } catch {
    // The first run, or a file that somebody changed: it only informs.
  }
  await writeFileAtomic(file, `${JSON.stringify({ runs: [...(Array.isArray(runs) ? runs : []), run] }, null, 2)}\n`);
}

async function evaluate(flags: EvalFlags): Promise<void> {
  const { shard = wholeShard, out } = flags;
  const dataset = await openChecked(flags.data, 'test', flags.classes, flags.check ?? false);
  await prepareOut(out);
  const options = modelOptions(flags);
  const files = await modelFiles(options);
  const detector = await loadModel(options);
  const interruption = awaitInterruption('this batch');
  const state = stateFile(out, shard);
  const started = new Date().toISOString();
  let progress: ReturnType<typeof startProgress> | undefined;
  let finished = false;
  let times: EvaluationTimes;
  let results: EvaluationResults | undefined;
  let pictures: ReportPanels | undefined;
  try {
    const evaluation = await evaluateShard(detector, dataset, {
      batch: flags.batch,
      exact: flags.exact,
      shard,
      files,
      state,
      saveSeconds: flags.saveEvery,
      maps: flags.maps ? join(out, 'maps') : undefined,
      signal: interruption.signal,
      onStart({ total, done }) {
        const part = shard.count > 1 ? `shard ${shard.index}/${shard.count}: ${total} of ${dataset.samples.length} images` : `${total} images`;
        process.stderr.write(`mfp-clip: ${part} of ${dataset.classes.length} classes${done ? `, ${done} of them done` : ''}, on ${detector.gpu.adapter.description || detector.gpu.key}\n`);
        progress = startProgress('image', total, done);
      },
      onImage: ({ class: className }) => progress?.step(className),
    });
    progress?.stop();
    times = evaluation.times;
    finished = evaluation.state.images.length === evaluation.state.total;
    await evaluation.state.close();
    if (times.images) {
      const { total, reading, pixels, images } = times;
      process.stderr.write(`mfp-clip: ${images} images in ${formatDuration(total)}, ${(images / total).toPrecision(3)} per second; peak device memory ${formatBytes(detector.gpu.memory.peak)}\n`);
      const rounded = (seconds: number): number => Number(seconds.toFixed(3));
      await writeTimes(state.replace(/safetensors$/, 'times.json'), {
        started,
        images,
        seconds: rounded(total),
        readingSeconds: rounded(reading),
        pixelSeconds: rounded(pixels),
        batch: flags.batch,
        adapter: detector.gpu.key,
        peakDeviceBytes: detector.gpu.memory.peak,
        software: softwareVersion,
      });
    }
    if (finished && shard.count === 1) {
      results = await mergeStates([state]);
      // While the model is at hand: the maps of the few images that the report shows are computed again.
      if (flags.report) pictures = { panels: await makePanels(results, dataset.root, mapsOfModel(detector, dataset.root, flags.batch)) };
    }
  } finally {
    progress?.stop();
    interruption.ignore();
    detector.close();
  }
  if (!finished) {
    process.stderr.write('mfp-clip: stopped. The same command goes on from here.\n');
    process.exitCode = interruption.exitCode;
  } else if (results) await presentResults(out, results, pictures);
  else {
    const waiting = Array.from({ length: shard.count }, (_, i) => ({ index: i + 1, count: shard.count })).filter((other) => !existsSync(stateFile(out, other)));
    process.stderr.write(`mfp-clip: shard ${shard.index}/${shard.count} is done: ${state}. ${waiting.length ? 'When all are there' : 'All are there'}: mfp-clip merge ${out} --data ${flags.data} --out ${out}\n`);
  }
}

/** `mfp-clip eval`. */
export function evalCommand(): Command {
  const command = new Command('eval')
    .description('measure a model on the test split of a data set (MVTec-AD, VisA, or a folder in MVTec\'s layout); run again, it goes on where it stopped')
    .requiredOption('--data <folder>', 'data set to evaluate on')
    .requiredOption('--out <folder>', 'folder of the run: results.json, results.csv, results.md, report.html, and the state in shards/');
  return withModel(command)
    .option('--mfp <file>', 'trained mfp.safetensors; without it: plain zero-shot CLIP')
    .option('--classes <list>', 'classes to evaluate, separated by commas; default: all', listOfNames)
    .option('--batch <n>', 'images that run together', wholeNumber(1), 1)
    .option('--exact', 'keep and sort all pixels instead of counting them in 65536 bins: 4 bytes of disk for each pixel, and of memory for each pixel of a class')
    .option('--shard <i/n>', 'evaluate the i-th of n parts, for merge to put together; default: everything', shardOf)
    .option('--maps', 'keep the maps as NumPy arrays in the run\'s folder: maps/CLASS/DEFECT/NAME.npy')
    .option('--check', 'read all images and masks before the first is evaluated')
    .option('--no-report', 'do not write report.html')
    .option('--save-every <seconds>', 'time between writes of the state', wholeNumber(1), 60)
    .action(evaluate);
}
