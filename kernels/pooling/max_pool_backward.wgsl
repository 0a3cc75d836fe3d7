// The gradient of max_pool: each output's gradient goes to the first maximum of its window, in reading order, as
// PyTorch's does.
//
//   input            [batch, height, width, channels]
//   output_gradient  [batch, out_height, out_width, channels]
//   input_gradient   [batch, height, width, channels]
//
// One invocation per input element, which looks at the few windows that hold it and adds the gradients of those whose
// first maximum it is: a gather, so nothing is written twice and no atomics are needed.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  height: u32,
  width: u32,
  channels: u32,
  out_height: u32,
  out_width: u32,
  window: u32,
  stride: u32,
  padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Element>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<Element>;

override THREADS: u32 = 64;

fn input_at(image: u32, y: u32, x: u32, channel: u32) -> f32 {
  return f32(input[((image * params.height + y) * params.width + x) * params.channels + channel]);
}

// Whether (y, x) is the first maximum of the window of output (row, column).
fn is_first_maximum(image: u32, row: u32, column: u32, y: u32, x: u32, channel: u32, value: f32) -> bool {
  let top = max(row * params.stride, params.padding) - params.padding;
  let left = max(column * params.stride, params.padding) - params.padding;
  let bottom = min(row * params.stride + params.window - params.padding, params.height);
  let right = min(column * params.stride + params.window - params.padding, params.width);
  for (var wy = top; wy < bottom; wy++) {
    for (var wx = left; wx < right; wx++) {
      let other = input_at(image, wy, wx, channel);
      let earlier = wy < y || (wy == y && wx < x);
      if (other > value || (earlier && other == value)) {
        return false;
      }
    }
  }
  return true;
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
  let x = i / params.channels % params.width;
  let y = i / (params.channels * params.width) % params.height;
  let image = i / (params.channels * params.width * params.height);
  let value = f32(input[i]);

  // Windows that hold (y, x): row · stride - padding <= y < row · stride - padding + window, and the same for columns.
  let first_row = (max(y + params.padding + params.stride, params.window) - params.window) / params.stride;
  let first_column = (max(x + params.padding + params.stride, params.window) - params.window) / params.stride;
  let last_row = min((y + params.padding) / params.stride, params.out_height - 1);
  let last_column = min((x + params.padding) / params.stride, params.out_width - 1);
  var sum = 0.0;
  for (var row = first_row; row <= last_row; row++) {
    for (var column = first_column; column <= last_column; column++) {
      if (is_first_maximum(image, row, column, y, x, channel, value)) {
        sum += f32(output_gradient[((image * params.out_height + row) * params.out_width + column) * params.channels + channel]);
      }
    }
  }
  input_gradient[i] = Element(sum);
}
