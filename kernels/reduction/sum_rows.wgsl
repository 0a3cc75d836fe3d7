// output[o, c] = sum over r of input[o, r, c]: what a tensor that every row used gets as its gradient
// (a bias, prompts shared by a batch).
//
//   input   [outer, rows, width]
//   output  [outer, width]
//
// One invocation per column, so that neighbours read neighbours; rows are added in order, so the sum is always the same.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.size) {
    return;
  }
  let start = id.x / params.width * params.rows * params.width + id.x % params.width;
  var sum = 0.0;
  for (var row = 0u; row < params.rows; row++) {
    sum += f32(input[start + row * params.width]);
  }
  output[id.x] = Element(sum);
}
