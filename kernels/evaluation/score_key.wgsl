// The bin of a score among SCORE_BINS = 65536: a float of 16 bits that is fine at both ends of [0, 1], where a softmax
// puts most of its values. It is monotone: a larger score never has a smaller bin. src/eval/score_key.ts has the same in
// TypeScript and says how fine it is; a test holds the two together.

const SCORE_BINS = 65536u;
// For a score that is not a number.
const NO_BIN = SCORE_BINS;

// The bins of [0, 0.5), from 0 to 32767, by the bits of the score. Octaves 2^-2 and 2^-3 have 4096 bins each, the next
// four 2048, the next eight 1024, the next sixteen 512; all below 2^-31 falls into bin 0.
fn half_key(bits: u32) -> u32 {
  if (bits < 0x30000000u) {
    return 0;
  }
  // From 2 for [0.25, 0.5) to 31 for [2^-31, 2^-30).
  let octave = 127 - (bits >> 23);
  let level = firstLeadingBit(octave) - 1;
  let below = (4u << level) - 1 - octave;
  return (3 - level) * 8192 + below * (4096u >> level) + ((bits & 0x7fffffu) >> (11 + level));
}

fn score_key(score: f32) -> u32 {
  let bits = bitcast<u32>(score);
  // By their bits, because a compiler may take for granted that there are no NaNs.
  if ((bits & 0x7fffffffu) > 0x7f800000u) {
    return NO_BIN;
  }
  // Negative scores.
  if (bits >= 0x80000000u) {
    return 0;
  }
  if (bits < 0x3f000000u) {
    return half_key(bits);
  }
  if (bits >= 0x3f800000u) {
    return SCORE_BINS - 1;
  }
  // 1 - score is exact here. One half itself goes into the bin beside it.
  return SCORE_BINS - 1 - half_key(min(bitcast<u32>(1.0 - score), 0x3effffffu));
}
