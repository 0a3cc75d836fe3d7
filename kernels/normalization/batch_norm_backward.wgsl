// The gradient of batch_norm with respect to its input, through the statistics too:
//   input_gradient = weight · rstd · (output_gradient - bias_gradient / positions - normal · weight_gradient / positions)
// with normal = (input - mean) · rstd, and the sums that the gradients of weight and bias already are.
//
//   input, output_gradient, input_gradient             [positions, channels]
//   weight                                             [channels]
//   mean, variance, weight_gradient, bias_gradient     [channels], f32
//
// One invocation per element.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  channels: u32,
  epsilon: f32,
  // 1 / positions
  share: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Element>;
@group(0) @binding(3) var<storage, read> weight: array<Element>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> variance: array<f32>;
@group(0) @binding(6) var<storage, read> weight_gradient: array<f32>;
@group(0) @binding(7) var<storage, read> bias_gradient: array<f32>;
@group(0) @binding(8) var<storage, read_write> input_gradient: array<Element>;

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
  let channel = i % params.channels;
  let rstd = inverseSqrt(variance[channel] + params.epsilon);
  let normal = (f32(input[i]) - mean[channel]) * rstd;
  let through_statistics = (bias_gradient[channel] + normal * weight_gradient[channel]) * params.share;
  input_gradient[i] = Element(f32(weight[channel]) * rstd * (f32(output_gradient[i]) - through_statistics));
}
