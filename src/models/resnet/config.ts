import { UserError } from '../../errors.ts';
import type { Checkpoint } from '../../io/safetensors.ts';

/** One residual block of a ResNet. */
export interface ResnetBlock {
  /** Prefix of its tensors: "layer2.0". */
  readonly name: string;
  readonly inputWidth: number;
  /** Width of the convolutions inside. */
  readonly width: number;
  readonly outputWidth: number;
  readonly stride: 1 | 2;
  /** Whether the shortcut is a convolution. */
  readonly downsample: boolean;
}

/** Structure of a ResNet as torchvision builds it (stride on the 3×3 convolution of a bottleneck). */
export interface ResnetConfig {
  /** Width after the stem. */
  readonly stemWidth: number;
  /** "bottleneck": 1×1, 3×3, 1×1 (ResNet-50 and deeper); "basic": 3×3, 3×3 (ResNet-18 and 34). */
  readonly kind: 'bottleneck' | 'basic';
  readonly blocks: readonly ResnetBlock[];
  /** Width of the pooled features. */
  readonly featureWidth: number;
}

/**
 * A ResNet of four stages.
 *
 * @param depths blocks per stage
 * @param widths width of the convolutions inside the blocks of each stage
 */
export function resnetConfig(kind: ResnetConfig['kind'], stemWidth: number, depths: readonly number[], widths: readonly number[], expansion = kind === 'bottleneck' ? 4 : 1): ResnetConfig {
  const blocks: ResnetBlock[] = [];
  let inputWidth = stemWidth;
  depths.forEach((depth, stage) => {
    const width = widths[stage];
    const outputWidth = width * expansion;
    for (let i = 0; i < depth; i++) {
      const stride = i === 0 && stage > 0 ? 2 : 1;
      blocks.push({ name: `layer${stage + 1}.${i}`, inputWidth, width, outputWidth, stride, downsample: stride !== 1 || inputWidth !== outputWidth });
      inputWidth = outputWidth;
    }
  });
  return { stemWidth, kind, blocks, featureWidth: inputWidth };
}

/** torchvision's resnet50. */
export const resnet50: ResnetConfig = resnetConfig('bottleneck', 64, [3, 4, 6, 3], [64, 128, 256, 512]);

/**
 * Reads the structure off a checkpoint with torchvision's or timm's names; any widths and depths.
 *
 * @throws UserError naming the tensor that is missing or has an impossible shape
 */
export function configOfResnetCheckpoint(checkpoint: Checkpoint): ResnetConfig {
  const outputOf = (name: string, axes = 4): number => {
    const found = checkpoint.tensors.get(name);
    if (!found) throw new UserError(`${checkpoint.file}: there is no tensor "${name}"; a ResNet with torchvision's or timm's names is needed`);
    if (found.shape.length !== axes) throw new UserError(`${checkpoint.file}: tensor "${name}" has ${found.shape.length} axes, ${axes} were expected`);
    return found.shape[0];
  };
  const stemWidth = outputOf('conv1.weight');
  const kind = checkpoint.tensors.has('layer1.0.conv3.weight') ? 'bottleneck' : 'basic';
  const depths: number[] = [];
  const widths: number[] = [];
  for (let stage = 1; stage <= 4; stage++) {
    let depth = 0;
    while (checkpoint.tensors.has(`layer${stage}.${depth}.conv1.weight`)) depth++;
    widths.push(outputOf(`layer${stage}.0.conv1.weight`));
    depths.push(depth);
  }
  const expansion = outputOf(`layer1.0.conv${kind === 'bottleneck' ? 3 : 2}.weight`) / widths[0];
  return resnetConfig(kind, stemWidth, depths, widths, expansion);
}
