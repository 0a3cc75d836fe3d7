// accumulated[i] += gradient[i], in place: the gradients of several passes before one update.
//
//   accumulated  [size], f32, read and written
//   gradient     [size], f32
//
// One team per chunk of items.

import package::common::item::Item;
import package::common::team::{ Place, THREADS, team_of };

@if(subgroups) enable subgroups;

struct Params {
  items: u32,
  chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> accumulated: array<Item>;
@group(0) @binding(2) var<storage, read> gradient: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let end = min((team.index + 1) * params.chunk, params.items);
  for (var i = team.index * params.chunk + team.lane; i < end; i += team.lanes) {
    accumulated[i] += gradient[i];
  }
}
