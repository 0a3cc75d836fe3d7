// input_gradient[i] = output_gradient[i] * activation'(input[i]), as elementwise/activation_backward, four neighbouring elements at
// a time: one wide access where that kernel makes four. One invocation per vector; size counts vectors.

import package::common::activation::activation_slope4;
import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  kind: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read> output_gradient: array<vec4<Element>>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<vec4<Element>>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.size) {
    input_gradient[i] = vec4<Element>(vec4f(output_gradient[i]) * activation_slope4(vec4f(input[i]), params.kind));
  }
}
