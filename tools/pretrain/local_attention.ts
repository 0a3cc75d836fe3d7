import type { ClipConfig } from '../../src/models/clip/config.ts';
import type { RandomSource } from '../../src/tensor/random.ts';

/** Share of the picture in the channels of the code. */
const pictureInCode = 0.05;
/** Deviation of everything that has no structure. */
const faint = 0.02;
/** Factor of queries and keys: three quarters of the attention is at the offset in the first layer, and it spreads as tokens grow. */
const sharpness = 1.9;
/** Factor of queries and keys of the heads that look for what is alike. */
const likeness = 1.5;
/** Right and down, taken in turn by the heads of one layer after the other. */
const directions: readonly (readonly [number, number])[] = [[0, 1], [1, 0], [0, -1], [-1, 0], [1, 1], [-1, -1], [1, -1], [-1, 1]];
/** Patches that the heads of each layer look away. */
const distances = [1, 1, 2, 1, 2, 3, 1, 2];

/**
 * Start values that let the image tower look around from the first step. From random ones a vision transformer finds out what is
 * beside what only after millions of pictures, and there is time for some ten thousand. Self-attention can be a convolution where
 * positions are coded so that a shift is a rotation (Cordonnier et al. 2020, "On the relationship between self-attention and
 * convolutional layers"), and attention that starts from structure learns from less data (Trockman and Kolter 2023, "Mimetic
 * initialization of self-attention layers"). So
 *
 * - the first channels of a token begin as a code of its row and column, nearly free of the picture;
 * - all heads but the last begin with attention to the patch at one offset, another one for each head and layer;
 * - the last head of each layer begins with attention to patches that look alike, wherever they are.
 *
 * Only values differ, all of them are trained, and the model is a CLIP as any other.
 */
export class LocalAttention {
  readonly #vision: ClipConfig['vision'];
  readonly #grid: number;

  /** @throws Error when the code of a position does not fill a head: two numbers for each row and column of patches */
  constructor({ vision }: ClipConfig) {
    this.#vision = vision;
    this.#grid = vision.imageSize / vision.patchSize;
    if (vision.width / vision.heads !== 2 * this.#grid) throw new Error(`heads of ${vision.width / vision.heads} channels cannot hold the code of ${this.#grid} × ${this.#grid} positions`);
  }

  /** Channels of the code. */
  get #code(): number {
    return 2 * this.#grid;
  }

  /** Angle per patch of each pair of channels: odd multiples, so that the code's product with itself is 0 at every offset but none. */
  #angle(pair: number): number {
    return (Math.PI * (2 * pair + 1)) / this.#grid;
  }

  /**
   * Changes start values, which were drawn before, in the device's layout.
   *
   * @param name of `imageTowerParameters`
   */
  apply(name: string, values: Float32Array, random: RandomSource): void {
    const { width } = this.#vision;
    const code = this.#code;
    if (name === 'patch.weight') for (let i = 0; i < values.length; i++) if (i % width < code) values[i] *= pictureInCode;
    if (name === 'position') this.#writePositions(values, random);
    const block = /^layer (\d+)\/qkv\.weight$/.exec(name);
    if (block) this.#writeQueriesAndKeys(Number(block[1]) - 1, values, random);
  }

  #writePositions(values: Float32Array, random: RandomSource): void {
    const { width } = this.#vision;
    const grid = this.#grid;
    for (let i = 0; i < values.length; i++) values[i] = random.normal(0, faint);
    for (let patch = 0; patch < grid * grid; patch++) {
      [patch % grid, Math.floor(patch / grid)].forEach((coordinate, axis) => {
        for (let pair = 0; pair < grid / 2; pair++) {
          const at = (1 + patch) * width + axis * grid + 2 * pair;
          values[at] = Math.cos(this.#angle(pair) * coordinate);
          values[at + 1] = Math.sin(this.#angle(pair) * coordinate);
        }
      });
    }
  }

  /** @param values [width, 3 × width]: the columns of queries, keys and values; those of values stay */
  #writeQueriesAndKeys(layer: number, values: Float32Array, random: RandomSource): void {
    const { width, heads } = this.#vision;
    const code = this.#code;
    const put = (channel: number, column: number, value: number): void => void (values[channel * 3 * width + column] += value);
    for (let channel = 0; channel < width; channel++) for (let column = 0; column < 2 * width; column++) values[channel * 3 * width + column] = random.normal(0, faint);
    for (let head = 0; head < heads; head++) {
      const [query, key] = [head * code, width + head * code];
      if (head === heads - 1) {
        // One projection for both: the product is largest where pictures are alike.
        for (let channel = code; channel < width; channel++) {
          for (let column = 0; column < code; column++) {
            const value = random.normal(0, likeness / Math.sqrt(width - code));
            put(channel, query + column, value);
            put(channel, key + column, value);
          }
        }
        continue;
      }
      const [right, down] = directions[(layer * (heads - 1) + head) % directions.length].map((step) => step * distances[layer % distances.length]);
      [right, down].forEach((offset, axis) => {
        for (let pair = 0; pair < this.#grid / 2; pair++) {
          const at = axis * this.#grid + 2 * pair;
          const [cosine, sine] = [Math.cos(this.#angle(pair) * offset), Math.sin(this.#angle(pair) * offset)];
          // The query is the code of the place that is looked at.
          put(at, query + at, sharpness * cosine);
          put(at + 1, query + at, -sharpness * sine);
          put(at, query + at + 1, sharpness * sine);
          put(at + 1, query + at + 1, sharpness * cosine);
          put(at, key + at, sharpness);
          put(at + 1, key + at + 1, sharpness);
        }
      });
    }
  }
}
