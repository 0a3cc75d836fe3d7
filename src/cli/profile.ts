import { Command } from 'commander';
import { classWords } from '../data/dataset.ts';
import { type RgbImage, readImage } from '../data/image.ts';
import { listImages } from '../data/image_list.ts';
import { UserError } from '../errors.ts';
import { loadModel } from '../eval/detector.ts';
import { Gpu } from '../gpu/device.ts';
import { writeFileAtomic } from '../io/files.ts';
import { readClipSizes } from '../models/clip/clip.ts';
import { loadMfp } from '../models/mfp/load.ts';
import { type TimedRun, profileText, typicalRun } from '../report/profile.ts';
import { chromeTrace } from '../report/trace.ts';
import type { KernelTime } from '../tensor/program.ts';
import { configureVariants } from '../tensor/variants.ts';
import { mfpConfigOf } from '../train/config.ts';
import { ExampleLoader } from '../train/examples.ts';
import { MfpTrainer, type TrainingExample } from '../train/mfp_trainer.ts';
import { type DeviceFlags, type ModelFlags, gpuOptions, listOfNames, modelOptions, prepareFile, variantPolicy, wholeNumber, withDevice, withModel } from './options.ts';
import { type ConfigFlags, openChecked, runConfigFor, withConfig } from './train.ts';

interface ProfileFlags {
  readonly rounds: number;
  readonly depth: number;
  readonly trace?: string;
}

/** Something to look into. */
interface Subject {
  readonly what: string;
  /** One run as a person makes it. */
  run(): Promise<unknown>;
  /** One run with every kernel timed. */
  time(): Promise<readonly KernelTime[]>;
  /** Bytes of buffers for intermediates, and dispatches of a run. */
  plan(): Promise<{ readonly plannedBytes: number; readonly dispatches: number }>;
}

/** Measures and prints. Plain and timed runs take turns, so that other work on the machine meets both. */
async function profile(gpu: Gpu, { what, run, time, plan }: Subject, { rounds, depth, trace }: ProfileFlags): Promise<void> {
  if (trace !== undefined && !gpu.timestamps) throw new UserError(`--trace: ${gpu.adapter.description || gpu.key} has no timestamp-query, so no kernel can be timed. Choose another with --adapter, or leave --trace out.`);
  // The first run compiles kernels.
  await run();
  const wallMilliseconds: number[] = [];
  const timedRuns: TimedRun[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await run();
    wallMilliseconds.push(performance.now() - start);
    if (!gpu.timestamps) continue;
    const timedStart = performance.now();
    const times = await time();
    timedRuns.push({ times, wallMilliseconds: performance.now() - timedStart });
  }
  const { plannedBytes, dispatches } = await plan();
  const adapter = gpu.adapter.description || gpu.key;
  const otherBytes = gpu.memory.allocated - plannedBytes;
  // Before anything is printed: whoever reads that may be gone, and this process with it.
  if (trace !== undefined) await writeFileAtomic(trace, `${JSON.stringify(chromeTrace(typicalRun(timedRuns), { adapter, what }, otherBytes))}\n`);
  process.stdout.write(profileText({ what, adapter, wallMilliseconds, timedRuns: gpu.timestamps ? timedRuns : undefined, dispatches, plannedBytes, otherBytes }, depth));
  if (trace !== undefined) process.stdout.write(`\nThe trace is ${trace}; open it at https://ui.perfetto.dev or chrome://tracing\n`);
}

interface DetectFlags extends ModelFlags, ProfileFlags {
  readonly class: string;
}

