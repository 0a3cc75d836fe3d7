import { UserError } from '../../errors.ts';
import type { Checkpoint } from '../../io/safetensors.ts';
import { type BlockNames, attentionBlockParameters } from '../../nn/attention_block.ts';
import type { ParameterSpec } from '../../nn/parameters.ts';
import type { Shape } from '../../tensor/tensor.ts';
import { type ClipConfig, pretrainedGrid } from './config.ts';

/** Whose tensor names a checkpoint uses. */
export type ClipNaming = 'hugging face' | 'openai';

/** Tells by the names whose checkpoint this is. @throws UserError when it is neither */
export function clipNaming(checkpoint: Checkpoint): ClipNaming {
  if (checkpoint.tensors.has('vision_model.embeddings.class_embedding')) return 'hugging face';
  if (checkpoint.tensors.has('visual.class_embedding')) return 'openai';
  if (checkpoint.tensors.has('visual.layer1.0.conv1.weight')) throw new UserError(`${checkpoint.file}: this is a CLIP with a ResNet image tower; a vision transformer (ViT) is needed`);
  throw new UserError(
    `${checkpoint.file}: no CLIP image tower: neither "vision_model.embeddings.class_embedding" (Hugging Face CLIPModel) nor "visual.class_embedding" (OpenAI) is in it`,
  );
}

function huggingFaceBlock(tower: string, layer: number): BlockNames {
  const prefix = `${tower}.encoder.layers.${layer}.`;
  return {
    norm1: `${prefix}layer_norm1`,
    qkv: ['q', 'k', 'v'].map((letter) => ({ weight: `${prefix}self_attn.${letter}_proj.weight`, bias: `${prefix}self_attn.${letter}_proj.bias` })),
    out: `${prefix}self_attn.out_proj`,
    norm2: `${prefix}layer_norm2`,
    fc1: `${prefix}mlp.fc1`,
    fc2: `${prefix}mlp.fc2`,
  };
}

function openAiBlock(tower: string, layer: number): BlockNames {
  const prefix = `${tower}.resblocks.${layer}.`;
  return {
    norm1: `${prefix}ln_1`,
    qkv: [{ weight: `${prefix}attn.in_proj_weight`, bias: `${prefix}attn.in_proj_bias` }],
    out: `${prefix}attn.out_proj`,
    norm2: `${prefix}ln_2`,
    fc1: `${prefix}mlp.c_fc`,
    fc2: `${prefix}mlp.c_proj`,
  };
}

function single(name: string, stored: string, shape: Shape, layout: ParameterSpec['layout'] = 'as stored'): ParameterSpec {
  return { name, parts: [{ name: stored, shape }], layout };
}

/** The image tower's parameters; with the projection of the class token into the joint space when `projection` is set. */
export function imageTowerParameters(config: ClipConfig, naming: ClipNaming, projection: boolean): ParameterSpec[] {
  const { width, layers, patchSize } = config.vision;
  const hf = naming === 'hugging face';
  const tower = hf ? 'vision_model' : 'visual';
  const norm = (name: string, stored: string): ParameterSpec[] => [single(`${name}.weight`, `${stored}.weight`, [width]), single(`${name}.bias`, `${stored}.bias`, [width])];
  const positions = 1 + pretrainedGrid(config) ** 2;
  return [
    single('patch.weight', hf ? `${tower}.embeddings.patch_embedding.weight` : 'visual.conv1.weight', [width, 3, patchSize, patchSize], 'transposed'),
    single('class', hf ? `${tower}.embeddings.class_embedding` : 'visual.class_embedding', [width]),
    single('position', hf ? `${tower}.embeddings.position_embedding.weight` : 'visual.positional_embedding', [positions, width]),
    // The misspelling is Hugging Face's own.
    ...norm('norm_pre', hf ? `${tower}.pre_layrnorm` : 'visual.ln_pre'),
    ...Array.from({ length: layers }, (_, layer) =>
      attentionBlockParameters(`layer ${layer + 1}/`, config.vision, hf ? huggingFaceBlock(tower, layer) : openAiBlock('visual.transformer', layer)),
    ).flat(),
    ...norm('norm_post', hf ? `${tower}.post_layernorm` : 'visual.ln_post'),
    ...(projection ? [projectionParameter(hf ? 'visual_projection.weight' : 'visual.proj', config.jointWidth, width, hf)] : []),
  ];
}

