// output = a and b one after the other along one axis (torch.cat). With everything before the axis as `outer` and the
// axis and everything after it as one contiguous segment:
//
//   a       [outer, a_segment]
//   b       [b_outer, b_segment]    b_outer = outer, or 1: the same b for every outer index (learned prompts)
//   output  [outer, a_segment + b_segment]
//
// One invocation per output element: a copy, limited by memory.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  a_segment: u32,
  b_segment: u32,
  b_outer: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Element>;
@group(0) @binding(2) var<storage, read> b: array<Element>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

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
  let segment = params.a_segment + params.b_segment;
  let outer = i / segment;
  let within = i % segment;
  if (within < params.a_segment) {
    output[i] = a[outer * params.a_segment + within];
  } else {
    output[i] = b[(outer % params.b_outer) * params.b_segment + within - params.a_segment];
  }
}
