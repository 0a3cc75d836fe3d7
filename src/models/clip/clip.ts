import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { UserError } from '../../errors.ts';
import type { ImageNormalisation } from '../../data/preprocess.ts';
import type { Gpu } from '../../gpu/device.ts';
import { type Checkpoint, openCheckpoint } from '../../io/safetensors.ts';
import { type ParameterSpec, checkParameters, loadParameters } from '../../nn/parameters.ts';
import { type Tensor, freeTensor } from '../../tensor/tensor.ts';
import { type ClipConfig, parseClipConfig } from './config.ts';
import { type ImageTower, imageTower, resizeImageTower } from './image_tower.ts';
import {
  type ClipNaming,
  clipNaming,
  configOfOpenAiCheckpoint,
  imageTowerParameters,
  logitScaleParameter,
  textTowerParameters,
  tokenEmbeddingParameter,
} from './parameters.ts';
import type { TextTower } from './text_tower.ts';

/** OpenAI's own constants, for checkpoints without `preprocessor_config.json`. */
const clipNormalisation: ImageNormalisation = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};

/** A frozen CLIP: both towers on the device, the token embedding still in its file. */
export interface Clip {
  readonly config: ClipConfig;
  readonly image: ImageTower;
  readonly text: TextTower;
  /** exp(logit_scale): the factor on cosine similarities. */
  readonly temperature: number;
  readonly normalisation: ImageNormalisation;
  /** Folder with the tokenizer. */
  readonly folder: string;
  /**
   * Rows of the token embedding, read from the file: texts need few of them, and the whole table (151 MB for
   * ViT-L/14) is larger than one binding may be on some adapters.
   *
   * @param ids token ids, each below the vocabulary size
   * @returns [ids.length, text width]
   */
  embedTokens(ids: ArrayLike<number>): Promise<Float32Array>;
  /** Frees the device memory. */
  destroy(): void;
}

/** How to load a CLIP. */
export interface ClipOptions {
  /** Storage of weights and activations. */
  readonly dtype?: 'f32' | 'f16';
  /** Side of the square input image in pixels, a multiple of the patch size; default: the trained one. */
  readonly imageSize?: number;
}

function readJson(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file} is not valid JSON: ${(error as Error).message}`);
  }
}

/** Reads the parts of `preprocessor_config.json` that matter here. */
function readNormalisation(folder: string): ImageNormalisation {
  const file = join(folder, 'preprocessor_config.json');
  if (!existsSync(file)) return clipNormalisation;
  const json = readJson(file) as Record<string, unknown>;
  const triple = (field: string): [number, number, number] => {
    const value = json[field];
    if (!Array.isArray(value) || value.length !== 3 || !value.every((number) => Number.isFinite(number))) {
      throw new UserError(`${file}: "${field}" must be a list of three numbers, not ${JSON.stringify(value)}`);
    }
    return value as [number, number, number];
  };
  const std = triple('image_std');
  if (std.some((value) => value <= 0)) throw new UserError(`${file}: "image_std" must be above 0, not ${JSON.stringify(std)}`);
  return { mean: triple('image_mean'), std };
}

/** What a CLIP checkpoint holds, checked against its configuration but not loaded. */
export interface ClipCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly config: ClipConfig;
  readonly naming: ClipNaming;
  readonly imageParameters: readonly ParameterSpec[];
  readonly textParameters: readonly ParameterSpec[];
  readonly normalisation: ImageNormalisation;
  readonly folder: string;
}

/** Everything in the blocks of both towers, as Hugging Face and OpenAI call them. */
const ofBlocks = /\.(encoder\.layers|resblocks)\./;

/**
 * Opens a CLIP checkpoint and checks it: a Hugging Face folder, or a safetensors file or folder with OpenAI's names.
 *
 * @param path folder or file
 * @throws UserError naming the file and the tensor or field that is wrong
 */
export async function openClip(path: string): Promise<ClipCheckpoint> {
  const checkpoint = await openCheckpoint(path);
  try {
    const folder = statSync(path).isDirectory() ? path : dirname(path);
    const naming = clipNaming(checkpoint);
    const configFile = join(folder, 'config.json');
    if (naming === 'hugging face' && !existsSync(configFile)) throw new UserError(`${folder}: there is no config.json beside the weights; copy the one of the same model`);
    const hasConfig = existsSync(configFile);
    const config = hasConfig ? parseClipConfig(readJson(configFile), configFile) : configOfOpenAiCheckpoint(checkpoint);
    const because = hasConfig ? configFile : 'the shape of other tensors';
    const imageParameters = imageTowerParameters(config, naming, true);
    const textParameters = textTowerParameters(config, naming);
    checkParameters(checkpoint, [...imageParameters, ...textParameters, tokenEmbeddingParameter(config, naming), logitScaleParameter], because, ofBlocks);
    return { checkpoint, config, naming, imageParameters, textParameters, normalisation: readNormalisation(folder), folder };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * The sizes of a CLIP; a folder needs no weights for it.
 *
 * @param path a Hugging Face folder, or safetensors with OpenAI's names
 * @throws UserError naming the file and what is wrong with it
 */
export async function readClipSizes(path: string): Promise<ClipConfig> {
  const file = join(path, 'config.json');
  if (existsSync(file)) return parseClipConfig(readJson(file), file);
  const { checkpoint, config } = await openClip(path);
  await checkpoint.close();
  return config;
}

/** Patches per side of an image. @throws UserError when the size is not a multiple of the patch size */
export function gridOf({ vision: { patchSize } }: ClipConfig, imageSize: number, path: string): number {
  if (!Number.isSafeInteger(imageSize) || imageSize < patchSize || imageSize % patchSize !== 0) {
    throw new UserError(`image size ${imageSize} is not a multiple of ${patchSize}, the patch size of ${path}. Use for example --size ${Math.max(1, Math.round(imageSize / patchSize)) * patchSize}.`);
  }
  return imageSize / patchSize;
}

/**
 * Loads a frozen CLIP.
 *
 * @param path a Hugging Face folder, or a safetensors file or folder with OpenAI's names
 * @throws UserError naming the file and tensor, field or option that is wrong
 */
export async function loadClip(gpu: Gpu, path: string, options: ClipOptions = {}): Promise<Clip> {
  const { checkpoint, config, naming, imageParameters, textParameters, normalisation, folder } = await openClip(path);
  const dtype = options.dtype ?? 'f32';
  try {
    const grid = gridOf(config, options.imageSize ?? config.vision.imageSize, path);
    const image = await resizeImageTower(gpu, imageTower(config, await loadParameters(gpu, checkpoint, imageParameters, dtype)), grid);
    const text: TextTower = { config, parameters: await loadParameters(gpu, checkpoint, textParameters, dtype) };
    const temperature = Math.exp((await checkpoint.readFloat32('logit_scale'))[0]);
    const tokens = tokenEmbeddingParameter(config, naming).parts[0].name;
    return {
      config,
      image,
      text,
      temperature,
      normalisation,
      folder,
      embedTokens(ids) {
        for (const id of Array.from(ids)) {
          if (!(id < config.text.vocabulary)) throw new UserError(`${folder}: the tokenizer gives id ${id}, but the token embedding has ${config.text.vocabulary} rows; the two do not belong together`);
        }
        return checkpoint.readFloat32Rows(tokens, Array.from(ids));
      },
      destroy() {
        for (const parameter of [...image.parameters.values(), ...text.parameters.values()] as Tensor[]) freeTensor(gpu, parameter);
        void checkpoint.close();
      },
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
