import { UserError } from '../../errors.ts';
import { parameterLookup } from '../../nn/parameters.ts';
import { maximum } from '../../ops/maximum.ts';
import { reshape, scope } from '../../tensor/recording.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type ImageTower, type LayerPrompts, embedImage, runImageTower } from '../clip/image_tower.ts';
import { type TextTower, runTextTower } from '../clip/text_tower.ts';
import { anomalyMap } from './anomaly_map.ts';
import type { MfpConfig } from './config.ts';
import { imageToTextPrompting } from './i2tp.ts';
import { maskPrompting } from './mask_prompting.ts';
import { stageCount } from './parameters.ts';
import { promptedLayers, selfPrompts } from './self_prompting.ts';

/** MFP-CLIP on the device: frozen towers and MFP's own parameters. */
export interface Mfp {
  readonly config: MfpConfig;
  readonly image: ImageTower;
  readonly text: TextTower;
  /** Trained tensors by the names of `mfpParameters`. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Factor on the cosine similarities. */
  readonly temperature: number;
}

/** The two prompts of one class (DESIGN: I2TP), normal first. */
export function promptsOf(className: string): readonly [string, string] {
  return [`A photo of a normal ${className}`, `A photo of a abnormal ${className}`];
}

/** What one image batch gives; all tensors of one recording. */
export interface MfpOutputs {
  /** [batch or 1, 2, De]: normal and abnormal. */
  readonly text: Tensor;
  /** Per stage [batch, patches, Dv], of the last pass. */
  readonly taps: readonly Tensor[];
  /** The same of the first pass. */
  readonly coarseTaps: readonly Tensor[];
  /** Adapted features of each averaged stage [batch, patches, De], of the last pass. */
  readonly adapted: readonly Tensor[];
  /** [batch, size, size]: the map of the first pass. */
  readonly coarseMap: Tensor;
  /** [batch, size, size]: the map of the last pass. */
  readonly map: Tensor;
  /** [batch]: the largest value of `map` (eq. 13). */
  readonly score: Tensor;
}

/**
 * Records the text features (eq. 1-2). Without I2TP they depend on the class alone and can be kept.
 *
 * @param tokens [2, n, Dt], token embeddings of the two prompts, or [batch × 2, n, Dt] for images of different classes
 * @param endOfText u32[batch × 2], or u32[2] without I2TP: positions of the prompts' last tokens
 * @param features [batch, Dc]; undefined without I2TP
 * @returns [batch, 2, De], or [1, 2, De] without I2TP
 */
export function mfpText(model: Mfp, tokens: Tensor, endOfText: Tensor, features: Tensor | undefined): Tensor {
  const { i2tp } = model.config;
  return scope('text', () => {
    const embedded = i2tp.enabled ? imageToTextPrompting(i2tp, parameterLookup(model.parameters), features!, tokens) : tokens;
    const text = runTextTower(model.text, embedded, endOfText);
    return reshape(text, [text.shape[0] / 2, 2, text.shape[1]]);
  });
}

/**
 * The layers of an image tower, counted from 1, whose outputs MFP-CLIP taps: L/4, L/2, 3L/4 and L.
 *
 * @throws UserError when the tower has no four equal stages
 */
export function tapLayers(layers: number): number[] {
  if (layers % stageCount !== 0) throw new UserError(`the image tower has ${layers} layers; MFP-CLIP taps it after each quarter, so they must be a multiple of ${stageCount}`);
  return Array.from({ length: stageCount }, (_, stage) => ((stage + 1) * layers) / stageCount);
}

/**
 * Records both passes of MFP-CLIP over a batch.
 *
 * @param image [batch, 3, size, size], CLIP-normalised
 * @param features [batch, Dc], the CNN's pooled features of the same images; undefined where the configuration needs none
 * @param text [batch or 1, 2, De], of `mfpText`
 * @throws UserError when the tower has no four equal stages
 */
export function mfpForward(model: Mfp, image: Tensor, features: Tensor | undefined, text: Tensor): MfpOutputs {
  const { config, image: tower, temperature } = model;
  const parameter = parameterLookup(model.parameters);
  const { layers } = tower.config.vision;
  const tapped = tapLayers(layers);
  const mapOptions = { config, parameter, tower, size: image.shape[2], temperature };
  const prompts: LayerPrompts | undefined = config.sp.enabled
    ? { tokens: selfPrompts(parameter, features!), layers: promptedLayers(config.sp.stages, layers), keep: config.sp.keepPrompts }
    : undefined;
  const pass = (name: string, embedded: Tensor): { taps: readonly Tensor[]; map: Tensor; adapted: readonly Tensor[] } =>
    scope(name, () => {
      const { taps } = runImageTower(tower, embedded, tapped, prompts);
      return { taps, ...scope('map', () => anomalyMap(taps, text, mapOptions)) };
    });
  const embedded = scope('embedding', () => embedImage(tower, image));
  const first = pass('first pass', embedded);
  const last = config.mp.enabled ? pass('second pass', maskPrompting(config.mp, parameter, tower, image, embedded, first.map)) : first;
  return {
    text,
    coarseTaps: first.taps,
    taps: last.taps,
    adapted: last.adapted,
    coarseMap: first.map,
    map: last.map,
    score: maximum(last.map),
  };
}
