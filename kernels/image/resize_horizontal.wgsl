// The first of the two passes of Pillow's resize of an RGB image: along the rows. Each output is a weighted mean of
// neighbouring pixels in fixed point, rounded and clipped to 8 bits as Pillow does, so the result is the same to the bit.
//
//   pixels  [height, width, 3] bytes, four to a word: the whole image, or a band of its rows
//   table   [1 + taps, target]: for each output column its first source column, then its weights (i32, unit 2^22)
//   output  [image height, target] words: red, green and blue in the lower three bytes; the rows from first_row are written
//
// One invocation per output column of ROWS rows: columns along x of the dispatch (neighbours read neighbours), rows along
// y. All columns have the same number of taps, so no invocation waits for another, and a weight is read once for all ROWS
// rows.

import package::image::fixed_point::{ HALF, rounded };

struct Params {
  width: u32,
  height: u32,
  // Where in the image the band begins.
  first_row: u32,
  target_width: u32,
  taps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<u32>;

override THREADS: u32 = 64;

const ROWS = 4u;

// Red, green and blue of the pixel that starts at a byte.
fn pixel_at(byte: u32) -> vec3i {
  let word = byte / 4;
  let shift = byte % 4 * 8;
  var bits = pixels[word] >> shift;
  if (shift > 8) {
    bits |= pixels[word + 1] << (32 - shift);
  }
  return vec3i(vec3u(bits, bits >> 8, bits >> 16) & vec3u(255));
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let x = group.x * THREADS + thread;
  if (x >= params.target_width) {
    return;
  }
  let source = table[x];
  for (var row = group.y * ROWS; row < params.height; row += groups.y * ROWS) {
    // Rows beyond the last one repeat it and are not written.
    let last = params.height - 1;
    let first_start = (row * params.width + source) * 3;
    let second_start = (min(row + 1, last) * params.width + source) * 3;
    let third_start = (min(row + 2, last) * params.width + source) * 3;
    let fourth_start = (min(row + 3, last) * params.width + source) * 3;
    var first = vec3i(HALF);
    var second = vec3i(HALF);
    var third = vec3i(HALF);
    var fourth = vec3i(HALF);
    for (var tap = 0u; tap < params.taps; tap++) {
      let weight = bitcast<i32>(table[(tap + 1) * params.target_width + x]);
      first += weight * pixel_at(first_start + 3 * tap);
      second += weight * pixel_at(second_start + 3 * tap);
      third += weight * pixel_at(third_start + 3 * tap);
      fourth += weight * pixel_at(fourth_start + 3 * tap);
    }
    let to = (params.first_row + row) * params.target_width + x;
    output[to] = packed(first);
    if (row + 1 < params.height) {
      output[to + params.target_width] = packed(second);
    }
    if (row + 2 < params.height) {
      output[to + 2 * params.target_width] = packed(third);
    }
    if (row + 3 < params.height) {
      output[to + 3 * params.target_width] = packed(fourth);
    }
  }
}

fn packed(sum: vec3i) -> u32 {
  let colour = vec3u(rounded(sum));
  return colour.r | (colour.g << 8) | (colour.b << 16);
}
