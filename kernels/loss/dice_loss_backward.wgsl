// The gradient of dice_loss. With D, A and N as in dice_loss_total, for each pixel
//   (1 - 2 m) / (A + 1) - D / (A + 1)²  +  (1 - 2 m) / (2 N - A + 1) + D / (2 N - A + 1)²
// times loss_gradient / images.
//
//   mask, probability_gradient  [images, size] pixels, f32
//   sums                        [images, 2], f32: D and A
//   loss_gradient               [1], f32
//
// One invocation per item. The probabilities themselves do not appear: they are in the sums.

import package::common::item::{ Item, Wide };

struct Params {
  size: u32,
  items: u32,
  images: u32,
  pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mask: array<Item>;
@group(0) @binding(2) var<storage, read> sums: array<vec2f>;
@group(0) @binding(3) var<storage, read> loss_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> probability_gradient: array<Item>;

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
  let sum = sums[i / params.items];
  let abnormal = 1.0 / (sum.y + 1.0);
  let normal = 1.0 / (2.0 * f32(params.pixels) - sum.y + 1.0);
  let by_mask = abnormal + normal;
  let by_area = sum.x * (normal * normal - abnormal * abnormal);
  let factor = loss_gradient[0] / f32(params.images);
  probability_gradient[i] = ((Wide(1.0) - 2.0 * Wide(mask[i])) * by_mask + by_area) * factor;
}
