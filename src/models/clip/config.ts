import { UserError } from '../../errors.ts';
import type { TransformerSize } from '../../nn/attention_block.ts';

/** Sizes of a CLIP model, as its Hugging Face `config.json` states them. */
export interface ClipConfig {
  readonly vision: TransformerSize & {
    /** Side of a patch in pixels. */
    readonly patchSize: number;
    /** Side of the image that the position embedding was trained for, in pixels. */
    readonly imageSize: number;
  };
  readonly text: TransformerSize & {
    /** Text positions: 77. */
    readonly context: number;
    readonly vocabulary: number;
    /** Token id that ends a text; undefined: the largest id of each text, as OpenAI's code and older configurations have it. */
    readonly endOfText: number | undefined;
  };
  /** Width of the joint embedding. */
  readonly jointWidth: number;
}

/** OpenAI's ViT-L/14, which the paper builds on. */
export const vitLarge14: ClipConfig = {
  vision: { width: 1024, layers: 24, heads: 16, mlpWidth: 4096, patchSize: 14, imageSize: 224 },
  text: { width: 768, layers: 12, heads: 12, mlpWidth: 3072, context: 77, vocabulary: 49408, endOfText: undefined },
  jointWidth: 768,
};

/** Patches per side of the grid that the position embedding was trained for. */
export function pretrainedGrid({ vision }: ClipConfig): number {
  return vision.imageSize / vision.patchSize;
}

/** Hugging Face leaves out what has its default value (transformers, CLIPVisionConfig and CLIPTextConfig). */
const visionDefaults = { hidden_size: 768, intermediate_size: 3072, num_hidden_layers: 12, num_attention_heads: 12, image_size: 224, patch_size: 32, hidden_act: 'quick_gelu', layer_norm_eps: 1e-5 };
const textDefaults = { hidden_size: 512, intermediate_size: 2048, num_hidden_layers: 12, num_attention_heads: 8, max_position_embeddings: 77, vocab_size: 49408, hidden_act: 'quick_gelu', layer_norm_eps: 1e-5 };

type Section = Record<string, unknown>;

function object(value: unknown): Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Section) : {};
}

/**
 * Reads the configuration of a Hugging Face CLIP folder.
 *
 * @param json content of `config.json`, parsed
 * @param file its path, for errors
 * @throws UserError naming the file and the field that is missing, of the wrong kind, or not supported
 */
export function parseClipConfig(json: unknown, file: string): ClipConfig {
  const root = object(json);
  if (root.model_type !== undefined && root.model_type !== 'clip') {
    throw new UserError(`${file}: model_type is ${JSON.stringify(root.model_type)}; a CLIP folder ("clip") is needed`);
  }
  if (!root.vision_config && !root.vision_config_dict) throw new UserError(`${file}: there is no "vision_config"; is this the config.json of a CLIPModel?`);
  // Older configurations repeat the sections as *_dict, which then hold the values that count.
  const vision = { ...visionDefaults, ...object(root.vision_config), ...object(root.vision_config_dict) } as Section;
  const text = { ...textDefaults, ...object(root.text_config), ...object(root.text_config_dict) } as Section;
  const whole = (section: Section, where: string, field: string, most: number): number => {
    const value = section[field];
    if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > most) {
      throw new UserError(`${file}: ${where}${field} must be a whole number from 1 to ${most}, not ${JSON.stringify(value)}`);
    }
    return value as number;
  };
  const tower = (section: Section, where: string): TransformerSize => {
    if (section.hidden_act !== 'quick_gelu') throw new UserError(`${file}: ${where}hidden_act is ${JSON.stringify(section.hidden_act)}; only "quick_gelu" (OpenAI's CLIP) is supported`);
    if (section.layer_norm_eps !== 1e-5) throw new UserError(`${file}: ${where}layer_norm_eps is ${JSON.stringify(section.layer_norm_eps)}; only 1e-5 is supported`);
    const size = {
      width: whole(section, where, 'hidden_size', 65536),
      layers: whole(section, where, 'num_hidden_layers', 1024),
      heads: whole(section, where, 'num_attention_heads', 1024),
      mlpWidth: whole(section, where, 'intermediate_size', 262144),
    };
    if (size.width % size.heads !== 0) throw new UserError(`${file}: ${where}hidden_size ${size.width} is not a multiple of num_attention_heads ${size.heads}`);
    return size;
  };
  const endOfText = text.eos_token_id as number | undefined;
  const config: ClipConfig = {
    vision: { ...tower(vision, 'vision_config.'), patchSize: whole(vision, 'vision_config.', 'patch_size', 1024), imageSize: whole(vision, 'vision_config.', 'image_size', 16384) },
    text: {
      ...tower(text, 'text_config.'),
      context: whole(text, 'text_config.', 'max_position_embeddings', 65536),
      vocabulary: whole(text, 'text_config.', 'vocab_size', 16777216),
      // 2 is what configurations carried before the field meant anything; transformers treats it the same way.
      endOfText: endOfText === 2 || endOfText === undefined ? undefined : endOfText,
    },
    jointWidth: root.projection_dim === undefined ? 512 : whole(root, '', 'projection_dim', 65536),
  };
  if (config.vision.imageSize % config.vision.patchSize !== 0) {
    throw new UserError(`${file}: vision_config.image_size ${config.vision.imageSize} is not a multiple of patch_size ${config.vision.patchSize}`);
  }
  return config;
}

/** The `config.json` that Hugging Face's CLIPModel loads for these sizes. */
export function clipConfigJson({ vision, text, jointWidth }: ClipConfig): unknown {
  const tower = ({ width, layers, heads, mlpWidth }: TransformerSize): Section => ({
    hidden_size: width,
    intermediate_size: mlpWidth,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    hidden_act: 'quick_gelu',
    layer_norm_eps: 1e-5,
    projection_dim: jointWidth,
  });
  return {
    architectures: ['CLIPModel'],
    model_type: 'clip',
    projection_dim: jointWidth,
    logit_scale_init_value: 2.6592,
    vision_config: { ...tower(vision), model_type: 'clip_vision_model', image_size: vision.imageSize, patch_size: vision.patchSize, num_channels: 3 },
    text_config: {
      ...tower(text),
      model_type: 'clip_text_model',
      max_position_embeddings: text.context,
      vocab_size: text.vocabulary,
      ...(text.endOfText === undefined ? {} : { eos_token_id: text.endOfText }),
    },
  };
}