async function profileDetect(patterns: string[], flags: DetectFlags): Promise<void> {
  const className = classWords(flags.class);
  if (className === '') throw new UserError('--class is empty; name the object in the photos, for example --class "metal nut"');
  const images: RgbImage[] = [];
  for (const file of await listImages(patterns)) images.push(await readImage(file));
  await prepareFile('--trace', flags.trace);
  const detector = await loadModel(modelOptions(flags));
  try {
    const subject: Subject = {
      what: `detect, ${images.length} image${images.length > 1 ? 's' : ''} at ${detector.size} × ${detector.size}, ${flags.precision}`,
      run: () => detector.detect(images, className),
      time: () => detector.time(images, className),
      async plan() {
        const { memory, dispatches } = await detector.plan(images.length);
        return { plannedBytes: memory.bytes, dispatches };
      },
    };
    await profile(detector.gpu, subject, flags);
  } finally {
    detector.close();
  }
}

interface TrainFlags extends DeviceFlags, ConfigFlags, ProfileFlags {
  readonly data: string;
  readonly classes?: readonly string[];
  readonly clip: string;
  readonly cnn?: string;
}

async function profileTrain(flags: TrainFlags): Promise<void> {
  const config = runConfigFor(flags, await readClipSizes(flags.clip));
  const { samples } = await openChecked(flags.data, 'test', flags.classes, false);
  if (!samples.length) throw new UserError(`${flags.data} has no images to train on`);
  const { batch, accumulation, precision, seed } = config.training;
  await prepareFile('--trace', flags.trace);
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    configureVariants(gpu, variantPolicy(flags));
    const loaded = await loadMfp(gpu, { clip: flags.clip, cnn: flags.cnn, config: mfpConfigOf(config), size: config.image.size, precision, parameterPrecision: 'f32', seed });
    const trainer = await MfpTrainer.create(gpu, loaded, config);
    const loader = await ExampleLoader.create(gpu, samples, loaded);
    const examples: TrainingExample[] = [];
    for (let i = 0; i < batch * accumulation; i++) examples.push(await loader.load(i % samples.length));
    loader.destroy();
    // Only in memory: no file of a run is written.
    let step = 0;
    const { learningRate } = config.optimizer;
    const subject: Subject = {
      what: `train, one update of ${accumulation > 1 ? `${accumulation} × ` : ''}${batch} image${batch > 1 ? 's' : ''} at ${loaded.imageSize} × ${loaded.imageSize}, ${precision}`,
      run: () => trainer.update(examples, ++step, learningRate),
      time: () => trainer.timeUpdate(examples, ++step, learningRate),
      plan: async () => ({ plannedBytes: trainer.plannedBytes, dispatches: trainer.dispatches }),
    };
    await profile(gpu, subject, flags);
    trainer.destroy();
    loaded.destroy();
  } finally {
    gpu.close();
  }
}

function withProfile(command: Command): Command {
  return command
    .option('--rounds <n>', 'runs to measure, and as many with every kernel timed', wholeNumber(1), 3)
    .option('--depth <n>', 'parts of the model inside each other that make a layer in the table: 2 for "first pass/layer 3"', wholeNumber(1), 2)
    .option('--trace <file>', 'write a trace for Perfetto or chrome://tracing: kernels, layers and memory over time');
}

/** `mfp-clip profile`. */
export function profileCommand(): Command {
  const detect = new Command('detect')
    .description('where the time of a detection goes; all photos run as one batch')
    .argument('<image...>', 'photos (PNG or JPEG), folders or globs')
    .requiredOption('--class <name>', 'words for the object in the photos: "metal nut"');
  withModel(detect).option('--mfp <file>', 'trained mfp.safetensors; without it: plain zero-shot CLIP');
  const train = new Command('train')
    .description('where the time of an update goes; nothing is saved')
    .requiredOption('--data <folder>', 'data set to take images from')
    .option('--classes <list>', 'classes to take them from, separated by commas; default: all', listOfNames)
    .requiredOption('--clip <path>', 'CLIP: a Hugging Face folder, or safetensors with OpenAI\'s names')
    .option('--cnn <path>', 'ResNet: safetensors with torchvision\'s or timm\'s names');
  return new Command('profile')
    .description('time per kernel and per layer, time outside of kernels, and memory')
    .addCommand(withProfile(detect).action(profileDetect))
    .addCommand(withProfile(withDevice(withConfig(train))).action(profileTrain));
}
