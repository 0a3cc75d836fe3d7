// First of two stages of BatchNorm's statistics and gradients: for each channel, sums over a chunk of positions.
//
//   @if(centred)   partial[chunk, c] = sum of (input - mean[c])²                     the variance
//   @if(gradient)  partial[chunk, c] = sum of output_gradient · (input - mean) · rstd   the gradient of the weight
//   else           partial[chunk, c] = sum of input                                  the mean, and the gradient of the bias
//
//   input, output_gradient  [positions, channels]
//   mean, variance          [channels], f32
//   partial                 [chunks, channels], f32
//
// The variance is taken around the mean in a pass of its own: E[x²] - E[x]² loses all digits when the mean is large.
// One invocation per channel and chunk (workgroup y): neighbours read neighbouring channels, positions are added in
// order, so the sums don't depend on scheduling.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  positions: u32,
  channels: u32,
  chunk: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
@if(centred || gradient) @group(0) @binding(3) var<storage, read> mean: array<f32>;
@if(gradient) @group(0) @binding(4) var<storage, read> variance: array<f32>;
@if(gradient) @group(0) @binding(5) var<storage, read> output_gradient: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let channel = group.x * THREADS + thread;
  if (channel >= params.channels) {
    return;
  }
  let end = min((group.y + 1) * params.chunk, params.positions);
  var sum = 0.0;
  for (var position = group.y * params.chunk; position < end; position++) {
    let i = position * params.channels + channel;
    let value = f32(input[i]);
    @if(centred) {
      let centred = value - mean[channel];
      sum += centred * centred;
    }
    @if(gradient) {
      sum += f32(output_gradient[i]) * (value - mean[channel]) * inverseSqrt(variance[channel] + params.epsilon);
    }
    @if(!centred && !gradient) {
      sum += value;
    }
  }
  partial[group.y * params.channels + channel] = sum;
}
