// The mean of each token's N x N neighbourhood on the patch grid (MFP-CLIP, equations 8 to 10): stride 1, same size,
// and at the border the mean of the cells that exist. With R the radius (N = 2 R + 1) and the sums over cells inside:
//
//   output[b, y, x] = 1 / (count(y) * count(x)) * sum of input[b, v, u],  |v - y| <= R, |u - x| <= R
//
// With @if(backward) the gradient of that. Cell (v, u) lies in the windows of the same cells that lie in its own, so the
// gradient gathers over the same window, but each term has its own count:
//
//   input_gradient[b, v, u] = sum of output_gradient[b, y, x] / (count(y) * count(x)),  |v - y| <= R, |u - x| <= R
//
//   input, output  [batch, rows, columns, width], the width in items
//
// One invocation per strip of four rows, column and item. A row of a window is summed once and added to every output
// of the strip that it belongs to: N (N + 3) / 4 reads per output where the plain way (neighbourhood_pool_direct) has
// N². Items run along x of the dispatch, so neighbours read neighbours; column and strip are y and z, because taking
// them out of one index costs several integer divisions per invocation, on a CPU as long as the sums themselves.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  rows: u32,
  columns: u32,
  items: u32,
  radius: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read_write> output: array<Item>;

override THREADS: u32 = 64;

// Cells of the window around `at` that lie inside an axis of `length` cells.
fn window_length(at: i32, length: i32, radius: i32) -> f32 {
  return f32(min(at + radius, length - 1) - max(at - radius, 0) + 1);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let item = group.x * THREADS + thread;
  if (item >= params.items) {
    return;
  }
  let strips = (params.rows + 3) / 4;
  let column = i32(group.y);
  let top = i32(group.z % strips * 4);
  let image = group.z / strips * params.rows;
  let rows = i32(params.rows);
  let columns = i32(params.columns);
  let radius = i32(params.radius);
  let left = max(column - radius, 0);
  let right = min(column + radius, columns - 1);

  var first = Wide();
  var second = Wide();
  var third = Wide();
  var fourth = Wide();
  for (var row = max(top - radius, 0); row <= min(top + 3 + radius, rows - 1); row++) {
    let start = (image + u32(row)) * params.columns;
    var sum = Wide();
    for (var at = left; at <= right; at++) {
      let value = Wide(input[(start + u32(at)) * params.items + item]);
      @if(backward) { sum += value / window_length(at, columns, radius); }
      @else { sum += value; }
    }
    @if(backward) { sum /= window_length(row, rows, radius); }
    if (row <= top + radius) {
      first += sum;
    }
    if (abs(row - top - 1) <= radius) {
      second += sum;
    }
    if (abs(row - top - 2) <= radius) {
      third += sum;
    }
    if (row >= top + 3 - radius) {
      fourth += sum;
    }
  }

  @if(!backward) {
    let across = f32(right - left + 1);
    first /= across * window_length(top, rows, radius);
    second /= across * window_length(top + 1, rows, radius);
    third /= across * window_length(top + 2, rows, radius);
    fourth /= across * window_length(top + 3, rows, radius);
  }
  let stride = params.columns * params.items;
  let at = ((image + u32(top)) * params.columns + u32(column)) * params.items + item;
  output[at] = Item(first);
  if (top + 1 < rows) {
    output[at + stride] = Item(second);
  }
  if (top + 2 < rows) {
    output[at + 2 * stride] = Item(third);
  }
  if (top + 3 < rows) {
    output[at + 3 * stride] = Item(fourth);
  }
}
