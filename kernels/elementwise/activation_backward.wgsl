// input_gradient[i] = output_gradient[i] * activation'(input[i]). One invocation per element.

import package::common::activation::activation_slope;
import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  kind: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Element>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.size) {
    input_gradient[i] = Element(f32(output_gradient[i]) * activation_slope(f32(input[i]), params.kind));
  }
}