/** The text tower's parameters. The token embedding is apart: frozen models read single rows of it. */
export function textTowerParameters(config: ClipConfig, naming: ClipNaming): ParameterSpec[] {
  const { width, layers, context } = config.text;
  const hf = naming === 'hugging face';
  const final = hf ? 'text_model.final_layer_norm' : 'ln_final';
  return [
    single('position', hf ? 'text_model.embeddings.position_embedding.weight' : 'positional_embedding', [context, width]),
    ...Array.from({ length: layers }, (_, layer) =>
      attentionBlockParameters(`layer ${layer + 1}/`, config.text, hf ? huggingFaceBlock('text_model', layer) : openAiBlock('transformer', layer)),
    ).flat(),
    single('norm_final.weight', `${final}.weight`, [width]),
    single('norm_final.bias', `${final}.bias`, [width]),
    projectionParameter(hf ? 'text_projection.weight' : 'text_projection', config.jointWidth, width, hf),
  ];
}

/** Hugging Face stores projections as Linear weights [out, in], OpenAI as [in, out]. */
function projectionParameter(stored: string, out: number, input: number, hf: boolean): ParameterSpec {
  return hf ? single('projection', stored, [out, input], 'transposed') : single('projection', stored, [input, out]);
}

/** The token embedding [vocabulary, width]. */
export function tokenEmbeddingParameter({ text }: ClipConfig, naming: ClipNaming): ParameterSpec {
  return single('token', naming === 'hugging face' ? 'text_model.embeddings.token_embedding.weight' : 'token_embedding.weight', [text.vocabulary, text.width]);
}

/** The logit scale, a scalar; its exponential is the temperature of the similarities. */
export const logitScaleParameter: ParameterSpec = single('logit_scale', 'logit_scale', []);

/**
 * Sizes of a model that comes without `config.json`, read off OpenAI's names and shapes
 * (heads are width / 64 in all of OpenAI's models).
 *
 * @throws UserError naming the tensor that is missing or has an impossible shape
 */
export function configOfOpenAiCheckpoint(checkpoint: Checkpoint): ClipConfig {
  const shape = (name: string, axes: number): Shape => {
    const found = checkpoint.tensors.get(name);
    if (!found) throw new UserError(`${checkpoint.file}: there is no tensor "${name}", which an OpenAI CLIP has`);
    if (found.shape.length !== axes) throw new UserError(`${checkpoint.file}: tensor "${name}" has ${found.shape.length} axes, ${axes} were expected`);
    return found.shape;
  };
  const layersOf = (prefix: string): number => {
    let layers = 0;
    while (checkpoint.tensors.has(`${prefix}.resblocks.${layers}.ln_1.weight`)) layers++;
    return layers;
  };
  const [visionWidth, , patchSize] = shape('visual.conv1.weight', 4);
  const grid = Math.round(Math.sqrt(shape('visual.positional_embedding', 2)[0] - 1));
  const [vocabulary, textWidth] = shape('token_embedding.weight', 2);
  const heads = (width: number, what: string): number => {
    if (width % 64 !== 0) throw new UserError(`${checkpoint.file}: the ${what} tower is ${width} wide, not a multiple of 64: put a config.json beside the file that says how many heads it has`);
    return width / 64;
  };
  return {
    vision: {
      width: visionWidth,
      layers: layersOf('visual.transformer'),
      heads: heads(visionWidth, 'image'),
      mlpWidth: shape('visual.transformer.resblocks.0.mlp.c_fc.weight', 2)[0],
      patchSize,
      imageSize: grid * patchSize,
    },
    text: {
      width: textWidth,
      layers: layersOf('transformer'),
      heads: heads(textWidth, 'text'),
      mlpWidth: shape('transformer.resblocks.0.mlp.c_fc.weight', 2)[0],
      context: shape('positional_embedding', 2)[0],
      vocabulary,
      endOfText: undefined,
    },
    jointWidth: shape('text_projection', 2)[1],
  };
}
