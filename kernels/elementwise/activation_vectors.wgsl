// output[i] = activation(input[i]), as elementwise/activation, four neighbouring elements at a time: one wide access where that
// kernel makes four. One invocation per vector; size counts vectors.

import package::common::activation::activated4;
import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  kind: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<Element>>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.size) {
    output[i] = vec4<Element>(activated4(vec4f(input[i]), params.kind));
  }
}
