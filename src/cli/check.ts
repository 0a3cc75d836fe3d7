import { Command, Option } from 'commander';
import { type Dataset, checkSamples, openDataset } from '../data/dataset.ts';
import { table } from '../report/table.ts';
import { listOfNames } from './options.ts';
import { startProgress } from './progress.ts';

interface CheckFlags {
  readonly split: 'train' | 'test';
  readonly classes?: readonly string[];
}

/** Images by class and defect. */
function countTable({ classes, samples }: Dataset): string {
  const rows: string[][] = [];
  for (const name of classes) {
    const own = samples.filter((sample) => sample.class === name);
    const defects = [...new Set(own.map(({ defect }) => defect))].sort();
    const counts = defects.map((defect) => `${defect} ${own.filter((sample) => sample.defect === defect).length}`);
    rows.push([name, String(own.length), String(own.filter(({ label }) => label === 0).length), String(own.filter(({ label }) => label === 1).length), counts.join(', ')]);
  }
  const total = (label?: 0 | 1): string => String(samples.filter((sample) => label === undefined || sample.label === label).length);
  if (classes.length > 1) rows.push(['all', total(), total(0), total(1), '']);
  return table(['class', 'images', 'normal', 'abnormal', 'by defect'], rows);
}

async function check(folder: string, { split, classes }: CheckFlags): Promise<void> {
  const dataset = openDataset(folder, { split, classes });
  const progress = startProgress('image', dataset.samples.length);
  const problems = [...dataset.problems, ...(await checkSamples(dataset.samples, () => progress.step('reading')))];
  progress.stop();
  process.stdout.write(`${folder}: layout of ${dataset.layout}, ${split} split, ${dataset.samples.length} images of ${dataset.classes.length} class${dataset.classes.length === 1 ? '' : 'es'}\n\n`);
  if (dataset.samples.length) process.stdout.write(`${countTable(dataset)}\n`);
  for (const { where, what } of problems) process.stdout.write(`${where}: ${what}\n`);
  process.stdout.write(problems.length ? `\n${problems.length} problem${problems.length > 1 ? 's' : ''}\n` : 'No problems.\n');
  if (problems.length) process.exitCode = 1;
}

/** `mfp-clip check`. */
export function checkCommand(): Command {
  return new Command('check')
    .description('say what a data set holds, and every problem with it; reads all images and masks')
    .argument('<folder>', 'data set: MVTec-AD, VisA, or a folder in MVTec\'s layout')
    .addOption(new Option('--split <name>', 'part to look at').choices(['test', 'train']).default('test'))
    .option('--classes <list>', 'classes to look at, separated by commas; default: all', listOfNames)
    .action(check);
}
