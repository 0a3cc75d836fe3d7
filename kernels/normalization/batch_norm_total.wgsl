// Second of two stages: the chunks' sums of each channel, added in order, times a factor (1 / positions for a mean).
//
//   partial  [chunks, channels], f32
//   total    [channels]
//
// One invocation per channel.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  channels: u32,
  chunks: u32,
  factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> total: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.channels) {
    return;
  }
  var sum = 0.0;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    sum += partial[chunk * params.channels + id.x];
  }
  total[id.x] = Element(sum * params.factor);
}
