// Second of two stages of the embedding table's gradient: each row's gradient is the sum of the output's gradients at
// the positions that read it, zero where none did.
//
//   order            [positions, 2], u32: token and position, sorted (embedding_order)
//   output_gradient  [positions, width]
//   table_gradient   [rows, width]
//
// One team per row finds the row's first position by bisection and adds from there, in the order of the positions: no
// atomics, and always the same bits.

import package::common::item::{ Item, Wide };
import package::common::team::{ Place, THREADS, team_of };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  items: u32,
  positions: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<vec2u>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Item>;
@group(0) @binding(3) var<storage, read_write> table_gradient: array<Item>;

// The first place in `order` whose token is not below `row`.
fn first_of(row: u32) -> u32 {
  var low = 0u;
  var high = params.positions;
  while (low < high) {
    let middle = (low + high) / 2;
    if (order[middle].x < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let row = team.index;
  if (row >= params.rows) {
    return;
  }
  let first = first_of(row);
  let end = first_of(row + 1);
  for (var i = team.lane; i < params.items; i += team.lanes) {
    var sum = Wide();
    for (var k = first; k < end; k++) {
      sum += Wide(output_gradient[order[k].y * params.items + i]);
    }
    table_gradient[row * params.items + i] = Item(sum);
  }
}
