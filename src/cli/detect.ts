import { Command } from 'commander';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { classWords } from '../data/dataset.ts';
import { type RgbImage, readImage } from '../data/image.ts';
import { listImages } from '../data/image_list.ts';
import { UserError } from '../errors.ts';
import { type Detection, loadModel } from '../eval/detector.ts';
import { writeFileAtomic } from '../io/files.ts';
import { heatmapOverlay } from '../io/heatmap.ts';
import { writeNpy } from '../io/npy.ts';
import { type ModelFlags, modelOptions, numberBetween, prepareOut, wholeNumber, withModel } from './options.ts';
import { startProgress } from './progress.ts';

interface DetectFlags extends ModelFlags {
  readonly class: string;
  readonly out: string;
  readonly batch: number;
  readonly threshold: number;
}

/** One line of output. */
type ResultLine = { readonly file: string; readonly class: string } & (
  | { readonly score: number; readonly abnormal: boolean; readonly seconds: number; readonly map: string; readonly heatmap: string }
  | { readonly error: string }
);

/** Where the outputs of each image go: the images' folder structure below their common folder, under `out`. */
function outputStems(files: readonly string[], out: string): string[] {
  const folders = files.map((file) => dirname(resolve(file)));
  const common = folders.reduce((shared, folder) => {
    while (relative(shared, folder).startsWith('..')) shared = dirname(shared);
    return shared;
  });
  const used = new Set<string>();
  return files.map((file, i) => {
    const folder = join(out, relative(common, folders[i]));
    const name = basename(file);
    const stem = join(folder, basename(name, extname(name)));
    // "a.png" and "a.jpg" in one folder: the second keeps its ending.
    const unique = used.has(stem) ? join(folder, name) : stem;
    used.add(unique);
    return unique;
  });
}

async function detect(patterns: string[], flags: DetectFlags): Promise<void> {
  const className = classWords(flags.class);
  if (className === '') throw new UserError('--class is empty; name the object in the photos, for example --class "metal nut"');
  const files = await listImages(patterns);
  await prepareOut(flags.out);
  const stems = outputStems(files, flags.out);
  const detector = await loadModel(modelOptions(flags));
  const progress = startProgress('image', files.length);
  let failures = 0;
  const print = (line: ResultLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
  const fail = (file: string, error: unknown): void => {
    if (!(error instanceof UserError)) throw error;
    failures++;
    process.stderr.write(`mfp-clip: ${error.message}\n`);
    print({ file, class: className, error: error.message });
    progress.step();
  };
  const write = async (file: string, stem: string, image: RgbImage, { score, map, size }: Detection, seconds: number): Promise<void> => {
    const files = { map: `${stem}.npy`, heatmap: `${stem}.heatmap.png` };
    await writeNpy(files.map, map, [size, size]);
    await writeFileAtomic(files.heatmap, heatmapOverlay({ image, map, mapWidth: size, mapHeight: size, threshold: flags.threshold, caption: `${className}  score ${score.toFixed(3)}` }));
    print({ file, class: className, score, abnormal: score >= flags.threshold, seconds: Number(seconds.toFixed(4)), ...files });
    progress.step();
  };
  try {
    for (let start = 0; start < files.length; start += flags.batch) {
      const batch: { file: string; stem: string; image: RgbImage }[] = [];
      for (let i = start; i < Math.min(files.length, start + flags.batch); i++) {
        const file = files[i];
        try {
          batch.push({ file, stem: stems[i], image: await readImage(file) });
        } catch (error) {
          fail(file, error);
        }
      }
      const began = performance.now();
      const results = await detector.detect(
        batch.map(({ image }) => image),
        className,
      );
      const seconds = (performance.now() - began) / 1000 / batch.length;
      for (const [i, { file, stem, image }] of batch.entries()) {
        try {
          await write(file, stem, image, results[i], seconds);
        } catch (error) {
          fail(file, error);
        }
      }
    }
  } finally {
    progress.stop();
    detector.close();
  }
  if (failures) {
    process.stderr.write(`mfp-clip: ${failures} of ${files.length} images could not be processed\n`);
    process.exitCode = 1;
  }
}

/** `mfp-clip detect`. */
export function detectCommand(): Command {
  const command = new Command('detect')
    .description('score photos of an object and map their defects')
    .argument('<image...>', 'photos (PNG or JPEG), folders or globs')
    .requiredOption('--class <name>', 'words for the object in the photos: "metal nut"');
  return withModel(command)
    .option('--mfp <file>', 'trained mfp.safetensors; without it: plain zero-shot CLIP')
    .option('--out <folder>', 'where maps (.npy) and heatmaps (.png) go', 'mfp-clip-out')
    .option('--batch <n>', 'images that run together', wholeNumber(1), 1)
    .option('--threshold <p>', 'probability from which a pixel is drawn, and an image called, abnormal', numberBetween(0, 1), 0.5)
    .action(detect);
}
