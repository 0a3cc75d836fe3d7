// transpose.wgsl without workgroup memory and barriers, for adapters that run on the CPU: output[b, c, r] = input[b, r, c].
//
// One invocation moves RUN neighbouring columns of one input row, which is one cache line, to as many output rows;
// neighbouring invocations have neighbouring input rows, so that they write side by side.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

const RUN = 16u;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let start = group.z * params.rows * params.columns;
  let row = group.x * THREADS + thread;
  let first = group.y * RUN;
  let end = min(first + RUN, params.columns);
  if (row < params.rows) {
    for (var column = first; column < end; column++) {
      output[start + column * params.rows + row] = input[start + row * params.columns + column];
    }
  }
}
