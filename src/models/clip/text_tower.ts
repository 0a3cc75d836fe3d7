import { attentionBlock } from '../../nn/attention_block.ts';
import { parameterLookup } from '../../nn/parameters.ts';
import { add } from '../../ops/add.ts';
import { gatherRows } from '../../ops/gather_rows.ts';
import { gemm } from '../../ops/gemm.ts';
import { layerNorm } from '../../ops/layer_norm.ts';
import { recompute, scope } from '../../tensor/recording.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { ClipConfig } from './config.ts';

/** CLIP's causal text transformer on the device. */
export interface TextTower {
  readonly config: ClipConfig;
  /** Parameters by the names of `textTowerParameters`. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Compute each layer again in the backward pass instead of keeping its intermediates. */
  readonly recompute?: boolean;
}

/**
 * Runs the text transformer over token embeddings.
 *
 * @param embedded [texts, context, width], without positions
 * @param endOfText u32[texts]: position of each text's last token, whose output stands for the text
 * @returns [texts, jointWidth], before normalisation
 */
export function runTextTower(tower: TextTower, embedded: Tensor, endOfText: Tensor): Tensor {
  const parameter = parameterLookup(tower.parameters);
  const { layers, heads } = tower.config.text;
  let tokens = add(embedded, parameter('position'));
  for (let layer = 1; layer <= layers; layer++) {
    const block = (): Tensor => attentionBlock(tokens, (name) => parameter(`layer ${layer}/${name}`), heads, true);
    tokens = scope(`layer ${layer}`, () => (tower.recompute ? recompute(block) : block()));
  }
  // Only one token of each text is used, so only that one is normalised and projected.
  const pooled = gatherRows(tokens, endOfText);
  return gemm(layerNorm(pooled, parameter('norm_final.weight'), parameter('norm_final.bias')), parameter('projection'));
}
