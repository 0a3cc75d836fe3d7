// The gradient of layer_norm's input. With x̂ = (input - mean) * rstd and h = output_gradient * weight, for each row
//   input_gradient = rstd * (h - mean(h) - x̂ * mean(h * x̂))
//
//   input, output_gradient, input_gradient  [rows, width]
//   weight                                  [width]
//
// One team per row, as in the forward pass. Nothing is kept from that: the row must be read anyway, and its mean and
// variance cost one more pass over a row that is in the cache, less than a buffer for every layer's statistics.
// The variance and both means of the gradient are formed in one pass, around the mean, which is kept as in layer_norm.

import package::common::item::{ Item, Wide, item_first, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum, team_sum4 };

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
@group(0) @binding(2) var<storage, read> weight: array<Item>;
@group(0) @binding(3) var<storage, read> output_gradient: array<Item>;
@group(0) @binding(4) var<storage, read_write> input_gradient: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let start = min(team.index, params.rows - 1) * params.items;
  let width = f32(params.width);

  let pivot = item_first(Wide(input[start]));
  var sum = Wide();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    sum += Wide(input[start + i]) - pivot;
  }
  let offset = team_sum(item_sum(sum), team) / width;

  var squares = Wide();
  var weighted = Wide();
  var correlated = Wide();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    let centred = Wide(input[start + i]) - pivot - offset;
    let h = Wide(output_gradient[start + i]) * Wide(weight[i]);
    squares += centred * centred;
    weighted += h;
    correlated += h * centred;
  }
  let means = team_sum4(vec4f(item_sum(squares), item_sum(weighted), item_sum(correlated), 0.0), team) / width;
  let rstd = inverseSqrt(means.x + params.epsilon);
  let slope = means.z * rstd * rstd;

  if (team.index < params.rows) {
    for (var i = team.lane; i < params.items; i += team.lanes) {
      let centred = Wide(input[start + i]) - pivot - offset;
      let h = Wide(output_gradient[start + i]) * Wide(weight[i]);
      input_gradient[start + i] = Item((h - means.y - centred * slope) * rstd);
    }
  }
}
