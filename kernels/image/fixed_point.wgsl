// Pillow's fixed point for 8-bit images: weights have 22 binary digits after the point. The largest sum, 255 times the
// positive weights of a bicubic filter, stays below 2^31.

const PRECISION = 22u;

// What a sum starts from, so that cutting off its fraction rounds it.
const HALF = 1i << (PRECISION - 1);

// The 8-bit values of sums that started from HALF: bicubic weights can lead below 0 and above 255.
fn rounded(sum: vec3i) -> vec3i {
  return clamp(sum >> vec3u(PRECISION), vec3i(0), vec3i(255));
}
