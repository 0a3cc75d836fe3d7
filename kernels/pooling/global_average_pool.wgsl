// output[b, c] = mean over all positions of input[b, p, c] (torch.nn.AdaptiveAvgPool2d(1), channels last).
//
//   input   [batch, positions, channels]
//   output  [batch, channels]
//
// One invocation per output element: neighbours read neighbouring channels, and positions are added in order.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  positions: u32,
  channels: u32,
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
  if (i >= params.size) {
    return;
  }
  let start = i / params.channels * params.positions * params.channels + i % params.channels;
  var sum = 0.0;
  for (var position = 0u; position < params.positions; position++) {
    sum += f32(input[start + position * params.channels]);
  }
  output[i] = Element(sum / f32(params.positions));
}
