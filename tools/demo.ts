// `npm run demo`: makes the data, trains MFP-CLIP on some categories, and measures it on others that nothing in it has seen,
// beside the same small CLIP without it.
//   npm run demo                 # a short run
//   npm run demo -- --full       # three seeds, measured on more pictures
import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Experiment, evaluateInFolder, trainInFolder } from '../src/cli/experiment.ts';
import { awaitInterruption } from '../src/cli/interruption.ts';
import { type DeviceFlags, gpuOptions, prepareOut, variantPolicy, withDevice } from '../src/cli/options.ts';
import { formatDuration, startProgress } from '../src/cli/progress.ts';
import { type Dataset, openDataset } from '../src/data/dataset.ts';
import { UserError } from '../src/errors.ts';
import { type EvaluationResults, type Metrics, metricNames } from '../src/eval/results.ts';
import { percent, resultNotes } from '../src/eval/tables.ts';
import { Gpu } from '../src/gpu/device.ts';
import { writeFileAtomic } from '../src/io/files.ts';
import { spreadOf, spreadText } from '../src/report/ablation.ts';
import { table } from '../src/report/table.ts';
import { type RunConfig, parseRunConfig } from '../src/train/config.ts';
import { categoryOf } from './dataset/sample.ts';
import { readSplit } from './dataset/split.ts';
import { writeDataset } from './dataset/write.ts';

/** How large a run is. */
export interface DemoSize {
  /** Categories of each part of the split: the first ones. */
  readonly categories: number;
  /** Images of each category: without defect, and of each kind of defect. */
  readonly training: { readonly good: number; readonly perDefect: number };
  readonly unseen: { readonly good: number; readonly perDefect: number };
  /** Side of all images in pixels, which is what CLIP sees. */
  readonly pixels: number;
  readonly epochs: number;
  readonly seeds: readonly number[];
}

const short = { categories: Number.POSITIVE_INFINITY, training: { good: 4, perDefect: 2 }, unseen: { good: 12, perDefect: 2 }, pixels: 128, epochs: 2, seeds: [0] } as const satisfies DemoSize;

/** The long run: twice as many pictures to measure with, since few without defect make an I-AUROC of chance, and three seeds. */
export const demoSizes = { short, full: { ...short, unseen: { good: 20, perDefect: 3 }, seeds: [0, 1, 2] } } as const satisfies Record<string, DemoSize>;

/**
 * The run configuration: the paper's, in the sizes of the small checkpoints, for hundreds of updates instead of a hundred thousand. In so
 * few, mask prompting's Linear learns nothing yet at the others' rate but to disturb the tower behind it: it takes a tenth of it. The loss
 * of the score is left out: its gradient is that of one pixel, the map's maximum, wherever that happens to be while the map means nothing yet.
 */
export function demoConfig({ pixels, epochs }: Pick<DemoSize, 'pixels' | 'epochs'>, seed: number): RunConfig {
  return parseRunConfig(
    {
      image: { size: pixels },
      cnn: { size: 80 },
      optimizer: { learningRate: 3e-4, clipNorm: 1, maskPromptFactor: 0.1 },
      schedule: { kind: 'cosine', warmupSteps: 10 },
      loss: { bce: 0 },
      training: { epochs, batch: 2, seed },
    },
    'the demo',
  );
}

/** Where the demo's files are, and what it says while it works. */
export interface DemoOptions {
  readonly out: string;
  readonly experiment: Experiment;
  readonly size: DemoSize;
  /** Called as each part begins. */
  say(text: string): void;
}

/** What the demo measured: on categories that nothing in the models has seen. */
export interface DemoResults {
  readonly plain: EvaluationResults;
  /** One for each seed. */
  readonly trained: readonly EvaluationResults[];
}

async function writeData(out: string, part: 'pretraining' | 'zeroShot', { good, perDefect }: DemoSize['training'], { categories: most, pixels }: DemoSize): Promise<Dataset> {
  const { categories: all, defects } = readSplit()[part];
  // Things that never look the same twice are for pretraining, which sees more pictures.
  const categories = all.filter((name) => !categoryOf(name).varied).slice(0, most);
  const progress = startProgress('image', categories.length * (good + perDefect * defects.length));
  // Training sees no kind of defect that is held out; the test asks for all that its categories have.
  await writeDataset({ out, categories, defects: part === 'pretraining' ? defects : undefined, trainPerCategory: 0, testGood: good, testPerDefect: perDefect, size: pixels, seed: 7, onImage: (path) => progress.step(path) });
  progress.stop();
  return openDataset(out, { split: 'test' });
}

/**
 * Data, training and evaluation. What an earlier call has finished in the same folder is not done again.
 *
 * @returns undefined when it was stopped before the end
 */
