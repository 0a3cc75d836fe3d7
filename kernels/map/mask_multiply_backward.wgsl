// The mask's gradient of mask_multiply: mask_gradient[b, p] = sum over c of output_gradient[b, c, p] * image[b, c, p].
//
//   output_gradient, image  [batch, channels, pixels]
//   mask_gradient           [batch, pixels], f32
//
// One invocation per item of the mask, channels in order. Images along z of the dispatch.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  channels: u32,
  // Of one channel of one image.
  items: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output_gradient: array<Item>;
@group(0) @binding(2) var<storage, read> image: array<Item>;
@group(0) @binding(3) var<storage, read_write> mask_gradient: array<Wide>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= params.items) {
    return;
  }
  var sum = Wide();
  for (var channel = 0u; channel < params.channels; channel++) {
    let at = (group.z * params.channels + channel) * params.items + i;
    sum += Wide(output_gradient[at]) * Wide(image[at]);
  }
  mask_gradient[group.z * params.items + i] = sum;
}
