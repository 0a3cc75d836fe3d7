// Batch normalisation with the batch's own statistics (torch.nn.BatchNorm2d in training mode), channels last:
//   output = (input - mean) / sqrt(variance + epsilon) · weight + bias
//
//   input, output   [positions, channels]; positions are batch × height × width
//   weight, bias    [channels]
//   mean, variance  [channels], f32, of batch_norm_sums and batch_norm_total
//
// One invocation per element.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  channels: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read> weight: array<Element>;
@group(0) @binding(3) var<storage, read> bias: array<Element>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> variance: array<f32>;
@group(0) @binding(6) var<storage, read_write> output: array<Element>;

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
  let normal = (f32(input[i]) - mean[channel]) * inverseSqrt(variance[channel] + params.epsilon);
  output[i] = Element(normal * f32(weight[channel]) + f32(bias[channel]));
}
