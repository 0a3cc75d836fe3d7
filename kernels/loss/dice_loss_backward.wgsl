// The gradient of dice_loss. With D, A and N as in dice_loss_total, for each pixel
//   (1 - 2 m) / (A + 1) - D / (A + 1)²  +  (1 - 2 m) / (2 N - A + 1) + D / (2 N - A + 1)²
// times loss_gradient / images.
//
//   mask, probability_gradient  [images, size] pixels, f32
//   sums                        [images, 2], f32: D and A
//   loss_gradient               [1], f32
//
// One team per chunk of one image, as in the first stage of the forward pass. The probabilities themselves do not
// appear: they are in the sums.

import package::common::item::{ Item, Wide };
import package::common::team::{ Place, THREADS, team_of };

@if(subgroups) enable subgroups;

struct Params {
  images: u32,
  items: u32,
  chunk: u32,
  chunks: u32,
  pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mask: array<Item>;
@group(0) @binding(2) var<storage, read> sums: array<vec2f>;
@group(0) @binding(3) var<storage, read> loss_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> probability_gradient: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let image = team.index / params.chunks;
  if (image >= params.images) {
    return;
  }
  let sum = sums[image];
  let abnormal = 1.0 / (sum.y + 1.0);
  let normal = 1.0 / (2.0 * f32(params.pixels) - sum.y + 1.0);
  let factor = loss_gradient[0] / f32(params.images);
  let by_mask = (abnormal + normal) * factor;
  let by_area = sum.x * (normal * normal - abnormal * abnormal) * factor;
  let first = team.index % params.chunks * params.chunk;
  let end = min(first + params.chunk, params.items);
  let start = image * params.items;
  for (var i = first + team.lane; i < end; i += team.lanes) {
    probability_gradient[start + i] = (Wide(1.0) - 2.0 * Wide(mask[start + i])) * by_mask + by_area;
  }
}
