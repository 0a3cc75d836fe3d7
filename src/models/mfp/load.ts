import { UserError } from '../../errors.ts';
import type { Gpu } from '../../gpu/device.ts';
import type { ParameterValues } from '../../nn/parameters.ts';
import { type Tensor, freeTensor } from '../../tensor/tensor.ts';
import { type Clip, loadClip, openClip } from '../clip/clip.ts';
import type { ClipConfig } from '../clip/config.ts';
import { type Tokenizer, loadTokenizer } from '../clip/tokenizer.ts';
import { type Cnn, loadCnn } from '../resnet/cnn.ts';
import { type MfpConfig, needsCnn, plainClipConfig } from './config.ts';
import { type Mfp, promptsOf } from './mfp.ts';
import { type MfpSizes, initialMfpValues, mfpSizes, readMfp, uploadMfp } from './parameters.ts';

/** Which files and settings make a model. */
export interface MfpSource {
  /** Hugging Face folder, or safetensors with OpenAI's names. */
  readonly clip: string;
  /** ResNet in safetensors with torchvision's or timm's names; not needed where the configuration looks at no CNN. */
  readonly cnn?: string;
  /** Trained `mfp.safetensors`; undefined: an untrained model of `config`. */
  readonly mfp?: string;
  /** Configuration of an untrained model; default: plain zero-shot CLIP. */
  readonly config?: MfpConfig;
  /** Side of the square input image in pixels; default: what the file or `config` says, or without both one that the CLIP can take. */
  readonly size?: number;
  /** Storage of weights and activations. */
  readonly precision?: 'f32' | 'f16';
  /** Storage of MFP's own parameters; default: as `precision`. Training keeps them in f32. */
  readonly parameterPrecision?: 'f32' | 'f16';
  /** Seed of the untrained tensors. */
  readonly seed?: number;
}

/** A model with everything that it takes to feed it. */
export interface LoadedMfp {
  readonly model: Mfp;
  readonly clip: Clip;
  readonly cnn: Cnn | undefined;
  readonly sizes: MfpSizes;
  readonly precision: 'f32' | 'f16';
  /** Side of the input image in pixels. */
  readonly imageSize: number;
  /** Metadata of the `mfp.safetensors` that was read. */
  readonly metadata: Readonly<Record<string, string>>;
  /**
   * The two prompts of a class as the text tower takes them.
   *
   * @param className words for the object: "metal nut"
   * @returns token embeddings [2, n, Dt] and the position of each prompt's last token
   */
  prompts(className: string): Promise<{ readonly embeddings: Float32Array; readonly endOfText: readonly [number, number] }>;
  /** Frees the device memory. */
  destroy(): void;
}

/** A configuration whose image size nobody has chosen, with one that the CLIP can take: the default, or else that of its own training. */
export function fittingConfig<Config extends MfpConfig>(config: Config, { patchSize, imageSize: trainedSize }: ClipConfig['vision']): Config {
  return config.image.size % patchSize === 0 ? config : { ...config, image: { size: trainedSize } };
}

/**
 * Loads CLIP, CNN and MFP-CLIP's own tensors.
 *
 * @throws UserError naming the file, tensor or option that is wrong or missing; nothing stays on the device then
 */
export async function loadMfp(gpu: Gpu, source: MfpSource): Promise<LoadedMfp> {
  const precision = source.precision ?? 'f32';
  if (precision === 'f16' && !gpu.f16) throw new UserError(`${gpu.adapter.description} has no 16-bit storage (shader-f16). Use --precision f32.`);
  const opened = await openClip(source.clip);
  await opened.checkpoint.close();
  // Checked before the towers are loaded: reading a gigabyte of weights first would keep the person waiting for the error.
  const tokenizer: Tokenizer = await loadTokenizer(opened.folder);
  let cnn: Cnn | undefined;
  let clip: Clip | undefined;
  let parameters: Map<string, Tensor> | undefined;
  const destroy = (): void => {
    cnn?.destroy();
    clip?.destroy();
    for (const parameter of parameters?.values() ?? []) freeTensor(gpu, parameter);
  };
  try {
    if (source.cnn !== undefined) cnn = await loadCnn(gpu, source.cnn, precision);
    const sizesFor = (config: MfpConfig): MfpSizes => {
      if (needsCnn(config) && !cnn) throw new UserError(`${source.mfp ?? 'this configuration'} uses image-to-text or self prompting, which look at a CNN's features: give one with --cnn`);
      return mfpSizes(opened.config, cnn?.config.featureWidth ?? 0);
    };
    let config: MfpConfig;
    let values: ParameterValues;
    let metadata: Readonly<Record<string, string>> = {};
    if (source.mfp !== undefined) ({ config, values, metadata } = await readMfp(source.mfp, sizesFor));
    else {
      config = source.config ?? fittingConfig(plainClipConfig, opened.config.vision);
      values = initialMfpValues(config, sizesFor(config), source.seed ?? 0);
    }
    const imageSize = source.size ?? config.image.size;
    config = { ...config, image: { size: imageSize } };
    clip = await loadClip(gpu, source.clip, { dtype: precision, imageSize });
    parameters = uploadMfp(gpu, values, source.parameterPrecision ?? precision);
    const { text, image, temperature, embedTokens } = clip;
    return {
      model: { config, image, text, parameters, temperature: config.map.temperature ?? temperature },
      clip,
      cnn,
      sizes: sizesFor(config),
      precision,
      imageSize,
      metadata,
      async prompts(className) {
        const { context, width } = opened.config.text;
        const embeddings = new Float32Array(2 * context * width);
        const ends: number[] = [];
        for (const [i, prompt] of promptsOf(className).entries()) {
          const { ids, endOfText } = tokenizer.encode(prompt, context);
          embeddings.set(await embedTokens(ids), i * context * width);
          ends.push(endOfText);
        }
        return { embeddings, endOfText: [ends[0], ends[1]] };
      },
      destroy,
    };
  } catch (error) {
    destroy();
    throw error;
  }
}
