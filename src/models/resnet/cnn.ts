import type { Gpu } from '../../gpu/device.ts';
import { openCheckpoint } from '../../io/safetensors.ts';
import { checkParameters, parameterShape, readParameter, toDeviceOrder } from '../../nn/parameters.ts';
import type { ImageNormalisation } from '../../data/preprocess.ts';
import { convolution } from '../../ops/convolution.ts';
import { type Shape, type Tensor, freeTensor, tensor } from '../../tensor/tensor.ts';
import { type ResnetConfig, configOfResnetCheckpoint } from './config.ts';
import { type NormalisedConvolution, resnetConvolutions } from './parameters.ts';
import { channelsLast, resnetFeatures } from './resnet.ts';

/** ε of torchvision's BatchNorm. */
const epsilon = 1e-5;

/** ImageNet's constants, which torchvision's and timm's ResNets are trained with. */
export const imageNetNormalisation: ImageNormalisation = {
  mean: [0.485, 0.456, 0.406],
  std: [0.229, 0.224, 0.225],
};

/** A frozen ResNet on the device, BatchNorm folded into its convolutions. */
export interface Cnn {
  readonly config: ResnetConfig;
  /**
   * Records the pooled features.
   *
   * @param image [batch, 3, height, width], ImageNet-normalised
   * @returns [batch, featureWidth]
   */
  features(image: Tensor): Tensor;
  /** Frees the device memory. */
  destroy(): void;
}

/** Weight and bias of a convolution that does what convolution and BatchNorm (evaluation mode) did together. */
function fold(weight: Float32Array, scale: Float32Array, shift: Float32Array, mean: Float32Array, variance: Float32Array): { weight: Float32Array; bias: Float32Array } {
  const perOutput = weight.length / scale.length;
  const folded = new Float32Array(weight.length);
  const bias = new Float32Array(scale.length);
  for (let output = 0; output < scale.length; output++) {
    const factor = scale[output] / Math.sqrt(variance[output] + epsilon);
    bias[output] = shift[output] - mean[output] * factor;
    for (let i = output * perOutput; i < (output + 1) * perOutput; i++) folded[i] = weight[i] * factor;
  }
  return { weight: folded, bias };
}

/** A convolution with BatchNorm folded into it. */
interface FoldedConvolution {
  readonly weight: Tensor;
  readonly bias: Tensor;
}

function featuresOf(config: ResnetConfig, weights: ReadonlyMap<string, FoldedConvolution>): Cnn['features'] {
  return (image) =>
    resnetFeatures(config, channelsLast(image), (name, input, { stride, padding, relu, residual }) => {
      const { weight, bias } = weights.get(name)!;
      return convolution(input, weight, { bias, residual, activation: relu ? 'relu' : 'none', stride, padding });
    });
}

/** A ResNet of given sizes, without a file. @param make gives each weight its memory and numbers, or none */
export function cnnFromSizes(config: ResnetConfig, make: (shape: Shape, label: string) => Tensor): Pick<Cnn, 'features'> & { readonly weights: readonly Tensor[] } {
  const weights = new Map<string, FoldedConvolution>();
  for (const [name, { weight, shift }] of resnetConvolutions(config)) weights.set(name, { weight: make(parameterShape(weight), `${name}.weight`), bias: make(parameterShape(shift), `${name}.bias`) });
  return { features: featuresOf(config, weights), weights: [...weights.values()].flatMap(({ weight, bias }) => [weight, bias]) };
}

/** Everything in the blocks but what only training reads: relatives of the ResNet, such as timm's with squeeze and excitation, have more there. */
const ofBlocks = /^layer\d+\.(?!.*\.num_batches_tracked$)/;

/**
 * Loads a frozen ResNet from safetensors with torchvision's or timm's names.
 *
 * @param path file or folder
 * @throws UserError naming the file and the tensor that is missing or has the wrong shape
 */
export async function loadCnn(gpu: Gpu, path: string, dtype: 'f32' | 'f16' = 'f32'): Promise<Cnn> {
  const checkpoint = await openCheckpoint(path);
  try {
    const config = configOfResnetCheckpoint(checkpoint);
    const convolutions = resnetConvolutions(config);
    checkParameters(checkpoint, [...convolutions.values()].flatMap((parts) => Object.values(parts as NormalisedConvolution)), 'a ResNet of these widths', ofBlocks);
    const weights = new Map<string, FoldedConvolution>();
    for (const [name, parts] of convolutions) {
      const read = (part: keyof NormalisedConvolution): Promise<Float32Array> => readParameter(checkpoint, parts[part]);
      const { weight, bias } = fold(await read('weight'), await read('scale'), await read('shift'), await read('mean'), await read('variance'));
      weights.set(name, {
        weight: tensor(gpu, toDeviceOrder(parts.weight, weight), parameterShape(parts.weight), dtype, `${name}.weight`),
        bias: tensor(gpu, bias, [bias.length], dtype, `${name}.bias`),
      });
    }
    return {
      config,
      features: featuresOf(config, weights),
      destroy() {
        for (const { weight, bias } of weights.values()) [weight, bias].forEach((unused) => freeTensor(gpu, unused));
      },
    };
  } finally {
    await checkpoint.close();
  }
}
