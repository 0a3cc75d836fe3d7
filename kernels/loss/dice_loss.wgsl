// First of two stages of the dice loss: each team sums one chunk of one image,
//   partial[image, chunk] = (sum of p + m - 2 p m, sum of p + m)
//
//   probability, mask  [images, size] pixels, f32
//   partial            [images, chunks, 2], f32
//
// The first sum, the disagreement p (1 - m) + (1 - p) m, is what 1 - dice is made of (see dice_loss_total). All its
// terms are positive, whereas 1 - (2 sum of p m + 1) / (...) would cancel on a map that is nearly right.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum4 };

@if(subgroups) enable subgroups;

struct Params {
  images: u32,
  items: u32,
  chunk: u32,
  chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probability: array<Item>;
@group(0) @binding(2) var<storage, read> mask: array<Item>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec2f>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let index = min(team.index, params.images * params.chunks - 1);
  let first = index % params.chunks * params.chunk;
  let end = min(first + params.chunk, params.items);
  let start = index / params.chunks * params.items;
  var disagreement = Wide();
  var area = Wide();
  for (var i = first + team.lane; i < end; i += team.lanes) {
    let p = Wide(probability[start + i]);
    let m = Wide(mask[start + i]);
    disagreement += p * (1.0 - m) + (1.0 - p) * m;
    area += p + m;
  }
  let total = team_sum4(vec4f(item_sum(disagreement), item_sum(area), 0.0, 0.0), team);
  if (team.lane == 0 && team.index < params.images * params.chunks) {
    partial[index] = total.xy;
  }
}
