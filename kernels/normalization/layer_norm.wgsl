// Layer normalisation over the last axis (torch.nn.LayerNorm): for each row,
//   output = (input - mean) / sqrt(variance + epsilon) * weight + bias
//
//   input, output  [rows, width]
//   weight, bias   [width]
//
// One team per row. Each invocation strides over the row, so that neighbours read neighbours. The variance is
// taken around the mean in a second pass (E[x²] - E[x]² loses all digits when the mean is large); the row is short
// enough to come from the cache the second and third time. The mean is kept as the row's first element plus an offset
// from it: rounded to one f32, it would be off by its last digit, which is all that there is in a row of equal values,
// and 1 / sqrt(epsilon) makes it large.

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
@group(0) @binding(2) var<storage, read> weight: array<Item>;
@group(0) @binding(3) var<storage, read> bias: array<Item>;
@group(0) @binding(4) var<storage, read_write> output: array<Item>;

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

  if (team.index < params.rows) {
    for (var i = team.lane; i < params.items; i += team.lanes) {
      let normal = (Wide(input[start + i]) - pivot - offset) * rstd;
      output[start + i] = Item(normal * Wide(weight[i]) + Wide(bias[i]));
    }
  }
}
