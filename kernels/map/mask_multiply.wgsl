// output[b, c, p] = image[b, c, p] * mask[b, p]: the image seen through the anomaly map (MFP-CLIP, equation 14).
//
//   image, output  [batch, channels, pixels]
//   mask           [batch, pixels], f32
//
// One invocation per item of the mask, which it reads once for all channels. Images along z of the dispatch.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  channels: u32,
  // Of one channel of one image.
  items: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<Item>;
@group(0) @binding(2) var<storage, read> mask: array<Wide>;
@group(0) @binding(3) var<storage, read_write> output: array<Item>;

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
  let factor = mask[group.z * params.items + i];
  for (var channel = 0u; channel < params.channels; channel++) {
    let at = (group.z * params.channels + channel) * params.items + i;
    output[at] = Item(Wide(image[at]) * factor);
  }
}
