// output[o] = input[o, index[o]]: one row of every outer index, such as the end-of-text token of each prompt
// (torch.gather along the token axis).
//
//   input   [outer, rows, width]
//   index   [outer], u32, each below rows
//   output  [outer, width]
//
// One invocation per output element.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.size) {
    let outer = i / params.width;
    output[i] = input[(outer * params.rows + index[outer]) * params.width + i % params.width];
  }
}
