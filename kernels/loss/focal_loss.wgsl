// First of two stages of the focal loss of a map: each team sums the terms of one chunk of pixels.
//
//   probability, mask  [size] pixels, f32
//   partial            [chunks], f32
//
// One team per chunk of `chunk` items: long enough that the second stage has little left, short enough for many teams.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum };
import package::loss::focal::focal_term;

@if(subgroups) enable subgroups;

struct Params {
  items: u32,
  chunk: u32,
  chunks: u32,
  gamma: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probability: array<Item>;
@group(0) @binding(2) var<storage, read> mask: array<Item>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let index = min(team.index, params.chunks - 1);
  let end = min((index + 1) * params.chunk, params.items);
  var sum = Wide();
  for (var i = index * params.chunk + team.lane; i < end; i += team.lanes) {
    sum += focal_term(Wide(probability[i]), Wide(mask[i]), params.gamma);
  }
  let total = team_sum(item_sum(sum), team);
  if (team.lane == 0 && team.index < params.chunks) {
    partial[index] = total;
  }
}
