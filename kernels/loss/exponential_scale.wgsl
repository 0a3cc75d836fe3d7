// output[i] = input[i] * exp(log_scale): CLIP's temperature, a single trained number, on the similarities of a batch.
//
//   input, output  [size], f32
//   log_scale      [1], f32
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
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read> log_scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let scale = exp(log_scale[0]);
  let end = min((team.index + 1) * params.chunk, params.items);
  for (var i = team.index * params.chunk + team.lane; i < end; i += team.lanes) {
    output[i] = input[i] * scale;
  }
}
