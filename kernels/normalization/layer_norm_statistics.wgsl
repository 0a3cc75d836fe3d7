// Mean and 1 / sqrt(variance + epsilon) of every row, for layer_norm_parameter_partial.
//
//   input       [rows, width]
//   statistics  [rows, 2], f32: mean, reciprocal deviation
//
// One team per row; both are formed as in layer_norm.

import package::common::item::{ Item, Wide, item_first, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  items: u32,
  width: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read_write> statistics: array<vec2f>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let start = min(team.index, params.rows - 1) * params.items;

  let pivot = item_first(Wide(input[start]));
  var sum = Wide();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    sum += Wide(input[start + i]) - pivot;
  }
  let offset = team_sum(item_sum(sum), team) / f32(params.width);

  var squares = Wide();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    let centred = Wide(input[start + i]) - pivot - offset;
    squares += centred * centred;
  }
  let rstd = inverseSqrt(team_sum(item_sum(squares), team) / f32(params.width) + params.epsilon);

  if (team.lane == 0 && team.index < params.rows) {
    statistics[team.index] = vec2f(pivot + offset, rstd);
  }
}
