import { type ClipConfig, pretrainedGrid } from '../../src/models/clip/config.ts';
import type { RandomSource } from '../../src/tensor/random.ts';

/** Colours of a picture. */
const colours = 3;
/** Share that stays of the drawn values that the structure leaves free. */
const faint = 0.05;
/** Deviation of queries and keys that look nowhere yet. */
const blurred = 0.02;

/** Lightness and two differences of colours, rows of an orthogonal matrix; small differences of colours say more than as large ones of light. */
const colourAxes = [
  [1, 1, 1].map((part) => part / Math.sqrt(3)),
  [1, -1, 0].map((part) => (2 * part) / Math.sqrt(2)),
  [0.5, 0.5, -1].map((part) => (2 * part) / Math.sqrt(1.5)),
];

/** The code of a position: pairs of cosine and sine of these multiples of π / (patches per side), for columns and for rows. */
const frequencies = [1, 3, 5, 7];
/** Their angles at 0, in parts of π: with these the channels of the code have nearly the same sum everywhere. */
const phases = [1, 0.5, 1.5, 0];
/** The code outweighs what a picture puts beside it, so that LayerNorm divides all tokens by nearly the same. */
const codeAmplitude = 1.7;
/**
 * Factor of everything that is embedded. LayerNorm takes it away, and without it the optimizer's first steps would be larger than the
 * weights of the patches' pixels.
 */
const embeddedScale = 10;
/** Factor of a patch's mean colours, and of everything that is compared. */
const appearanceGain = 0.5;
/** Factor of a patch's waves: they are a tenth of the colours. */
const waveGain = 3;
/** The waves of a patch (2-dimensional DCT, cycles down and across) that count: the slow ones. */
const waves = Array.from({ length: 16 }, (_, i) => [Math.floor(i / 4), i % 4] as const).filter(([down, across]) => down + across > 0 && down + across <= 3);
/** Directions that the strengths of waves are summed over: across, down, slanting. */
const orientations = 3;
const orientationOf = ([down, across]: readonly [number, number]): number => (across === 0 ? 0 : down === 0 ? 1 : 2);

/** What marks a patch, and how much it counts in comparisons: MFP-CLIP's prompts are among the tokens, and nothing is like them. */
const patchMark = { value: 3, attraction: 1.5 } as const;
/**
 * Factors of what layer 2 has compared with: pairs of units of its MLP add to a channel, in proportion, or take away from it. What MFP-CLIP
 * learns from the tokens it learns from few pictures, so that what says whether a patch is odd must not be smaller than what is the same
 * in all pictures.
 */
const afterComparison = { code: 0.25, mark: 1 / 3, differences: 4 } as const;
/** Deviation of a token's channels where layer 1, layer 2 and the layers after them read them. */
const deviations = { first: 0.61, second: 0.64, later: 0.31 } as const;
/** QuickGELU(x) + QuickGELU(-x) is x tanh(bend x): a square for small x, a magnitude for large ones. */
const bend = 1.702 / 2;
/** Factors before it: the strength of a wave is a magnitude, the length of an appearance a sum of squares. */
const steepness = { strength: 12, squaredWave: 2, squaredMean: 0.6, magnitude: 2 } as const;
/** Share of the squared length that is kept, so that it is no larger than its neighbours. */
const lengthScale = 0.3;
/** A strength is a sum of magnitudes: its square is as much more than the sum of their squares. */
const squaredWaves = 1.9;

/**
 * What the heads of layer 2 look for. Logits are `alike` times minus half the squared distance of appearances, plus `near` times the
 * product of the codes: it is negative, so that a patch is not compared with itself. `length` is the weight of the keys' squared lengths;
 * the less they count, the more the mark, which LayerNorm makes smaller in long tokens, does the same.
 */
const comparisons = [
  { alike: 8, length: 1, near: -1 },
  { alike: 4, length: 0.7, near: -1 },
  { alike: 2, length: 0.5, near: -1 },
] as const;

