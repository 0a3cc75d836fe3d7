// Writes the procedural data set, or a contact sheet of it.
//   npx tsx tools/dataset/main.ts --out data [--size 256] [--seed 1] [--categories leather,tile]
//   npx tsx tools/dataset/main.ts --contact-sheet sheet.png
import { Command, Option } from 'commander';
import { startProgress } from '../../src/cli/progress.ts';
import { wholeNumber } from '../../src/cli/options.ts';
import { UserError } from '../../src/errors.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { categories } from './catalogue.ts';
import { contactSheet } from './contact_sheet.ts';
import { categoryOf } from './sample.ts';
import { readSplit } from './split.ts';
import { writeDataset } from './write.ts';

interface Flags {
  readonly out?: string;
  readonly contactSheet?: string;
  readonly size: number;
  readonly seed: number;
  readonly categories?: string;
  readonly split?: 'pretraining' | 'zeroShot';
  readonly train: number;
  readonly good: number;
  readonly perDefect: number;
}

/** The categories that the flags name. */
function chosen({ categories: list, split }: Flags): readonly string[] {
  if (list !== undefined) {
    const names = [...new Set(list.split(',').map((name) => name.trim()))];
    for (const name of names) categoryOf(name);
    return names;
  }
  return split ? readSplit()[split].categories : categories.map(({ name }) => name);
}

async function run(flags: Flags): Promise<void> {
  if (flags.out === undefined && flags.contactSheet === undefined) throw new UserError('give --out FOLDER for a data set, or --contact-sheet FILE for a picture of it');
  const names = chosen(flags);
  if (flags.contactSheet !== undefined) {
    const good = 3;
    const progress = startProgress('image', names.reduce((count, name) => count + good + categoryOf(name).defects.length, 0));
    await writeFileAtomic(flags.contactSheet, contactSheet({ categories: names, good, size: flags.size, seed: flags.seed, onImage: (name) => progress.step(name) }));
    progress.stop();
    console.log(`${flags.contactSheet}: ${names.length} categories`);
  }
  if (flags.out !== undefined) {
    // Pretraining must not see the defects that are kept for tests.
    const defects = flags.split === 'pretraining' ? readSplit().pretraining.defects : undefined;
    const total = names.reduce((count, name) => count + flags.train + flags.good + categoryOf(name).defects.filter((defect) => !defects || defects.includes(defect)).length * flags.perDefect, 0);
    const progress = startProgress('image', total);
    const start = performance.now();
    const { manifest, rendered } = await writeDataset({
      out: flags.out,
      categories: names,
      defects,
      trainPerCategory: flags.train,
      testGood: flags.good,
      testPerDefect: flags.perDefect,
      size: flags.size,
      seed: flags.seed,
      onImage: (path) => progress.step(path),
    });
    progress.stop();
    console.log(`${flags.out}: ${manifest.images.length} images of ${names.length} categories, ${rendered} of them rendered in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  }
}

const command = new Command('dataset')
  .description("write the procedural industrial data set in MVTec-AD's layout, or a contact sheet of it")
  .option('--out <folder>', 'folder of the data set; files that are there already and match are kept')
  .option('--contact-sheet <file>', 'PNG with examples of every category and defect')
  .option('--size <pixels>', 'side of the square images', wholeNumber(32), 256)
  .option('--seed <n>', 'another seed gives other images', wholeNumber(0), 1)
  .option('--categories <list>', 'categories, separated by commas; default: all')
  .addOption(new Option('--split <part>', 'the categories of one part of split.json; pretraining leaves the held-out defects out').choices(['pretraining', 'zeroShot']).conflicts('categories'))
  .option('--train <n>', 'good training images per category', wholeNumber(0), 10)
  .option('--good <n>', 'good test images per category', wholeNumber(0), 10)
  .option('--per-defect <n>', 'test images of each defect of each category', wholeNumber(0), 4)
  .action(run);

try {
  await command.parseAsync();
} catch (error) {
  process.stderr.write(error instanceof UserError ? `dataset: ${error.message}\n` : `dataset: ${(error as Error).stack}\n`);
  process.exitCode = 1;
}
