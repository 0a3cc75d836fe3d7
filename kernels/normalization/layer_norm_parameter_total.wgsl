// Second of two stages of the gradients of layer_norm's weight and bias: the sum over the chunks, in order.
//
//   weight_partial, bias_partial    [chunks, width], f32
//   weight_gradient, bias_gradient  [width]
//
// One invocation per column.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  chunks: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight_partial: array<f32>;
@group(0) @binding(2) var<storage, read> bias_partial: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_gradient: array<Element>;
@group(0) @binding(4) var<storage, read_write> bias_gradient: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.width) {
    return;
  }
  var weight_sum = 0.0;
  var bias_sum = 0.0;
  for (var chunk = 0u; chunk < params.chunks; chunk++) {
    weight_sum += weight_partial[chunk * params.width + id.x];
    bias_sum += bias_partial[chunk * params.width + id.x];
  }
  weight_gradient[id.x] = Element(weight_sum);
  bias_gradient[id.x] = Element(bias_sum);
}
