// output[b, c, r] = input[b, r, c]: the last two axes swapped.
//
//   input   [batch, rows, columns]
//   output  [batch, columns, rows]
//
// One workgroup moves one TILE x TILE square through workgroup memory, so that both the reads and the writes of
// neighbouring invocations are neighbours in memory. The tile's rows are one element longer than TILE: on hardware with
// banked workgroup memory a column would otherwise sit in one bank.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  rows: u32,
  columns: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

const TILE = 16u;

var<workgroup> tile: array<Element, TILE * (TILE + 1)>;

@compute @workgroup_size(TILE, TILE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let start = group.z * params.rows * params.columns;
  let row = group.y * TILE + local.y;
  let column = group.x * TILE + local.x;
  if (row < params.rows && column < params.columns) {
    tile[local.y * (TILE + 1) + local.x] = input[start + row * params.columns + column];
  }
  workgroupBarrier();
  let out_row = group.x * TILE + local.y;
  let out_column = group.y * TILE + local.x;
  if (out_row < params.columns && out_column < params.rows) {
    output[start + out_row * params.rows + out_column] = tile[local.x * (TILE + 1) + local.y];
  }
}
