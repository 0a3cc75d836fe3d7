import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { basename, dirname, extname, join, relative, resolve, sep } from 'node:path';
import { classWords } from '../data/dataset.ts';
import { type RgbImage, readImage } from '../data/image.ts';
import { listImages } from '../data/image_list.ts';
import { PhotoError } from '../data/preprocess.ts';
import { UserError } from '../errors.ts';
import { type Detection, loadModel, notNumbers } from '../eval/detector.ts';
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

/** Files of an image's results. */
interface Outputs {
  readonly map: string;
  readonly heatmap: string;
}

/** Whether a path is a folder, or leads somewhere below it. */
const isWithin = (path: string, folder: string): boolean => join(resolve(path), sep).startsWith(join(resolve(folder), sep));

/** The photos that patterns mean, without the results of earlier runs that are among them. */
async function listPhotos(patterns: readonly string[], out: string): Promise<string[]> {
  const files = await listImages(patterns);
  // Who names the folder of results means what is in it.
  const outNamed = patterns.some((pattern) => isWithin(pattern, out));
  const isResult = (file: string): boolean => (!outNamed && isWithin(file, out)) || (file.endsWith('.heatmap.png') && existsSync(file.replace(/heatmap\.png$/, 'npy')));
  const named = new Set(patterns);
  const photos = files.filter((file) => named.has(file) || !isResult(file));
  const left = files.length - photos.length;
  if (!photos.length) throw new UserError(`all ${left} images are results of an earlier run: name the photos`);
  if (left) process.stderr.write(`mfp-clip: left out ${left} images that are results of an earlier run\n`);
  return photos;
}

/**
 * Where the outputs of each image go: the images' folder structure below their common folder, under `out`.
 *
 * @throws UserError when one would take the place of a photo
 */
function outputsOf(files: readonly string[], out: string): Outputs[] {
  const folders = files.map((file) => dirname(resolve(file)));
  const common = folders.reduce((shared, folder) => {
    while (!isWithin(folder, shared)) shared = dirname(shared);
    return shared;
  });
  const photos = new Map(files.map((file) => [resolve(file), file]));
  const used = new Set<string>();
  return files.map((file, i) => {
    const folder = join(out, relative(common, folders[i]));
    const name = basename(file);
    // "a.png" and "a.jpg" in one folder: the second keeps its ending. After "a.jpg.png" that is taken, too.
    let stem = join(folder, basename(name, extname(name)));
    for (let turn = 1; used.has(stem); turn++) stem = join(folder, turn === 1 ? name : `${name}-${turn}`);
    used.add(stem);
    const outputs = { map: `${stem}.npy`, heatmap: `${stem}.heatmap.png` };
    const photo = photos.get(resolve(outputs.heatmap));
    if (photo !== undefined) throw new UserError(`--out ${out}: the heatmap of ${file} would take the place of the photo ${photo}. Choose another --out.`);
    return outputs;
  });
}

async function detect(patterns: string[], flags: DetectFlags): Promise<void> {
  const className = classWords(flags.class);
  if (className === '') throw new UserError('--class is empty; name the object in the photos, for example --class "metal nut"');
  const files = await listPhotos(patterns, flags.out);
  const outputs = outputsOf(files, flags.out);
  await prepareOut(flags.out);
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
  const write = async (file: string, outputs: Outputs, image: RgbImage, { score, map, size }: Detection, seconds: number): Promise<void> => {
    if (!map.every(Number.isFinite)) throw notNumbers(file, flags.precision);
    await writeNpy(outputs.map, map, [size, size]);
    await writeFileAtomic(outputs.heatmap, heatmapOverlay({ image, map, mapWidth: size, mapHeight: size, threshold: flags.threshold, caption: `${className}  score ${score.toFixed(3)}` }));
    print({ file, class: className, score, abnormal: score >= flags.threshold, seconds: Number(seconds.toFixed(4)), ...outputs });
    progress.step();
  };
  /** Detections of a batch; undefined when one of its photos is too much for the device: that one is reported and taken out. */
  const detectBatch = async (batch: { readonly file: string; readonly image: RgbImage }[]): Promise<Detection[] | undefined> => {
    try {
      return await detector.detect(
        batch.map(({ image }) => image),
        className,
      );
    } catch (error) {
      const at = error instanceof PhotoError ? batch.findIndex(({ image }) => image === error.image) : -1;
      if (at < 0) throw error;
      const [{ file }] = batch.splice(at, 1);
      fail(file, (error as PhotoError).of(file));
      return undefined;
    }
  };
  try {
    for (let start = 0; start < files.length; start += flags.batch) {
      const batch: { file: string; outputs: Outputs; image: RgbImage }[] = [];
      for (let i = start; i < Math.min(files.length, start + flags.batch); i++) {
        const file = files[i];
        try {
          batch.push({ file, outputs: outputs[i], image: await readImage(file) });
        } catch (error) {
          fail(file, error);
        }
      }
      let began: number;
      let results: Detection[] | undefined;
      do {
        began = performance.now();
        results = await detectBatch(batch);
      } while (!results);
      const seconds = (performance.now() - began) / 1000 / batch.length;
      for (const [i, { file, outputs, image }] of batch.entries()) {
        try {
          await write(file, outputs, image, results[i], seconds);
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
