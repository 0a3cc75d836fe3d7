// A position embedding fitted to another grid: the class token's row as it is, the grid's rows interpolated bicubically
// (torch.nn.functional.interpolate, mode = bicubic, align_corners = false, no antialiasing).
//
//   input   [1 + source · source, width]
//   output  [1 + to · to, width]
//
// One invocation per output element; neighbours read neighbouring columns of the same sixteen rows. It runs once, when a
// checkpoint is loaded.

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
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

override THREADS: u32 = 64;

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
    output[i] = input[i];
    return;
  }
  let y = source_position((row - 1) / params.to, params.source, params.to);
  let x = source_position((row - 1) % params.to, params.source, params.to);
  var sum = 0.0;
  for (var ty = 0u; ty < 4; ty++) {
    var line = 0.0;
    for (var tx = 0u; tx < 4; tx++) {
      let from_row = 1 + tap_index(y, ty, params.source) * params.source + tap_index(x, tx, params.source);
      line += tap_weight(x, tx) * f32(input[from_row * params.width + column]);
    }
    sum += tap_weight(y, ty) * line;
  }
  output[i] = Element(sum);
}
