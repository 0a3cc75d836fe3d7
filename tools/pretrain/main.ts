// Pretrains the embedded CLIP and ResNet on procedural images: what weights/ holds was made by this.
import { Command } from 'commander';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DeviceFlags, gpuOptions, numberBetween, variantPolicy, wholeNumber, withDevice } from '../../src/cli/options.ts';
import { UserError } from '../../src/errors.ts';
import { Gpu } from '../../src/gpu/device.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { clipPretraining, smallClip } from './clip.ts';
import { CaptionedImages, pretrainingSubjects } from './images.ts';
import { pretrain } from './loop.ts';
import { resnetPretraining } from './resnet.ts';

interface Flags extends DeviceFlags {
  readonly out: string;
  readonly work: string;
  readonly steps: number;
  readonly batch?: number;
  readonly perConcept: number;
  readonly closeUp?: boolean;
  readonly from?: string;
  readonly learningRate?: number;
  readonly saveEvery: number;
  readonly seed: number;
}

/** Side of the rendered pictures in pixels; training cuts its inputs out of them. */
const pictureSize = 128;

/** Side of the pictures that the ResNet is trained on, in pixels. */
const resnetSize = 80;

/** Pictures per update, and the largest learning rate. */
const recipes = { clip: { batch: 8, learningRate: 5e-4 }, resnet: { batch: 36, learningRate: 2e-3 } } as const;

async function main(model: string, flags: Flags): Promise<void> {
  if (model !== 'clip' && model !== 'resnet') throw new UserError(`there is no model "${model}" to pretrain; there are clip and resnet`);
  if (flags.from !== undefined && model !== 'clip') throw new UserError('--from is for the CLIP alone');
  if (flags.closeUp && model !== 'clip') throw new UserError('--close-up is for the CLIP alone');
  const images = await CaptionedImages.render(pretrainingSubjects(), { perConcept: flags.perConcept, size: pictureSize, seed: flags.seed, work: flags.work });
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    configureVariants(gpu, variantPolicy(flags));
    // Runs of different kinds go on each from its own state.
    const work = join(flags.work, `${model}${flags.closeUp ? '-close-up' : ''}${flags.from === undefined ? '' : '-continued'}`);
    const { learningRate, batch: usual } = recipes[model];
    const batch = flags.batch ?? usual;
    // A run that goes on draws other pictures than the one before it.
    const seed = flags.from === undefined ? flags.seed : flags.seed + 1;
    const training = model === 'clip' ? await clipPretraining(gpu, images, work, batch, seed, { cut: flags.closeUp ? 'close-up' : 'whole', from: flags.from }) : resnetPretraining(gpu, images, resnetSize, batch, seed);
    await pretrain(gpu, training, {
      out: work,
      steps: flags.steps,
      seed,
      optimizer: { kind: 'adamw', learningRate: flags.learningRate ?? learningRate, beta1: 0.9, beta2: 0.98, epsilon: 1e-6, weightDecay: 0.05, clipNorm: 1 },
      warmupSteps: Math.round(flags.steps / 20),
      saveEvery: flags.saveEvery,
      measureEvery: 10,
    });
    const metadata = { steps: String(flags.steps), seed: String(flags.seed), concepts: String(images.concepts.length), imageSize: String(model === 'clip' ? smallClip.vision.imageSize : resnetSize) };
    await training.save(model === 'clip' ? flags.out : join(flags.out, 'model.safetensors'), metadata);
    // The lines with figures are enough to ship with the checkpoint, after those of the run before it.
    const earlier = flags.from === undefined ? undefined : join(flags.from, 'log.jsonl');
    const before = earlier !== undefined && existsSync(earlier) ? readFileSync(earlier, 'utf8') : '';
    const lines = readFileSync(join(work, 'log.jsonl'), 'utf8').split('\n');
    await writeFileAtomic(join(flags.out, 'log.jsonl'), before + lines.filter((line) => /accuracy|auroc/i.test(line)).join('\n') + '\n');
  } finally {
    gpu.close();
  }
}

const command = withDevice(
  new Command('pretrain')
    .description('pretrain the small CLIP or ResNet of weights/ on procedural images; an interrupted run goes on')
    .argument('<model>', 'clip or resnet')
    .requiredOption('--out <folder>', 'where the checkpoint goes')
    .option('--work <folder>', 'rendered pictures, log and state of training', 'out/pretrain')
    .option('--steps <n>', 'updates', wholeNumber(1), 3000)
    .option('--batch <n>', `pictures per update; of the CLIP an even number, and of whole pictures at most two for each category (default: ${recipes.clip.batch}; of the ResNet ${recipes.resnet.batch})`, wholeNumber(2))
    .option('--per-concept <n>', 'pictures rendered of each category and defect, and twice as many of each category without defect', wholeNumber(1), 30)
    .option('--close-up', 'train what locates defects in the CLIP, on close-ups of them, at a quarter of the cost of whole pictures; texts and projections stay as they are')
    .option('--from <folder>', 'a CLIP that an earlier run made, to go on from')
    .option('--learning-rate <rate>', `largest learning rate (default: ${recipes.clip.learningRate}; of the ResNet ${recipes.resnet.learningRate})`, numberBetween(0, 1))
    .option('--save-every <n>', 'updates after which everything is saved to go on from', wholeNumber(1), 100)
    .option('--seed <n>', 'seed of everything', wholeNumber(0), 1),
).action(main);

try {
  await command.parseAsync();
} catch (error) {
  process.stderr.write(error instanceof UserError ? `pretrain: ${error.message}\n` : `pretrain: ${(error as Error).stack}\n`);
  process.exitCode = 1;
}
