// The gradient of l2_normalize. With n = |input| and u = input / n, for each row
//   input_gradient = (output_gradient - u * (u . output_gradient)) / n
// and output_gradient / epsilon where n is below epsilon, since the forward pass divides by the constant there.
//
//   input, output_gradient, input_gradient  [rows, width]
//
// One team per row; length and scalar product are formed in one pass.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum4 };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  items: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Item>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let start = min(team.index, params.rows - 1) * params.items;
  var squares = Wide();
  var product = Wide();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    let value = Wide(input[start + i]);
    squares += value * value;
    product += value * Wide(output_gradient[start + i]);
  }
  let sums = team_sum4(vec4f(item_sum(squares), item_sum(product), 0.0, 0.0), team);
  let norm = sqrt(sums.x);
  let scale = 1.0 / max(norm, params.epsilon);
  var along = 0.0;
  if (norm > params.epsilon) {
    along = sums.y * scale * scale;
  }
  if (team.index < params.rows) {
    for (var i = team.lane; i < params.items; i += team.lanes) {
      input_gradient[start + i] = Item((Wide(output_gradient[start + i]) - Wide(input[start + i]) * along) * scale);
    }
  }
}
