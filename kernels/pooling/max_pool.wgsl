// Maximum over windows of a feature map with channels last (torch.nn.MaxPool2d); cells outside the map don't count.
//
//   input   [batch, height, width, channels]
//   output  [batch, out_height, out_width, channels]
//
// One invocation per output element; neighbouring invocations are neighbouring channels, so all reads are coalesced.

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
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

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
  let column = i / params.channels % params.out_width;
  let row = i / (params.channels * params.out_width) % params.out_height;
  let image = i / (params.channels * params.out_width * params.out_height);

  // The window's part inside the map; starts before it are cut off without signed arithmetic.
  let top = max(row * params.stride, params.padding) - params.padding;
  let left = max(column * params.stride, params.padding) - params.padding;
  let bottom = min(row * params.stride + params.window - params.padding, params.height);
  let right = min(column * params.stride + params.window - params.padding, params.width);
  var most = f32(input[((image * params.height + top) * params.width + left) * params.channels + channel]);
  for (var y = top; y < bottom; y++) {
    for (var x = left; x < right; x++) {
      most = max(most, f32(input[((image * params.height + y) * params.width + x) * params.channels + channel]));
    }
  }
  output[i] = Element(most);
}
