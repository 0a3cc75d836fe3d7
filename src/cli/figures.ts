import { Command, InvalidArgumentError } from 'commander';
import { loadModel } from '../eval/detector.ts';
import { type FigureNumber, chooseSamples, drawFigures, figureNumbers } from '../report/paper_figures.ts';
import { type ModelFlags, listOfNames, modelOptions, prepareOut, withModel } from './options.ts';
import { startProgress } from './progress.ts';
import { openChecked } from './train.ts';

interface FigureFlags extends ModelFlags {
  readonly data: string;
  readonly out: string;
  readonly classes?: readonly string[];
  readonly images?: readonly string[];
  readonly figures?: readonly FigureNumber[];
}

/** Parses "3, 6". */
function numbersOf(text: string): FigureNumber[] {
  const numbers = text.split(',').map((part) => Number(part.trim()) as FigureNumber);
  if (!numbers.every((number) => figureNumbers.includes(number))) throw new InvalidArgumentError(`It must be some of ${figureNumbers.join(',')}.`);
  return [...new Set(numbers)];
}

async function figures(flags: FigureFlags): Promise<void> {
  const samples = chooseSamples(await openChecked(flags.data, 'test', flags.classes, false), flags.images);
  await prepareOut(flags.out);
  const detector = await loadModel(modelOptions(flags));
  // A model without mask prompting has no figure 6: asked for by number it is an error.
  const numbers = flags.figures ?? figureNumbers.filter((number) => number !== 6 || detector.loaded.model.config.mp.enabled);
  const progress = startProgress('image', samples.length * ((numbers.includes(3) ? 1 : 0) + (numbers.some((number) => number !== 3) ? 1 : 0)));
  try {
    const files = await drawFigures(detector, { figures: numbers, samples, out: flags.out, onImage: (what) => progress.step(what) });
    progress.stop();
    for (const file of files) process.stdout.write(`${file}\n`);
    if (!flags.figures && !numbers.includes(6)) process.stderr.write('mfp-clip: no figure 6: this model is without mask prompting\n');
  } finally {
    progress.stop();
    detector.close();
  }
}

/** `mfp-clip figures`. */
export function figuresCommand(): Command {
  const command = new Command('figures')
    .description("draw the paper's figures 3 (features before and after MPFA), 5 (localisation) and 6 (maps before and after MP) with a model and data of one's own")
    .requiredOption('--data <folder>', 'data set: MVTec-AD, VisA, or a folder in MVTec\'s layout');
  return withModel(command)
    .option('--mfp <file>', 'trained mfp.safetensors; without it: plain zero-shot CLIP')
    .option('--out <folder>', 'where figure-3.png, figure-5.png and figure-6.png go', 'mfp-clip-figures')
    .option('--classes <list>', 'classes to draw, separated by commas; default: all', listOfNames)
    .option('--images <list>', 'images to draw, as paths in the data set, separated by commas; default: the middle one of each class\'s abnormal images', listOfNames)
    .option('--figures <list>', 'figures to draw, separated by commas; default: 3,5,6', numbersOf)
    .action(figures);
}
