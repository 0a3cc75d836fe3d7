// The second pass of Pillow's resize of an RGB image, along the columns, rounded and clipped to 8 bits once more, and
// what a network wants of it: (value / 255 - mean) / std, channel by channel.
//
//   pixels  [height, width] words: red, green and blue in the lower three bytes (resize_horizontal)
//   table   [1 + taps, target]: for each output row its first source row, then its weights (i32, unit 2^22)
//   output  [3, target, width]
//
// Columns along x of the dispatch (neighbours read neighbours), rows along y: one invocation makes several, as far
// apart as the dispatch is high.

import package::common::element::Element;
import package::image::fixed_point::{ HALF, rounded };

@if(f16) enable f16;

struct Params {
  width: u32,
  target_height: u32,
  taps: u32,
  mean_red: f32,
  mean_green: f32,
  mean_blue: f32,
  std_red: f32,
  std_green: f32,
  std_blue: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> pixels: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let x = group.x * THREADS + thread;
  if (x >= params.width) {
    return;
  }
  let mean = vec3f(params.mean_red, params.mean_green, params.mean_blue);
  let deviation = vec3f(params.std_red, params.std_green, params.std_blue);
  for (var y = group.y; y < params.target_height; y += groups.y) {
    let source = table[y];
    var sum = vec3i(HALF);
    for (var tap = 0u; tap < params.taps; tap++) {
      let weight = bitcast<i32>(table[(tap + 1) * params.target_height + y]);
      let bits = pixels[(source + tap) * params.width + x];
      sum += weight * vec3i(vec3u(bits, bits >> 8, bits >> 16) & vec3u(255));
    }
    let colour = (vec3f(rounded(sum)) / 255.0 - mean) / deviation;
    let at = y * params.width + x;
    let plane = params.target_height * params.width;
    output[at] = Element(colour.r);
    output[at + plane] = Element(colour.g);
    output[at + 2 * plane] = Element(colour.b);
  }
}
