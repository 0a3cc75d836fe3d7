import { Command } from 'commander';
import { Gpu } from '../gpu/device.ts';
import { formatBytes } from '../gpu/memory.ts';
import { openCheckpoint } from '../io/safetensors.ts';
import { readClipSizes } from '../models/clip/clip.ts';
import { vitLarge14 } from '../models/clip/config.ts';
import { needsCnn } from '../models/mfp/config.ts';
import { type ResnetConfig, configOfResnetCheckpoint, resnet50 } from '../models/resnet/config.ts';
import { table } from '../report/table.ts';
import { configureVariants } from '../tensor/variants.ts';
import { planTraining } from '../train/plan.ts';
import { type DeviceFlags, withDevice } from './options.ts';
import { type ConfigFlags, runConfigFor, withConfig } from './train.ts';

/** What changes a plan, of the flags of training: precisions and recomputation are rows of their own. */
const planFlags = ['--config', '--set', '--batch', '--size', '--adapter', '--variant'];

interface PlanFlags extends Pick<ConfigFlags, 'config' | 'set' | 'batch' | 'size'>, Pick<DeviceFlags, 'adapter' | 'variant'> {
  readonly clip?: string;
  readonly cnn?: string;
}

async function resnetSizes(path: string): Promise<ResnetConfig> {
  const checkpoint = await openCheckpoint(path);
  try {
    return configOfResnetCheckpoint(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

async function plan(flags: PlanFlags): Promise<void> {
  const clip = flags.clip === undefined ? vitLarge14 : await readClipSizes(flags.clip);
  const config = runConfigFor(flags, clip);
  const cnn = flags.cnn !== undefined ? await resnetSizes(flags.cnn) : needsCnn(config) ? resnet50 : undefined;
  const gpu = await Gpu.open({ adapter: flags.adapter });
  try {
    // Measuring would need the memory that is only asked for.
    configureVariants(gpu, { mode: 'default', forced: flags.variant });
    const rows: string[][] = [];
    for (const precision of ['f32', 'f16'] as const) {
      for (const recompute of [false, true]) {
        const { weights, trained, inputs, intermediates, others, total, dispatches } = await planTraining(gpu, { clip, cnn, clipName: flags.clip ?? 'ViT-L/14' }, { ...config, training: { ...config.training, precision, recompute } });
        rows.push([precision, recompute ? 'yes' : 'no', ...[weights, trained, inputs, intermediates, others, total].map(formatBytes), String(dispatches)]);
      }
    }
    const { size } = config.image;
    process.stdout.write(`Training with ${config.training.batch} image${config.training.batch > 1 ? 's' : ''} of ${size} × ${size} a pass on ${gpu.adapter.description || gpu.key}:\n\n`);
    process.stdout.write(table(['--precision', '--recompute', 'weights', 'trained', 'inputs', 'intermediates', 'other programs', 'total', 'dispatches'], rows));
    process.stdout.write('\nOn top come the resizing of a photo while it is loaded, and with --val a forward pass while the model is measured.\n');
  } finally {
    gpu.close();
  }
}

/** `mfp-clip plan`. */
export function planCommand(): Command {
  const command = new Command('plan')
    .description('say how much device memory training needs, in f32 and f16, with and without recomputation; nothing is loaded or run')
    .option('--clip <path>', 'CLIP: a folder with the config.json of a Hugging Face CLIP, or safetensors with OpenAI\'s names; default: the sizes of ViT-L/14')
    .option('--cnn <path>', 'ResNet: safetensors with torchvision\'s or timm\'s names; default: the sizes of ResNet-50');
  for (const option of withDevice(withConfig(new Command())).options) if (planFlags.includes(option.long!)) command.addOption(option);
  return command.action(plan);
}
