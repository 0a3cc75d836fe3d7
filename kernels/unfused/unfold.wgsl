// Square patches that do not overlap, each laid out as one row, and with @if(backward) the way back (torch.nn.Unfold and
// Fold with stride = kernel size).
//
//   image    [batch, channels, height, width]
//   patches  [batch, height / patch * width / patch, channels * patch * patch], a row in the order channel, line, pixel
//
// One invocation per element, in the order of the patches, whose lines are contiguous in both.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  size: u32,
  channels: u32,
  height: u32,
  width: u32,
  patch_size: u32,
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
  let side = params.patch_size;
  let x = i % side;
  let y = i / side % side;
  let channel = i / (side * side) % params.channels;
  let at = i / (side * side * params.channels);
  let across = params.width / side;
  let down = params.height / side;
  let image = at / (across * down) * params.channels + channel;
  let pixel = (image * params.height + at / across % down * side + y) * params.width + at % across * side + x;
  @if(backward) { output[pixel] = input[i]; }
  @else { output[i] = input[pixel]; }
}
