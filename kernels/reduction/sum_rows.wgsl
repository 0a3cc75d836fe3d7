// output[c] = sum over rows of input[r, c]: what a tensor that was used by every row gets as its gradient
// (a bias, prompts shared by a batch).
//
//   input   [rows, width]
//   output  [width]
//
// One invocation per column, so that neighbours read neighbours; rows are added in order, so the sum is always the same.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let column = id.x;
  if (column >= params.width) {
    return;
  }
  var sum = 0.0;
  for (var row = 0u; row < params.rows; row++) {
    sum += f32(input[row * params.width + column]);
  }
  output[column] = Element(sum);
}
