// output[p] = table[ids[p]]: one row of the table for every token (torch.nn.functional.embedding).
//
//   ids     [positions], u32, each below the table's rows (a larger one reads the last row)
//   table   [rows, width]
//   output  [positions, width]
//
// One team per position: a copy, limited by memory, with no division to find the row.

import package::common::item::Item;
import package::common::team::{ Place, THREADS, team_of };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  positions: u32,
  items: u32,
  rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<Item>;
@group(0) @binding(3) var<storage, read_write> output: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  if (team.index >= params.positions) {
    return;
  }
  let source = min(ids[team.index], params.rows - 1) * params.items;
  let start = team.index * params.items;
  for (var i = team.lane; i < params.items; i += team.lanes) {
    output[start + i] = table[source + i];
  }
}
