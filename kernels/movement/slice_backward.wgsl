// The gradient of slice: the output's gradient at its place in every row, zeros around it (torch.narrow's backward).
//
//   output_gradient  [outer, segment]
//   input_gradient   [outer, stride]
//
// One invocation per element of the input's gradient.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  stride: u32,
  start: u32,
  segment: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output_gradient: array<Element>;
@group(0) @binding(2) var<storage, read_write> input_gradient: array<Element>;

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
  let within = i % params.stride;
  if (within >= params.start && within < params.start + params.segment) {
    input_gradient[i] = output_gradient[(i / params.stride) * params.segment + within - params.start];
  } else {
    input_gradient[i] = Element(0.0);
  }
}
