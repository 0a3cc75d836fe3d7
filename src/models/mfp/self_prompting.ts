import { concatenate } from '../../ops/concatenate.ts';
import { gemm } from '../../ops/gemm.ts';
import { reshape, scope } from '../../tensor/recording.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { stageCount } from './parameters.ts';

/**
 * The layers, counted from 1, before which self prompting appends fresh prompts (eq. 5): those of the named quarters of
 * the tower, but never layer 1.
 */
export function promptedLayers(stages: readonly number[], layers: number): ReadonlySet<number> {
  const result = new Set<number>();
  for (const stage of stages) {
    for (let layer = ((stage - 1) * layers) / stageCount + 1; layer <= (stage * layers) / stageCount; layer++) if (layer > 1) result.add(layer);
  }
  return result;
}

/**
 * Self prompting (eq. 3-4): K prompts from the image's CNN features, then K learned ones.
 *
 * @param features [batch, Dc]
 * @returns [batch, 2K, Dv]
 */
export function selfPrompts(parameter: (name: string) => Tensor, features: Tensor): Tensor {
  return scope('sp', () => {
    const learned = parameter('sp.tokens');
    const [count, width] = learned.shape;
    const own = gemm(features, parameter('sp.proj.weight'), { bias: parameter('sp.proj.bias') });
    return concatenate(reshape(own, [features.shape[0], count, width]), reshape(learned, [1, count, width]), 1);
  });
}
