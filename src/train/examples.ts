import { type Sample, classWords, resizeMask } from '../data/dataset.ts';
import { type RgbImage, readImage, readMask } from '../data/image.ts';
import { PhotoError, Preprocessor } from '../data/preprocess.ts';
import type { Gpu } from '../gpu/device.ts';
import type { LoadedMfp } from '../models/mfp/load.ts';
import { needsCnn } from '../models/mfp/config.ts';
import { type Cnn, imageNetNormalisation } from '../models/resnet/cnn.ts';
import { cast } from '../ops/cast.ts';
import { Program } from '../tensor/program.ts';
import { type Tensor, emptyTensor, freeTensor, readTensor } from '../tensor/tensor.ts';
import type { TrainingExample } from './mfp_trainer.ts';

/** Records the CNN's features of images as the training step takes them. @returns f32 [batch, Dc] */
export function cnnFeatures(cnn: Pick<Cnn, 'features'>, image: Tensor, precision: 'f32' | 'f16'): Tensor {
  return cast(cnn.features(cast(image, precision)), 'f32');
}

/**
 * Reads the samples of a data set as training examples. The CNN's features of an image never change, so each is computed
 * once and kept (8 kB for ResNet-50).
 */
export class ExampleLoader {
  readonly #gpu: Gpu;
  readonly #samples: readonly Sample[];
  readonly #size: number;
  readonly #clipImages: Preprocessor;
  readonly #image: Tensor;
  readonly #cnn: { readonly images: Preprocessor; readonly image: Tensor; readonly program: Program<Tensor> } | undefined;
  readonly #features = new Map<number, Float32Array>();

  private constructor(gpu: Gpu, samples: readonly Sample[], loaded: LoadedMfp, cnn: { images: Preprocessor; image: Tensor; program: Program<Tensor> } | undefined) {
    this.#gpu = gpu;
    this.#samples = samples;
    this.#size = loaded.imageSize;
    this.#clipImages = new Preprocessor(gpu, [{ size: loaded.imageSize, ...loaded.clip.normalisation }]);
    this.#image = emptyTensor(gpu, [1, 3, loaded.imageSize, loaded.imageSize], 'f32', 'image');
    this.#cnn = cnn;
  }

  static async create(gpu: Gpu, samples: readonly Sample[], loaded: LoadedMfp): Promise<ExampleLoader> {
    const { cnn, model, precision } = loaded;
    if (!cnn || !needsCnn(model.config)) return new ExampleLoader(gpu, samples, loaded, undefined);
    const { size } = model.config.cnn;
    const image = emptyTensor(gpu, [1, 3, size, size], 'f32', 'CNN image');
    const program = await Program.record(gpu, () => cnnFeatures(cnn, image, precision), { label: 'CNN features' });
    return new ExampleLoader(gpu, samples, loaded, { images: new Preprocessor(gpu, [{ size, ...imageNetNormalisation }]), image, program });
  }

  /** @throws UserError naming the file that cannot be read, or resized on this device */
  async load(index: number): Promise<TrainingExample> {
    const sample = this.#samples[index];
    return this.#read(index, sample).catch((error: unknown) => {
      throw error instanceof PhotoError ? error.of(sample.image) : error;
    });
  }

  async #read(index: number, sample: Sample): Promise<TrainingExample> {
    const photo = await readImage(sample.image);
    await this.#clipImages.load(photo, [this.#image], 0);
    const image = await readTensor(this.#gpu, this.#image);
    return {
      name: sample.image,
      className: classWords(sample.class),
      image,
      features: await this.#featuresOf(index, photo),
      mask: sample.mask ? resizeMask(await readMask(sample.mask), this.#size) : new Float32Array(this.#size * this.#size),
      label: sample.label,
    };
  }

  async #featuresOf(index: number, photo: RgbImage): Promise<Float32Array | undefined> {
    if (!this.#cnn) return undefined;
    let features = this.#features.get(index);
    if (!features) {
      const { images, image, program } = this.#cnn;
      await images.load(photo, [image], 0);
      await program.run();
      features = await readTensor(this.#gpu, program.outputs);
      this.#features.set(index, features);
    }
    return features;
  }

  /** Frees the device memory. */
  destroy(): void {
    this.#clipImages.destroy();
    freeTensor(this.#gpu, this.#image);
    if (this.#cnn) {
      this.#cnn.images.destroy();
      this.#cnn.program.destroy();
      freeTensor(this.#gpu, this.#cnn.image);
    }
  }
}
