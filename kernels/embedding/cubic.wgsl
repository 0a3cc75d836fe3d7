// The weights of bicubic interpolation without antialiasing, as torch.nn.functional.interpolate computes them
// (align_corners = false, A = -0.75): four inputs around the position of an output, those beyond the border moved onto it.

const A = -0.75;

fn cubic(distance: f32) -> f32 {
  let x = abs(distance);
  if (x <= 1.0) {
    return ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
  }
  if (x < 2.0) {
    return ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
  }
  return 0.0;
}

// Where output `index` of `to` lies among `source` inputs.
fn source_position(index: u32, source: u32, to: u32) -> f32 {
  return (f32(index) + 0.5) * (f32(source) / f32(to)) - 0.5;
}

// The input that tap 0 to 3 of a position reads.
fn tap_index(position: f32, tap: u32, source: u32) -> u32 {
  return u32(clamp(i32(floor(position)) + i32(tap) - 1, 0, i32(source) - 1));
}

fn tap_weight(position: f32, tap: u32) -> f32 {
  return cubic(position - floor(position) + 1.0 - f32(tap));
}
