// `npm run bench:step`: how long a training step takes, and on which kernels. Weights are random numbers of the chosen
// sizes, so that no checkpoint is needed.
import { Command, Option } from 'commander';
import { interquartileRange, median } from 'simple-statistics';
import { fileURLToPath } from 'node:url';
import { prepareFile, wholeNumber } from '../../src/cli/options.ts';
import { UserError } from '../../src/errors.ts';
import { Gpu } from '../../src/gpu/device.ts';
import { formatBytes } from '../../src/gpu/memory.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { openCheckpoint } from '../../src/io/safetensors.ts';
import { gridOf, readClipSizes } from '../../src/models/clip/clip.ts';
import { type ClipConfig, vitLarge14 } from '../../src/models/clip/config.ts';
import { mfpFromSizes } from '../../src/models/mfp/from_sizes.ts';
import { type ResnetConfig, configOfResnetCheckpoint, resnet50 } from '../../src/models/resnet/config.ts';
import { table } from '../../src/report/table.ts';
import { Program } from '../../src/tensor/program.ts';
import { declaredTensor, emptyTensor, writeTensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { defaultRunConfig, mfpConfigOf, rateFactorOf } from '../../src/train/config.ts';
import { MfpTrainer, type TrainingExample } from '../../src/train/mfp_trainer.ts';
import { optimizerTensors, recordUpdate } from '../../src/train/optimizer.ts';

interface Flags {
  readonly model: 'small' | 'vit-l';
  readonly precision: 'f32' | 'f16';
  readonly recompute?: boolean;
  readonly batch: number;
  readonly updates: number;
  readonly json?: string;
}

/** What `--model` means. */
async function sizesOf(model: Flags['model']): Promise<{ clip: ClipConfig; cnn: ResnetConfig; size: number }> {
  if (model === 'vit-l') return { clip: vitLarge14, cnn: resnet50, size: 518 };
  const weights = fileURLToPath(new URL('../../weights/', import.meta.url));
  const clip = await readClipSizes(`${weights}clip`);
  const checkpoint = await openCheckpoint(`${weights}cnn`);
  const cnn = configOfResnetCheckpoint(checkpoint);
  await checkpoint.close();
  return { clip, cnn, size: clip.vision.imageSize };
}

/** Small random numbers, one stretch of them over and over: no sum overflows, and none is a denormal. */
function noise(count: number, scale: number): Float32Array {
  const random = new RandomSource(1);
  const stretch = Float32Array.from({ length: 4099 }, () => random.uniform(-scale, scale));
  return Float32Array.from({ length: count }, (_, i) => stretch[i % stretch.length]);
}

/** Which pass a dispatch belongs to, by its place in the model. */
function passOf(scope: string): string {
  if (scope.split('/')[0] === 'optimizer') return 'update';
  // The last part of a scope says so where it is not the forward pass.
  return { backward: 'backward', accumulation: 'backward', again: 'recomputed' }[scope.split('/').at(-1)!] ?? 'forward';
}

/** "258.1 ms (± 12)": median and interquartile range. @param times milliseconds, which stay in their order */
function spread(times: readonly number[]): string {
  return `${median([...times]).toPrecision(4)} ms (± ${interquartileRange([...times]).toPrecision(2)})`;
}

async function main(flags: Flags): Promise<void> {
  await prepareFile('--json', flags.json);
  const gpu = await Gpu.open();
  try {
    await timeSteps(gpu, flags);
  } finally {
    gpu.close();
  }
}

async function timeSteps(gpu: Gpu, flags: Flags): Promise<void> {
  configureVariants(gpu, { mode: 'measure' });
  const { clip, cnn, size } = await sizesOf(flags.model);
  const { precision, batch, recompute = false } = flags;
  const config = { ...defaultRunConfig, image: { size }, training: { ...defaultRunConfig.training, precision, batch, recompute } };
  const made = mfpFromSizes(clip, cnn, mfpConfigOf(config), gridOf(clip, size, flags.model), precision, (shape, dtype, label) => {
    const result = emptyTensor(gpu, shape, dtype, label);
    writeTensor(gpu, result, noise(result.size, 0.05));
    return result;
  });
  const { context, width } = clip.text;
  const trainer = await MfpTrainer.create(gpu, { ...made, prompts: async () => ({ embeddings: noise(2 * context * width, 0.05), endOfText: [7, 8] }) }, config);
  const examples = Array.from({ length: batch }, (): TrainingExample => ({
    name: 'noise',
    className: 'noise',
    image: noise(3 * size * size, 1),
    features: noise(cnn.featureWidth, 1),
    mask: new Float32Array(size * size).fill(1, 0, size),
    label: 1,
  }));
  const { parameters } = made.model;
  // The trainer tells the dispatches of its passes only. The same recording on tensors without memory tells those of the update.
  const update = await Program.plan(gpu, () => recordUpdate(parameters, optimizerTensors(parameters, declaredTensor, (name) => rateFactorOf(config.optimizer, name)), config.optimizer));
  const dispatches = trainer.dispatches + update.dispatches;

  let step = 0;
  // The first one compiles.
  await trainer.update(examples, ++step, 1e-6);
  const wall: number[] = [];
  const gpuTimes: number[] = [];
  const kernels = new Map<string, { pass: string; kernel: string; dispatches: number; milliseconds: number }>();
  for (let round = 0; round < flags.updates; round++) {
    const start = performance.now();
    await trainer.update(examples, ++step, 1e-6);
    wall.push(performance.now() - start);
    if (!gpu.timestamps) continue;
    const times = await trainer.timeUpdate(examples, ++step, 1e-6);
    gpuTimes.push(times.reduce((sum, { nanoseconds }) => sum + nanoseconds, 0) / 1e6);
    for (const { kernel, scope, nanoseconds } of times) {
      const pass = passOf(scope);
      const file = kernel.split(' ')[0];
      const entry = kernels.get(`${pass} ${file}`) ?? { pass, kernel: file, dispatches: 0, milliseconds: 0 };
      entry.dispatches++;
      entry.milliseconds += nanoseconds / 1e6;
      kernels.set(`${pass} ${file}`, entry);
    }
  }
  const ofOneUpdate = [...kernels.values()].map((entry) => ({ ...entry, dispatches: entry.dispatches / flags.updates, milliseconds: entry.milliseconds / flags.updates }));
  const inOrder = ofOneUpdate.sort((a, b) => b.milliseconds - a.milliseconds);
  const all = inOrder.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  // Before anything is printed: whoever reads that may be gone, and this process with it.
  if (flags.json !== undefined) await writeFileAtomic(flags.json, `${JSON.stringify({ ...flags, adapter: gpu.key, date: new Date().toISOString(), dispatches, wallMilliseconds: wall, gpuMilliseconds: gpuTimes, kernels: inOrder }, null, 2)}\n`);
  const rows = inOrder.map((entry) => [entry.pass, entry.kernel, entry.dispatches.toFixed(0), entry.milliseconds.toPrecision(4), `${((100 * entry.milliseconds) / all).toFixed(1)}%`]);
  process.stdout.write(`${flags.model}, ${size} × ${size}, batch ${batch}, ${precision}${recompute ? ', recomputation' : ''} on ${gpu.adapter.description || gpu.key}\n`);
  process.stdout.write(`update, wall clock: ${spread(wall)}; its kernels on the GPU's clock: ${gpuTimes.length ? spread(gpuTimes) : 'no timestamps on this adapter'}\n`);
  process.stdout.write(`${dispatches} dispatches, ${update.dispatches} of them the optimizer's; ${formatBytes(trainer.plannedBytes)} of intermediates, peak device memory ${formatBytes(gpu.memory.peak)}\n\n`);
  if (rows.length) process.stdout.write(table(['pass', 'kernel', 'dispatches', 'ms', 'share'], rows));
}

const command = new Command('bench:step')
  .description('time a training step of MFP-CLIP with random weights')
  .addOption(new Option('--model <name>', 'small: the sizes of weights/; vit-l: ViT-L/14 with 518 × 518 images and ResNet-50').choices(['small', 'vit-l']).default('small'))
  .addOption(new Option('--precision <type>', 'storage of weights and activations').choices(['f32', 'f16']).default('f32'))
  .option('--recompute', 'less memory for more time')
  .option('--batch <n>', 'images per pass', wholeNumber(1), 1)
  .option('--updates <n>', 'timed updates', wholeNumber(1), 5)
  .option('--json <file>', 'write the times as JSON')
  .action(main);

try {
  await command.parseAsync();
} catch (error) {
  process.stderr.write(error instanceof UserError ? `bench:step: ${error.message}\n` : `bench:step: ${(error as Error).stack}\n`);
  process.exitCode = 1;
}
