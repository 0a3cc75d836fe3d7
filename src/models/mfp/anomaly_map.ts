import { concatenate } from '../../ops/concatenate.ts';
import { cosineSoftmax } from '../../ops/cosine_softmax.ts';
import { gemm } from '../../ops/gemm.ts';
import { neighbourhoodPool } from '../../ops/neighbourhood_pool.ts';
import { upsampleMean } from '../../ops/upsample_mean.ts';
import { reshape, scope } from '../../tensor/recording.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type ImageTower, normPost, projectTokens } from '../clip/image_tower.ts';
import type { MfpConfig } from './config.ts';

/**
 * The adapter of one stage (eq. 7): two Linears, each followed by LeakyReLU.
 *
 * @param patches [batch, patches, Dv]
 * @returns [batch, patches, De]
 */
export function adapt(parameter: (name: string) => Tensor, stage: number, patches: Tensor): Tensor {
  const layer = (name: string, input: Tensor): Tensor =>
    gemm(input, parameter(`adapter.${stage}.${name}.weight`), { bias: parameter(`adapter.${stage}.${name}.bias`), activation: 'leaky_relu' });
  return layer('fc2', layer('fc1', patches));
}

/** What `anomalyMap` needs of the model. */
export interface AnomalyMapOptions {
  readonly config: MfpConfig;
  /** MFP's parameters. */
  readonly parameter: (name: string) => Tensor;
  readonly tower: ImageTower;
  /** Side of the map in pixels. */
  readonly size: number;
  readonly temperature: number;
}

/**
 * The anomaly map of one pass through the image tower (eq. 7-13): adapters, multi-patch feature aggregation, similarity
 * with the two texts, upsampling and the mean over the stages.
 *
 * @param taps of all four stages, [batch, patches, Dv] each
 * @param text [batch or 1, 2, De]
 * @returns the map [batch, size, size], probabilities of "abnormal", and the adapted features of each stage in `map.stages`
 */
export function anomalyMap(taps: readonly Tensor[], text: Tensor, options: AnomalyMapOptions): { readonly map: Tensor; readonly adapted: readonly Tensor[] } {
  const { config, parameter, tower, size, temperature } = options;
  const { grid } = tower;
  const adapted: Tensor[] = [];
  const perStage = config.map.stages.map((stage) =>
    scope(`stage ${stage}`, () => {
      const tap = taps[stage - 1];
      const features = config.adapter.enabled ? adapt(parameter, stage - 1, config.adapter.lnPost ? normPost(tower, tap) : tap) : projectTokens(tower, tap);
      adapted.push(features);
      const aggregated = config.mpfa.enabled && config.mpfa.size > 1 ? neighbourhoodPool(features, { rows: grid, columns: grid, size: config.mpfa.size }) : features;
      const probability = cosineSoftmax(aggregated, text, { temperature });
      return reshape(probability, [probability.shape[0], 1, grid * grid]);
    }),
  );
  const stacked = perStage.reduce((all, next) => concatenate(all, next, 1));
  return { map: upsampleMean(stacked, { rows: grid, columns: grid, height: size, width: size }), adapted };
}
