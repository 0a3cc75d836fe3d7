// output = the part [start, start + segment) of every input row, where a row is one axis with everything after it
// (torch.narrow):
//
//   input   [outer, stride]
//   output  [outer, segment]
//
// One invocation per output element: a copy, limited by memory.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  stride: u32,
  start: u32,
  segment: u32,
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
  if (i < params.size) {
    output[i] = input[(i / params.segment) * params.stride + params.start + i % params.segment];
  }
}
