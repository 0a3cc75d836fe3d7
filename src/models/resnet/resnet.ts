import { globalAveragePool } from '../../ops/global_average_pool.ts';
import { maxPool } from '../../ops/max_pool.ts';
import { transpose } from '../../ops/transpose.ts';
import { reshape, scope } from '../../tensor/recording.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { ResnetConfig } from './config.ts';

/** How one convolution is computed: with BatchNorm folded into it (frozen), or followed by it (trained). */
export type ConvolutionLayer = (
  name: string,
  input: Tensor,
  options: { readonly stride: number; readonly padding: number; readonly relu: boolean; readonly residual?: Tensor },
) => Tensor;

/** [batch, channels, height, width] as images come to [batch, height, width, channels] as convolutions want them. */
export function channelsLast(image: Tensor): Tensor {
  const [batch, channels, height, width] = image.shape;
  return reshape(transpose(reshape(image, [batch, channels, height * width])), [batch, height, width, channels]);
}

/**
 * Globally average pooled features of a ResNet (torchvision's forward without the classifier).
 *
 * @param image [batch, height, width, 3], ImageNet-normalised
 * @param convolve computes the convolution with that name
 * @returns [batch, featureWidth]
 */
export function resnetFeatures(config: ResnetConfig, image: Tensor, convolve: ConvolutionLayer): Tensor {
  let x = scope('stem', () => maxPool(convolve('conv1', image, { stride: 2, padding: 3, relu: true }), { size: 3, stride: 2, padding: 1 }));
  for (const { name, stride, downsample } of config.blocks) {
    x = scope(name, () => {
      const shortcut = downsample ? convolve(`${name}.downsample.0`, x, { stride, padding: 0, relu: false }) : x;
      if (config.kind === 'basic') {
        const inner = convolve(`${name}.conv1`, x, { stride, padding: 1, relu: true });
        return convolve(`${name}.conv2`, inner, { stride: 1, padding: 1, relu: true, residual: shortcut });
      }
      const reduced = convolve(`${name}.conv1`, x, { stride: 1, padding: 0, relu: true });
      const inner = convolve(`${name}.conv2`, reduced, { stride, padding: 1, relu: true });
      return convolve(`${name}.conv3`, inner, { stride: 1, padding: 0, relu: true, residual: shortcut });
    });
  }
  return globalAveragePool(x);
}