/** Right and down, taken in turn by the heads of one layer after the other. */
const directions: readonly (readonly [number, number])[] = [[0, 1], [1, 0], [0, -1], [-1, 0], [1, 1], [-1, -1], [1, -1], [-1, 1]];
/** Patches that the heads of each layer look away. */
const distances = [1, 1, 2, 1, 2, 3, 1, 2];
/** Factors of the logits of the layers after the second: for the place that is looked at, for what looks alike, and for what is odd. */
const later = { near: 3.4, alike: 1.5, odd: 5 } as const;

/** Which channels of a token hold what in the beginning: the first of each. @throws Error when a token has fewer */
export function channelPlan(width: number) {
  let used = 0;
  const take = (count: number): number => (used += count) - count;
  const appearance = colours * (1 + orientations);
  const plan = {
    /** Code of the position, which is read as what it was made as: the first of all. */
    code: take(4 * frequencies.length),
    /** Mean colours, then the strengths of waves by orientation and colour. */
    appearance: take(appearance),
    /** The same again for each comparison, which takes what it compares with away. */
    differences: comparisons.map(() => take(appearance)),
    /** By colour. */
    waves: take(colours * waves.length),
    /** About the squared length of the appearance. */
    length: take(1),
    /** The same for all patches. */
    mark: take(1),
    /** How large the difference of each comparison is. */
    magnitudes: take(comparisons.length),
  };
  if (used > width) throw new Error(`${used} channels have a meaning in the beginning, and a token has ${width}`);
  return { ...plan, codeSize: 4 * frequencies.length, appearanceSize: appearance };
}

/**
 * Start values that let the image tower compare the patches of a picture from the first step: what is abnormal in a thing that was
 * never seen is what looks like nothing else in the picture. From random values a vision transformer finds out how to compare, and what
 * is beside what, after millions of pictures; here there are some ten thousand. So
 *
 * - a token begins with a code of its place, where a shift is a rotation (Cordonnier et al. 2020, "On the relationship between
 *   self-attention and convolutional layers"), and with its patch's mean colours and slow waves (a DCT);
 * - layer 1 turns waves into strengths, which do not change as a pattern moves through the patch: that is a patch's appearance;
 * - layer 2 compares: its heads attend to patches that look alike and are not near, one to the very likest, one to more of them, and
 *   each takes the appearance that it finds away from the patch's own. Its MLP says how large the differences are, makes them count more
 *   and the code of the place less;
 * - in the layers after it, all heads but the last attend to the patch at one offset, another one for each head and layer, and the last
 *   to what looks alike; what they add is faint (structure in attention alone already helps with few data: Trockman and Kolter 2023,
 *   "Mimetic initialization of self-attention layers"). The class token finds the patches with the largest differences there.
 *
 * Only values differ, all of them are trained, and the model is a CLIP as any other.
 */
export class StartValues {
  readonly #vision: ClipConfig['vision'];
  readonly #grid: number;
  readonly #plan: ReturnType<typeof channelPlan>;
  /** Channels of a head. */
  readonly #head: number;

