// First of two stages of the gradients of layer_norm's weight and bias: for each column, sums over a chunk of rows,
//   weight_partial[chunk, c] = sum of output_gradient[r, c] * (input[r, c] - mean[r]) * rstd[r]
//   bias_partial[chunk, c]   = sum of output_gradient[r, c]
//
//   input, output_gradient        [rows, width]
//   statistics                    [rows, 2], f32: mean, reciprocal deviation
//   weight_partial, bias_partial  [chunks, width], f32
//
// One invocation per item of a row and chunk (workgroup y), so that neighbours read neighbours; the row is the same for
// a whole workgroup. Rows are added in order. Chunks keep enough invocations busy when rows are many.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  rows: u32,
  items: u32,
  chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Item>;
@group(0) @binding(3) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> weight_partial: array<Wide>;
@group(0) @binding(5) var<storage, read_write> bias_partial: array<Wide>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let item = group.x * THREADS + thread;
  if (item >= params.items) {
    return;
  }
  let first = group.y * params.chunk;
  let end = min(first + params.chunk, params.rows);
  var weight_sum = Wide();
  var bias_sum = Wide();
  for (var row = first; row < end; row++) {
    let row_statistics = statistics[row];
    let gradient = Wide(output_gradient[row * params.items + item]);
    let normal = (Wide(input[row * params.items + item]) - row_statistics.x) * row_statistics.y;
    weight_sum += gradient * normal;
    bias_sum += gradient;
  }
  weight_partial[group.y * params.items + item] = weight_sum;
  bias_partial[group.y * params.items + item] = bias_sum;
}
