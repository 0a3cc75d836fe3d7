import type { Gpu } from '../../gpu/device.ts';
import { Program } from '../../tensor/program.ts';
import { freeTensor, readTensor, tensor } from '../../tensor/tensor.ts';
import type { LoadedMfp } from './load.ts';
import { mfpText } from './mfp.ts';

/** What the prompts of one class come down to before an image is seen. */
export interface ClassText {
  /** Token embeddings of the two prompts, [2, n, Dt]. */
  readonly embeddings: Float32Array;
  /** Position of each prompt's last token. */
  readonly endOfText: readonly [number, number];
  /** Text features [2, De]; undefined with image-to-text prompting, where they depend on the image. */
  readonly features: Float32Array | undefined;
}

/** What texts need of a loaded model. */
type TextModel = Pick<LoadedMfp, 'model' | 'sizes' | 'precision' | 'prompts'>;

/** Computes each class's text once and keeps it. */
export class ClassTexts {
  readonly #gpu: Gpu;
  readonly #loaded: TextModel;
  readonly #known = new Map<string, ClassText>();

  constructor(gpu: Gpu, loaded: TextModel) {
    this.#gpu = gpu;
    this.#loaded = loaded;
  }

  /** @param className words for the object: "metal nut" */
  async of(className: string): Promise<ClassText> {
    let text = this.#known.get(className);
    if (!text) {
      const prompts = await this.#loaded.prompts(className);
      text = { ...prompts, features: this.#loaded.model.config.i2tp.enabled ? undefined : await this.#features(prompts) };
      this.#known.set(className, text);
    }
    return text;
  }

  async #features({ embeddings, endOfText }: Pick<ClassText, 'embeddings' | 'endOfText'>): Promise<Float32Array> {
    const { model, sizes, precision } = this.#loaded;
    const tokens = tensor(this.#gpu, embeddings, [2, sizes.context, sizes.textWidth], precision, 'token embeddings');
    const ends = tensor(this.#gpu, endOfText, [2], 'u32', 'end of text');
    const program = await Program.record(this.#gpu, () => mfpText(model, tokens, ends, undefined), { label: 'text features' });
    try {
      await program.run();
      return await readTensor(this.#gpu, program.outputs);
    } finally {
      program.destroy();
      freeTensor(this.#gpu, tokens);
      freeTensor(this.#gpu, ends);
    }
  }
}
