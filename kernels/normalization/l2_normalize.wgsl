// Rows scaled to unit length (torch.nn.functional.normalize): output = input / max(|input|, epsilon).
//
//   input, output  [rows, width]
//
// One team per row; the second pass reads the row from the cache.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  items: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read_write> output: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let start = min(team.index, params.rows - 1) * params.items;
  var squares = Wide();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    let value = Wide(input[start + i]);
    squares += value * value;
  }
  let scale = 1.0 / max(sqrt(team_sum(item_sum(squares), team)), params.epsilon);
  if (team.index < params.rows) {
    for (var i = team.lane; i < params.items; i += team.lanes) {
      output[start + i] = Item(Wide(input[start + i]) * scale);
    }
  }
}
