// The gradient of gather_rows: each output row's gradient at the row it came from, zeros elsewhere.
//
//   output_gradient  [outer, width]
//   index            [outer], u32
//   input_gradient   [outer, rows, width]
//
// One invocation per element of the input's gradient.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output_gradient: array<Element>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<Element>;

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
  let outer = row / params.rows;
  if (row % params.rows == index[outer]) {
    input_gradient[i] = output_gradient[outer * params.width + i % params.width];
  } else {
    input_gradient[i] = Element(0.0);
  }
}
