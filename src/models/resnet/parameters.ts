import type { ParameterSpec } from '../../nn/parameters.ts';
import type { ResnetConfig } from './config.ts';

/** A convolution followed by BatchNorm, by the names of its tensors. */
export interface NormalisedConvolution {
  readonly weight: ParameterSpec;
  /** BatchNorm's vectors of one value per output channel. */
  readonly scale: ParameterSpec;
  readonly shift: ParameterSpec;
  readonly mean: ParameterSpec;
  readonly variance: ParameterSpec;
}

function normalisedConvolution(convolution: string, norm: string, kernel: number, input: number, output: number): NormalisedConvolution {
  const vector = (field: string): ParameterSpec => ({ name: `${norm}.${field}`, parts: [{ name: `${norm}.${field}`, shape: [output] }], layout: 'as stored' });
  return {
    weight: { name: `${convolution}.weight`, parts: [{ name: `${convolution}.weight`, shape: [output, input, kernel, kernel] }], layout: 'convolution' },
    scale: vector('weight'),
    shift: vector('bias'),
    mean: vector('running_mean'),
    variance: vector('running_var'),
  };
}

/** Every convolution of a ResNet with its BatchNorm, by the convolution's name. */
export function resnetConvolutions(config: ResnetConfig): Map<string, NormalisedConvolution> {
  const result = new Map<string, NormalisedConvolution>();
  const put = (convolution: string, norm: string, kernel: number, input: number, output: number): void => {
    result.set(convolution, normalisedConvolution(convolution, norm, kernel, input, output));
  };
  put('conv1', 'bn1', 7, 3, config.stemWidth);
  for (const { name, inputWidth, width, outputWidth, downsample } of config.blocks) {
    if (config.kind === 'bottleneck') {
      put(`${name}.conv1`, `${name}.bn1`, 1, inputWidth, width);
      put(`${name}.conv2`, `${name}.bn2`, 3, width, width);
      put(`${name}.conv3`, `${name}.bn3`, 1, width, outputWidth);
    } else {
      put(`${name}.conv1`, `${name}.bn1`, 3, inputWidth, width);
      put(`${name}.conv2`, `${name}.bn2`, 3, width, outputWidth);
    }
    if (downsample) put(`${name}.downsample.0`, `${name}.downsample.1`, 1, inputWidth, outputWidth);
  }
  return result;
}
