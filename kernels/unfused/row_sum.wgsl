// output[row, c] = factor * sum of input[row, i] over chunk c: a sum over long rows in two stages, the second with the
// first one's output as input and a single chunk.
//
//   input   [rows, items]
//   output  [rows, chunks], f32
//
// One team per chunk.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum };

@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  items: u32,
  chunk: u32,
  chunks: u32,
  factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let index = min(team.index, params.rows * params.chunks - 1);
  let start = index / params.chunks * params.items;
  let first = index % params.chunks * params.chunk;
  let end = min(first + params.chunk, params.items);
  var sum = Wide();
  for (var i = first + team.lane; i < end; i += team.lanes) {
    sum += Wide(input[start + i]);
  }
  let total = team_sum(item_sum(sum), team);
  if (team.lane == 0 && team.index < params.rows * params.chunks) {
    output[index] = params.factor * total;
  }
}