  /** @throws Error when the channels of a token or of a head are too few for what they hold in the beginning */
  constructor(config: ClipConfig) {
    this.#vision = config.vision;
    this.#grid = pretrainedGrid(config);
    this.#plan = channelPlan(config.vision.width);
    this.#head = config.vision.width / config.vision.heads;
    const needed = this.#plan.appearanceSize + 1 + this.#plan.codeSize;
    if (config.vision.heads !== comparisons.length || this.#head < needed) throw new Error(`${comparisons.length} heads of at least ${needed} channels are needed`);
  }

  /**
   * Changes start values, which were drawn before, in the device's layout.
   *
   * @param name of `imageTowerParameters`
   */
  apply(name: string, values: Float32Array, random: RandomSource): void {
    if (name === 'patch.weight') return this.#writePatchEmbedding(values);
    if (name === 'position') return this.#writePositions(values, random);
    if (name === 'class') return this.#writeClass(values);
    // What LayerNorm divides by, so that channels keep the scale that is written here.
    if (name === 'norm_pre.weight') return void values.fill(deviations.first);
    const [, number, part] = /^layer (\d+)\/(.*)$/.exec(name) ?? [];
    if (part === 'qkv.weight' || part === 'qkv.bias') return this.#writeAttention(Number(number), part, values, random);
    if (part === 'out.weight') return this.#writeOutput(Number(number), values);
    if (part === 'fc1.weight' || part === 'fc2.weight') return this.#writeMlp(Number(number), part, values);
  }

  /** Adds to the appearance and each of its copies; half of them are negative, so that LayerNorm finds a mean near 0. */
  #forEachCopy(put: (channel: number, sign: number) => void): void {
    [this.#plan.appearance, ...this.#plan.differences].forEach((channel, i) => put(channel, i === 1 || i === 2 ? -1 : 1));
  }

  /** @param values [width, 3 × width], of which a column becomes 0 */
  #clearColumn(column: number, values: Float32Array): void {
    for (let channel = 0; channel < this.#vision.width; channel++) values[channel * 3 * this.#vision.width + column] = 0;
  }

  /** @param values [3 × patch × patch, width] */
  #writePatchEmbedding(values: Float32Array): void {
    const { width, patchSize } = this.#vision;
    const area = patchSize ** 2;
    for (let i = 0; i < values.length; i++) values[i] *= faint * embeddedScale;
    const basis = (cycles: number, at: number): number => Math.sqrt((cycles ? 2 : 1) / patchSize) * Math.cos((Math.PI * (at + 0.5) * cycles) / patchSize);
    for (let colour = 0; colour < colours; colour++) {
      for (let pixel = 0; pixel < area; pixel++) {
        const row = (colour * area + pixel) * width;
        colourAxes.forEach((axis, of) => {
          const gain = embeddedScale * axis[colour];
          this.#forEachCopy((channel, sign) => (values[row + channel + of] += (sign * gain * appearanceGain) / area));
          waves.forEach(([down, across], i) => {
            const wave = basis(down, Math.floor(pixel / patchSize)) * basis(across, pixel % patchSize);
            values[row + this.#plan.waves + of * waves.length + i] += (gain * waveGain * wave) / patchSize;
          });
        });
      }
    }
  }

  /** @param values [1 + patches, width] */
  #writePositions(values: Float32Array, random: RandomSource): void {
    const { width } = this.#vision;
    for (let i = 0; i < values.length; i++) values[i] = random.normal(0, embeddedScale * blurred);
    for (let patch = 0; patch < this.#grid ** 2; patch++) {
      const code = new Float32Array(this.#plan.codeSize);
      this.#forEachPair((at, axis, angle, phase) => {
        const turned = angle * (axis === 0 ? patch % this.#grid : Math.floor(patch / this.#grid)) + phase;
        code[at] = Math.cos(turned);
        code[at + 1] = Math.sin(turned);
      });
      // LayerNorm takes the mean of all channels away: it must not depend on the place.
      const mean = code.reduce((a, b) => a + b, 0) / code.length;
      values[(1 + patch) * width + this.#plan.mark] = embeddedScale * patchMark.value;
      code.forEach((value, i) => (values[(1 + patch) * width + this.#plan.code + i] = embeddedScale * codeAmplitude * (value - mean)));
    }
  }

  /** @param values [width]: little but the opposite of a patch's mark */
  #writeClass(values: Float32Array): void {
    for (let i = 0; i < values.length; i++) values[i] *= 0.3;
    values[this.#plan.mark] = -embeddedScale * patchMark.value;
  }

  /** The place of each pair in the code, 0 for columns and 1 for rows, its angle per patch and at 0. */
  #forEachPair(visit: (at: number, axis: number, angle: number, phase: number) => void): void {
    for (const axis of [0, 1]) {
      frequencies.forEach((frequency, i) => visit(2 * (axis * frequencies.length + i), axis, (Math.PI * frequency) / this.#grid, Math.PI * (phases[i] + axis)));
    }
  }

  /** @param values [width, 3 × width]: columns of queries, keys and values; or the bias [3 × width] */
  #writeAttention(layer: number, part: 'qkv.weight' | 'qkv.bias', values: Float32Array, random: RandomSource): void {
    const { width, heads } = this.#vision;
    const isWeight = part === 'qkv.weight';
    const add = (channel: number, column: number, value: number): void => void (values[channel * 3 * width + column] += value);
    if (isWeight) for (let channel = 0; channel < width; channel++) for (let column = 0; column < 2 * width; column++) values[channel * 3 * width + column] = random.normal(0, blurred);
    if (layer === 1) return;
    for (let head = 0; head < heads; head++) {
      const query = head * this.#head;
      if (layer === 2) {
        if (isWeight) this.#writeComparison(head, values);
        // A key's length and its mark count for every query alike.
        else values[query + this.#plan.codeSize + this.#plan.appearanceSize] = 1;
        continue;
      }
      if (!isWeight) continue;
      if (head === heads - 1) {
        // One projection for both: the product is largest where tokens are alike.
        for (let channel = this.#plan.code + this.#plan.codeSize; channel < width; channel++) {
          if (channel === this.#plan.mark) continue;
          for (let column = 0; column < this.#head; column++) {
            const value = random.normal(0, later.alike / Math.sqrt(width - this.#plan.codeSize));
            add(channel, query + column, value);
            add(channel, width + query + column, value);
          }
        }
        this.#writeOddness(query, values);
        continue;
      }
      const offset = directions[((layer - 1) * (heads - 1) + head) % directions.length].map((step) => step * distances[(layer - 1) % distances.length]);
      this.#writeNear(query, later.near, offset, codeAmplitude * afterComparison.code, deviations.later, values);
    }
  }

  /**
   * Queries are the code of the place at an offset, keys that of the own place; they take the first columns of the head.
   *
   * @param amplitude of the code where the layer reads it
   * @param deviation of the channels there
   */
  #writeNear(query: number, factor: number, offset: readonly number[], amplitude: number, deviation: number, values: Float32Array): void {
    const { width } = this.#vision;
    const gain = (Math.sqrt(Math.abs(factor)) * this.#head ** 0.25 * deviation) / amplitude;
    const add = (channel: number, column: number, value: number): void => void (values[(this.#plan.code + channel) * 3 * width + column] += value);
    this.#forEachPair((at, axis, angle) => {
      const column = query + at;
      const [cosine, sine] = [Math.cos(angle * offset[axis]), Math.sin(angle * offset[axis])].map((value) => Math.sign(factor) * gain * value);
      add(at, column, cosine);
      add(at + 1, column, -sine);
      add(at, column + 1, sine);
      add(at + 1, column + 1, cosine);
      add(at, width + column, gain);
      add(at + 1, width + column + 1, gain);
    });
  }

  /**
   * Layers after the second: the class token, which has the opposite mark, attends to patches with large differences, and patches rather
   * to others. Values are the magnitudes.
   */
  #writeOddness(query: number, values: Float32Array): void {
    const { width } = this.#vision;
    const { codeSize, magnitudes, mark } = this.#plan;
    for (const part of [0, 1]) this.#clearColumn(part * width + query, values);
    const gain = Math.sqrt(later.odd) * this.#head ** 0.25 * deviations.later;
    values[mark * 3 * width + query] = -gain / (afterComparison.mark * patchMark.value);
    comparisons.forEach((_, comparison) => {
      values[(magnitudes + comparison) * 3 * width + width + query] = gain / afterComparison.differences;
      const column = 2 * width + query + codeSize + comparison;
      this.#clearColumn(column, values);
      values[(magnitudes + comparison) * 3 * width + column] = deviations.later / afterComparison.differences;
    });
  }

  /** Layer 2: what a head attends to, and as values the copy of the appearance that it is taken away from. */
  #writeComparison(head: number, values: Float32Array): void {
    const { width } = this.#vision;
    const { appearance, appearanceSize, codeSize, differences, length: lengthChannel, mark } = this.#plan;
    const { alike, length: lengthWeight, near } = comparisons[head];
    const first = head * this.#head;
    for (let column = 0; column < this.#head; column++) for (const part of [0, 1]) this.#clearColumn(part * width + first + column, values);
    this.#writeNear(first, near, [0, 0], codeAmplitude, deviations.second, values);
    const gain = (Math.sqrt(alike) * this.#head ** 0.25 * deviations.second) / appearanceGain;
    for (let i = 0; i < appearanceSize; i++) {
      const column = first + codeSize + i;
      for (const part of [0, 1]) values[(appearance + i) * 3 * width + part * width + column] = gain;
      this.#clearColumn(2 * width + first + i, values);
      values[(differences[head] + i) * 3 * width + 2 * width + first + i] = deviations.second;
    }
    // Half the squared distance is half the squared lengths less the product, and that of the query is the same for all keys.
    values[mark * 3 * width + width + first + codeSize + appearanceSize] = patchMark.attraction * alike * Math.sqrt(this.#head);
    values[lengthChannel * 3 * width + width + first + codeSize + appearanceSize] = (-0.5 * lengthWeight * alike * Math.sqrt(this.#head) * deviations.second) / lengthScale;
  }

  /** @param values [width, width], rows by head */
  #writeOutput(layer: number, values: Float32Array): void {
    const { width } = this.#vision;
    for (let i = 0; i < values.length; i++) values[i] *= faint;
    if (layer > 2) {
      // What the last head finds goes where the waves were, which nothing reads any more.
      const row = (width - this.#head + this.#plan.codeSize) * width;
      values.fill(0, row, row + comparisons.length * width);
      comparisons.forEach((_, comparison) => (values[row + comparison * width + this.#plan.waves + comparisons.length * (layer - 3) + comparison] = 1));
    }
    if (layer !== 2) return;
    this.#plan.differences.forEach((channel, head) => {
      for (let i = 0; i < this.#plan.appearanceSize; i++) {
        const row = (head * this.#head + i) * width;
        values.fill(0, row, row + width);
        values[row + channel + i] = -1;
      }
    });
  }

  /** @param values [width, mlpWidth] or [mlpWidth, width]: pairs of units that see one channel with both signs */
  #writeMlp(layer: number, part: 'fc1.weight' | 'fc2.weight', values: Float32Array): void {
    const { width, mlpWidth } = this.#vision;
    if (part === 'fc2.weight') for (let i = 0; i < values.length; i++) values[i] *= faint;
    let unit = 0;
    const rectify = (channel: number, gain: number, write: (put: (to: number, value: number) => void, sign: number) => void): void => {
      for (const sign of [1, -1]) {
        if (part === 'fc1.weight') {
          for (let from = 0; from < width; from++) values[from * mlpWidth + unit] = from === channel ? sign * gain : 0;
        } else {
          const row = unit * width;
          values.fill(0, row, row + width);
          write((to, value) => (values[row + to] = value), sign);
        }
        unit++;
      }
    };
    const { code, codeSize, mark, appearance, differences, length, magnitudes, waves: firstWave, appearanceSize } = this.#plan;
    if (layer === 1) {
      const square = (channel: number, gain: number, steep: number, weight: number): void =>
        rectify(channel, (steep * deviations.first) / gain, (put) => put(length, (lengthScale * weight) / (bend * steep ** 2)));
      for (let colour = 0; colour < colours; colour++) {
        waves.forEach((wave, i) => {
          const channel = firstWave + colour * waves.length + i;
          rectify(channel, (steepness.strength * deviations.first) / waveGain, (put) =>
            this.#forEachCopy((copy, sign) => put(copy + colours * (1 + orientationOf(wave)) + colour, (sign * appearanceGain) / steepness.strength)),
          );
          square(channel, waveGain, steepness.squaredWave, squaredWaves);
        });
        square(appearance + colour, appearanceGain, steepness.squaredMean, 1);
      }
    }
    if (layer === 2) {
      // QuickGELU(x) - QuickGELU(-x) is x.
      const scale = (channel: number, factor: number): void => rectify(channel, deviations.second, (put, sign) => put(channel, sign * (factor - 1)));
      for (let i = 0; i < codeSize; i++) scale(code + i, afterComparison.code);
      scale(mark, afterComparison.mark);
      differences.forEach((first) => {
        for (let i = 0; i < appearanceSize; i++) scale(first + i, afterComparison.differences);
      });
      differences.forEach((first, comparison) => {
        for (let i = 0; i < appearanceSize; i++) rectify(first + i, steepness.magnitude * deviations.second, (put) => put(magnitudes + comparison, 0.25 * afterComparison.differences));
      });
    }
  }
}