export async function runDemo({ out, experiment, size, say }: DemoOptions): Promise<DemoResults | undefined> {
  say('making the data');
  const auxiliary = await writeData(join(out, 'data', 'auxiliary'), 'pretraining', size.training, size);
  const unseen = await writeData(join(out, 'data', 'unseen'), 'zeroShot', size.unseen, size);
  say(`${auxiliary.samples.length} images of ${auxiliary.classes.length} categories to train on, ${unseen.samples.length} of ${unseen.classes.length} others to measure with`);
  say('measuring the small CLIP alone');
  const plain = await evaluateInFolder(experiment, unseen, { size: size.pixels }, join(out, 'plain-clip'));
  if (!plain) return undefined;
  const trained: EvaluationResults[] = [];
  for (const seed of size.seeds) {
    const folder = join(out, `seed-${seed}`);
    const of = size.seeds.length > 1 ? `, seed ${seed}` : '';
    say(`training MFP-CLIP${of}`);
    const mfp = existsSync(join(folder, 'results.json')) ? join(folder, 'mfp.safetensors') : await trainInFolder(experiment, auxiliary, demoConfig(size, seed), folder, 100);
    if (mfp === undefined) return undefined;
    say(`measuring MFP-CLIP${of}`);
    const results = await evaluateInFolder(experiment, unseen, { mfp }, folder, true);
    if (!results) return undefined;
    trained.push(results);
  }
  return { plain, trained };
}

/** The metrics that the demo's tables show. */
const shown: readonly (keyof Metrics)[] = ['imageAuroc', 'pixelAuroc', 'aupro'];

/** A row for each class and one for their mean: CLIP alone, then MFP-CLIP as mean ± standard deviation over the seeds. */
export function demoTable({ plain, trained }: DemoResults): string {
  const names = shown.map((key) => metricNames.find(([other]) => other === key)![1]);
  const row = (name: string, of: (results: EvaluationResults) => Metrics): string[] => [
    name,
    ...shown.map((key) => percent(of(plain)[key])),
    ...shown.map((key) => spreadText(spreadOf(trained.map((results) => of(results)[key])))),
  ];
  return table(
    ['unseen class', ...names.map((name) => `CLIP ${name}`), ...names.map((name) => `MFP-CLIP ${name}`)],
    [...plain.classes.map(({ class: name }, i) => row(name, ({ classes }) => classes[i].metrics)), row('mean', ({ mean }) => mean)],
  );
}

interface DemoFlags extends DeviceFlags {
  readonly full?: boolean;
  readonly out: string;
  readonly clip: string;
  readonly cnn: string;
}

async function main(flags: DemoFlags): Promise<void> {
  const size = flags.full ? demoSizes.full : demoSizes.short;
  const out = join(flags.out, flags.full ? 'full' : 'short');
  await prepareOut(out);
  const start = performance.now();
  const interruption = awaitInterruption('this step', 'demo');
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    const say = (text: string): void => void process.stderr.write(`demo: ${formatDuration((performance.now() - start) / 1000).padStart(5)}  ${text}\n`);
    say(`on ${gpu.adapter.description || gpu.key}`);
    const results = await runDemo({ out, experiment: { gpu, clip: flags.clip, cnn: flags.cnn, variants: variantPolicy(flags), signal: interruption.signal }, size, say });
    if (!results) {
      process.stderr.write('demo: stopped. The same command goes on from here.\n');
      process.exitCode = interruption.exitCode;
      return;
    }
    const text = demoTable(results);
    await writeFileAtomic(join(out, 'results.md'), text);
    process.stdout.write(`\n${text}\n`);
    for (const note of resultNotes(results.trained[0])) process.stdout.write(`${note}\n`);
    say(`done. Maps beside their ground truth: ${pathToFileURL(join(out, `seed-${size.seeds[0]}`, 'report.html')).href}`);
  } finally {
    gpu.close();
  }
}

const command = withDevice(
  new Command('demo')
    .description('make data, train MFP-CLIP on some categories and measure it on others; run again, it goes on where it stopped')
    .option('--full', 'three seeds, measured on more pictures')
    .option('--out <folder>', 'where everything goes', 'out/demo')
    .option('--clip <path>', 'another CLIP', 'weights/clip')
    .option('--cnn <path>', 'another ResNet', 'weights/cnn'),
  // What is fastest depends on what else the machine does, and on it the last bits of a training run: here the same seed shall give the same.
  'default',
).action(main);

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    await command.parseAsync();
  } catch (error) {
    process.stderr.write(error instanceof UserError ? `demo: ${error.message}\n` : `demo: ${(error as Error).stack}\n`);
    process.exitCode = 1;
  }
}
