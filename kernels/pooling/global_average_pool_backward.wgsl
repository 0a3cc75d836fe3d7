// The gradient of global_average_pool: every position gets its share of the channel's gradient.
//
//   output_gradient  [batch, channels]
//   input_gradient   [batch, positions, channels]
//
// One invocation per element of the input's gradient.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  positions: u32,
  channels: u32,
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
  if (i < params.size) {
    let image = i / (params.positions * params.channels);
    input_gradient[i] = Element(f32(output_gradient[image * params.channels + i % params.channels]) / f32(params.positions));
  }
}
