/** Number of bins that scores are counted in. */
export const SCORE_BINS = 65536;

/** The bin of something that is not a number. */
export const NO_BIN = SCORE_BINS;

const bitsOfOne = 0x3f800000;
const bitsOfHalf = 0x3f000000;

/** The bins of [0, 0.5), from 0 to 32767, by the bits of the score. */
function halfKey(bits: number): number {
  if (bits < 0x30000000) return 0;
  const octave = 127 - (bits >>> 23);
  const level = 30 - Math.clz32(octave);
  const below = (4 << level) - 1 - octave;
  return (3 - level) * 8192 + below * (4096 >> level) + ((bits & 0x7fffff) >>> (11 + level));
}

/** The smallest score in a bin below one half; for 32768 one half itself. */
function halfScore(key: number): number {
  if (key === 0) return 0;
  if (key === SCORE_BINS / 2) return 0.5;
  const level = 3 - (key >> 13);
  const place = key & 8191;
  const perOctave = 4096 >> level;
  const octave = (4 << level) - 1 - Math.floor(place / perOctave);
  return 2 ** -octave * (1 + (place % perOctave) / perOctave);
}

const floats = new Float32Array(1);
const words = new Uint32Array(floats.buffer);

/**
 * The bin of a score: a monotone key of 16 bits, so that ranking by bins is ranking by scores, but for scores so close
 * that they share a bin and count as tied.
 *
 * A softmax puts most of its values near 0 and near 1, so the bins get finer towards both ends: below one half they are
 * those of a floating-point number, whose mantissa has 12 bits for scores from 2^-3 on, 11 from 2^-7, 10 from 2^-15 and 9
 * from 2^-31 (everything below is in bin 0), and above one half the same for 1 - score. In the middle a bin is 2^-14 wide,
 * nowhere wider than 2^-9 of the score's distance to the nearer end.
 *
 * The same as `score_key` in kernels/evaluation/score_key.wgsl.
 *
 * @param score rounded to f32; what is outside of [0, 1] counts as the end that it is beyond
 */
export function scoreKey(score: number): number {
  floats[0] = score;
  return scoreKeyOfBits(words[0]);
}

/** The bin of a score by the bits of its f32. */
export function scoreKeyOfBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return NO_BIN;
  if (bits >= 0x80000000) return 0;
  if (bits < bitsOfHalf) return halfKey(bits);
  if (bits >= bitsOfOne) return SCORE_BINS - 1;
  words[0] = bits;
  floats[0] = 1 - floats[0];
  return SCORE_BINS - 1 - halfKey(Math.min(words[0], bitsOfHalf - 1));
}

/**
 * The smallest f32 score of a bin, as a threshold: `score >= lowestScore(bin)` says of every f32 score whether it is in
 * this bin or a higher one. Close to 1 some bins are finer than f32 and stay empty; they have the score of the next bin.
 */
export function lowestScore(bin: number): number {
  if (bin <= SCORE_BINS / 2) return halfScore(bin);
  // The scores that are less than this away from 1; above one half f32 has multiples of 2^-24.
  const distance = halfScore(SCORE_BINS - bin);
  return 1 - (Math.ceil(distance * 2 ** 24) - 1) / 2 ** 24;
}
