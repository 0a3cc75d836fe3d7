// Each team sums a[i] * b[i] over one chunk: the first stage of a scalar product, such as the gradient of a number that
// scales a whole tensor. The second stage is total.
//
//   a, b     [size], f32
//   partial  [chunks], f32

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum };

@if(subgroups) enable subgroups;

struct Params {
  items: u32,
  chunk: u32,
  chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Item>;
@group(0) @binding(2) var<storage, read> b: array<Item>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let index = min(team.index, params.chunks - 1);
  let end = min((index + 1) * params.chunk, params.items);
  var sum = Wide();
  for (var i = index * params.chunk + team.lane; i < end; i += team.lanes) {
    sum += Wide(a[i]) * Wide(b[i]);
  }
  let total = team_sum(item_sum(sum), team);
  if (team.lane == 0 && team.index < params.chunks) {
    partial[index] = total;
  }
}
