// The gradient of resize_position: every input row gathers from the outputs that read it, with the same weights.
//
//   output_gradient  [1 + to · to, width]
//   input_gradient   [1 + source · source, width]
//
// One invocation per element of the input's gradient. Along each axis it walks over all outputs and skips those that do
// not read this input: the grids are small (37 × 37), and a gather needs no atomics.

import package::common::element::Element;
import package::embedding::cubic::{source_position, tap_index, tap_weight};

@if(f16) enable f16;

struct Params {
  size: u32,
  source: u32,
  to: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output_gradient: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradient: array<Element>;

override THREADS: u32 = 64;

// The share of input `index` in output `out` along one axis; inputs at the border are read by more than one tap.
fn share(out: u32, index: u32) -> f32 {
  let position = source_position(out, params.source, params.to);
  var sum = 0.0;
  for (var tap = 0u; tap < 4; tap++) {
    if (tap_index(position, tap, params.source) == index) {
      sum += tap_weight(position, tap);
    }
  }
  return sum;
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= params.size) {
    return;
  }
  let row = i / params.width;
  let column = i % params.width;
  if (row == 0) {
    input_gradient[i] = output_gradient[i];
    return;
  }
  var sum = 0.0;
  for (var y = 0u; y < params.to; y++) {
    let of_row = share(y, (row - 1) / params.source);
    if (of_row == 0.0) {
      continue;
    }
    var line = 0.0;
    for (var x = 0u; x < params.to; x++) {
      let of_column = share(x, (row - 1) % params.source);
      if (of_column != 0.0) {
        line += of_column * f32(output_gradient[(1 + y * params.to + x) * params.width + column]);
      }
    }
    sum += of_row * line;
  }
  input_gradient[i] = Element(sum);
}
