// The logarithm of a probability p of which the complement q = 1 - p is known as well, without the loss of digits that
// log(p) has near 1 (WGSL allows it an absolute error of 2^-21 there, which is the whole of a small loss).
//
// For q <= 1/2: log(1 - q) = -2 artanh(s) with s = q / (2 - q) <= 1/3, whose series needs seven terms for f32.

import package::common::item::Wide;

fn log_probability(p: Wide, q: Wide) -> Wide {
  let s = q / (Wide(2.0) - q);
  let square = s * s;
  var series = Wide(1.0 / 15.0);
  series = series * square + Wide(1.0 / 13.0);
  series = series * square + Wide(1.0 / 11.0);
  series = series * square + Wide(1.0 / 9.0);
  series = series * square + Wide(1.0 / 7.0);
  series = series * square + Wide(1.0 / 5.0);
  series = series * square + Wide(1.0 / 3.0);
  series = series * square + Wide(1.0);
  return select(log(p), -2.0 * s * series, q <= Wide(0.5));
}
