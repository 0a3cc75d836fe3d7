import { type ParameterSpec, parameterShape } from '../../nn/parameters.ts';
import type { MakeTensor, Tensor } from '../../tensor/tensor.ts';
import type { ClipConfig } from '../clip/config.ts';
import { imageTowerParameters, textTowerParameters } from '../clip/parameters.ts';
import { cnnFromSizes } from '../resnet/cnn.ts';
import type { ResnetConfig } from '../resnet/config.ts';
import type { MfpConfig } from './config.ts';
import type { LoadedMfp } from './load.ts';
import { mfpParameters, mfpSizes } from './parameters.ts';

/** A model as `loadMfp` makes it, without files: for plans and benchmarks. */
export interface MfpFromSizes extends Pick<LoadedMfp, 'model' | 'sizes' | 'imageSize' | 'precision'> {
  readonly cnn: ReturnType<typeof cnnFromSizes> | undefined;
  /** Everything frozen. */
  readonly weights: readonly Tensor[];
}

/**
 * A model of given sizes.
 *
 * @param resnet undefined where the configuration needs no CNN
 * @param grid patches per side of the image
 * @param precision storage of weights; MFP's own parameters are in f32, as training keeps them
 * @param make gives each tensor its memory and numbers, or none
 */
export function mfpFromSizes(clip: ClipConfig, resnet: ResnetConfig | undefined, config: MfpConfig, grid: number, precision: 'f32' | 'f16', make: MakeTensor): MfpFromSizes {
  const all = (specs: readonly ParameterSpec[], dtype: 'f32' | 'f16'): Map<string, Tensor> => new Map(specs.map((spec) => [spec.name, make(parameterShape(spec), dtype, spec.name)]));
  // The file's grid is not that of the image.
  const image = all(imageTowerParameters(clip, 'hugging face', true).filter(({ name }) => name !== 'position'), precision);
  image.set('position', make([1 + grid ** 2, clip.vision.width], precision, 'position'));
  const text = all(textTowerParameters(clip, 'hugging face'), precision);
  const cnn = resnet && cnnFromSizes(resnet, (shape, label) => make(shape, precision, label));
  const sizes = mfpSizes(clip, resnet?.featureWidth ?? 0);
  return {
    model: {
      config,
      image: { config: clip, grid, parameters: image },
      text: { config: clip, parameters: text },
      parameters: all(mfpParameters(config, sizes), 'f32'),
      // A checkpoint's own is in its weights; it changes no size. OpenAI's all have this one.
      temperature: config.map.temperature ?? 100,
    },
    cnn,
    sizes,
    imageSize: config.image.size,
    precision,
    weights: [...image.values(), ...text.values(), ...(cnn?.weights ?? [])],
  };
}
