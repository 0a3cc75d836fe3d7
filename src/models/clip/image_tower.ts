import type { Gpu } from '../../gpu/device.ts';
import { attentionBlock } from '../../nn/attention_block.ts';
import { parameterLookup } from '../../nn/parameters.ts';
import { concatenate } from '../../ops/concatenate.ts';
import { gemm } from '../../ops/gemm.ts';
import { layerNorm } from '../../ops/layer_norm.ts';
import { patchEmbedding } from '../../ops/patch_embedding.ts';
import { resizePosition } from '../../ops/resize_position.ts';
import { slice } from '../../ops/slice.ts';
import { Program } from '../../tensor/program.ts';
import { recompute, reshape, scope } from '../../tensor/recording.ts';
import { type Tensor, copyOf, freeTensor } from '../../tensor/tensor.ts';
import { type ClipConfig, pretrainedGrid } from './config.ts';

/** CLIP's vision transformer on the device. */
export interface ImageTower {
  readonly config: ClipConfig;
  /** Patches per side of the image that it runs on. */
  readonly grid: number;
  /** Parameters by the names of `imageTowerParameters`; "position" is resized to `grid`. */
  readonly parameters: ReadonlyMap<string, Tensor>;
  /** Compute each layer again in the backward pass instead of keeping its intermediates. */
  readonly recompute?: boolean;
}

/** Prompts that take part in some layers (self prompting, eq. 3-6). */
export interface LayerPrompts {
  /** [batch, prompts, width] */
  readonly tokens: Tensor;
  /** Layers, counted from 1, before which fresh prompts are appended; never layer 1. */
  readonly layers: ReadonlySet<number>;
  /** Whether the outputs of the prompts stay in the sequence where no fresh ones follow. */
  readonly keep: boolean;
}

/**
 * Fits the position embedding to another grid (bicubic, as the reference does when it loads a checkpoint).
 *
 * @returns the tower for images of `grid` × `grid` patches; the given one's position embedding is freed if replaced
 */
export async function resizeImageTower(gpu: Gpu, tower: ImageTower, grid: number): Promise<ImageTower> {
  if (grid === tower.grid) return tower;
  const parameters = new Map(tower.parameters);
  const position = parameters.get('position')!;
  const program = await Program.record(gpu, () => resizePosition(position, { from: tower.grid, to: grid }), { label: 'position resize' });
  await program.run();
  parameters.set('position', copyOf(gpu, program.outputs, 'position'));
  program.destroy();
  freeTensor(gpu, position);
  // Pooled, they would become the memory of weights that need a little less, for as long as the model lives.
  gpu.memory.trim();
  return { ...tower, grid, parameters };
}

/** The tower over its loaded parameters, for images of the size that it was trained on. */
export function imageTower(config: ClipConfig, parameters: ReadonlyMap<string, Tensor>): ImageTower {
  return { config, grid: pretrainedGrid(config), parameters };
}

/**
 * Patch, class and position embedding.
 *
 * @param image [batch, 3, size, size], normalised
 * @returns [batch, 1 + patches, width]
 */
export function embedImage(tower: ImageTower, image: Tensor): Tensor {
  const parameter = parameterLookup(tower.parameters);
  return patchEmbedding(image, parameter('patch.weight'), parameter('class'), parameter('position'), { patch: tower.config.vision.patchSize });
}

/**
 * Runs the transformer over embedded tokens.
 *
 * @param embedded [batch, 1 + patches, width], of `embedImage`
 * @param taps layers, counted from 1, whose outputs are wanted
 * @param prompts self prompting; undefined for plain CLIP
 * @returns for each tap the patch tokens alone, [batch, patches, width], and all tokens of the last layer
 */
export function runImageTower(
  tower: ImageTower,
  embedded: Tensor,
  taps: readonly number[],
  prompts?: LayerPrompts,
): { readonly taps: readonly Tensor[]; readonly tokens: Tensor } {
  const parameter = parameterLookup(tower.parameters);
  const { layers, heads } = tower.config.vision;
  const count = embedded.shape[1];
  const tapped = new Map<number, Tensor>();
  let tokens = scope('norm_pre', () => layerNorm(embedded, parameter('norm_pre.weight'), parameter('norm_pre.bias')));
  let prompted = false;
  for (let layer = 1; layer <= layers; layer++) {
    tokens = scope(`layer ${layer}`, () => {
      const fresh = prompts?.layers.has(layer) ?? false;
      const drop = prompted && (fresh || !prompts!.keep);
      let sequence = drop ? slice(tokens, 1, 0, count) : tokens;
      if (fresh) sequence = concatenate(sequence, prompts!.tokens, 1);
      prompted = fresh || (prompted && !drop);
      const block = (): Tensor => attentionBlock(sequence, (name) => parameter(`layer ${layer}/${name}`), heads, false);
      return tower.recompute ? recompute(block) : block();
    });
    if (taps.includes(layer)) tapped.set(layer, scope(`tap ${layer}`, () => slice(tokens, 1, 1, count - 1)));
  }
  return { taps: taps.map((layer) => tapped.get(layer)!), tokens };
}

/** The tower's final LayerNorm, over any tokens. */
export function normPost(tower: ImageTower, tokens: Tensor): Tensor {
  const parameter = parameterLookup(tower.parameters);
  return layerNorm(tokens, parameter('norm_post.weight'), parameter('norm_post.bias'));
}

/**
 * Tokens in the joint space, before normalisation: final LayerNorm and projection.
 *
 * @param tokens [..., width]
 * @returns [..., jointWidth]
 */
export function projectTokens(tower: ImageTower, tokens: Tensor): Tensor {
  return gemm(normPost(tower, tokens), parameterLookup(tower.parameters)('projection'));
}

/**
 * CLIP's image embedding, before normalisation: the class token in the joint space.
 *
 * @param tokens [batch, tokens, width] of `runImageTower`
 * @returns [batch, jointWidth]
 */
export function projectImage(tower: ImageTower, tokens: Tensor): Tensor {
  return projectTokens(tower, reshape(slice(tokens, 1, 0, 1), [tokens.shape[0], tokens.shape[2]]));
}
