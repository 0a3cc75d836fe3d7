// The mean of each token's N x N neighbourhood on the patch grid, and with @if(backward) its gradient: the same sums as
// in neighbourhood_pool, written as they stand in the equations.
//
//   input, output  [batch, rows, columns, channels]
//
// One invocation per output element, N² reads each: the variant to read first and to measure the other one against.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  rows: u32,
  columns: u32,
  channels: u32,
  radius: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

override THREADS: u32 = 64;

// First and last cell of the window around `at` in an axis of `length` cells.
fn window(at: i32, length: u32, radius: i32) -> vec2i {
  return vec2i(max(at - radius, 0), min(at + radius, i32(length) - 1));
}

fn length_of(range: vec2i) -> f32 {
  return f32(range.y - range.x + 1);
}

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
  let cell = i / params.channels;
  let image = cell / (params.rows * params.columns) * params.rows;
  let radius = i32(params.radius);
  let down = window(i32(cell / params.columns % params.rows), params.rows, radius);
  let across = window(i32(cell % params.columns), params.columns, radius);
  var sum = 0.0;
  for (var row = down.x; row <= down.y; row++) {
    for (var column = across.x; column <= across.y; column++) {
      let value = f32(input[((image + u32(row)) * params.columns + u32(column)) * params.channels + channel]);
      @if(backward) {
        sum += value / (length_of(window(row, params.rows, radius)) * length_of(window(column, params.columns, radius)));
      }
      @else {
        sum += value;
      }
    }
  }
  @if(!backward) { sum /= length_of(down) * length_of(across); }
  output[i] = Element(sum);
}
