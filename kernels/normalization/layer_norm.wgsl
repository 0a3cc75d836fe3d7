// Layer normalisation over the last axis (torch.nn.LayerNorm): for each row,
//   output = (input - mean) / sqrt(variance + epsilon) * weight + bias
//
//   input, output  [rows, width]
//   weight, bias   [width]
//   mean, rstd     [rows], f32, only with @if(save_statistics): what the backward pass needs
//
// One workgroup per row. Each invocation strides over the row, so that neighbours read neighbours. The variance is
// taken around the mean in a second pass (E[x²] - E[x]² loses all digits when the mean is large); the row is short
// enough to come from the cache the second and third time. Sums meet in workgroup memory in a fixed tree, so the
// result does not depend on scheduling.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  rows: u32,
  width: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read> weight: array<Element>;
@group(0) @binding(3) var<storage, read> bias: array<Element>;
@group(0) @binding(4) var<storage, read_write> output: array<Element>;
@if(save_statistics) @group(0) @binding(5) var<storage, read_write> mean: array<f32>;
@if(save_statistics) @group(0) @binding(6) var<storage, read_write> rstd: array<f32>;

override THREADS: u32 = 128;

var<workgroup> partial: array<f32, THREADS>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
  partial[thread] = value;
  workgroupBarrier();
  for (var half = THREADS / 2; half > 0; half /= 2) {
    if (thread < half) {
      partial[thread] += partial[thread + half];
    }
    workgroupBarrier();
  }
  let total = partial[0];
  workgroupBarrier();
  return total;
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * groups.x + group.x;
  if (row >= params.rows) {
    return;
  }
  let start = row * params.width;

  var sum = 0.0;
  for (var i = thread; i < params.width; i += THREADS) {
    sum += f32(input[start + i]);
  }
  let row_mean = workgroup_sum(sum, thread) / f32(params.width);

  var squares = 0.0;
  for (var i = thread; i < params.width; i += THREADS) {
    let centred = f32(input[start + i]) - row_mean;
    squares += centred * centred;
  }
  let row_rstd = inverseSqrt(workgroup_sum(squares, thread) / f32(params.width) + params.epsilon);

  for (var i = thread; i < params.width; i += THREADS) {
    let normal = (f32(input[start + i]) - row_mean) * row_rstd;
    output[start + i] = Element(normal * f32(weight[i]) + f32(bias[i]));
  }
  @if(save_statistics) {
    if (thread == 0) {
      mean[row] = row_mean;
      rstd[row] = row_rstd;
    }
  }
}
