// output[i] = activation(input[i]). One invocation per element.

import package::common::activation::activated;
import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  kind: u32,
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
    output[i] = Element(activated(f32(input[i]), params.kind));
  }
}
