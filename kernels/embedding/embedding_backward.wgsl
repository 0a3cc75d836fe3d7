// Second of two stages of the embedding table's gradient: each row's gradient is the sum of the output's gradients at
// the positions that read it, zero where none did.
//
//   order            [positions, 2], u32: token and position, sorted (embedding_order)
//   output_gradient  [positions, width]
//   table_gradient   [rows, width]
//
// One invocation per item of the table finds its row's first position by bisection and adds from there, in the order
// of the positions: no atomics, and always the same bits.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  size: u32,
  items: u32,
  positions: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<vec2u>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Item>;
@group(0) @binding(3) var<storage, read_write> table_gradient: array<Item>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= params.size) {
    return;
  }
  let row = i / params.items;
  let item = i % params.items;
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
  var sum = Wide();
  for (var k = low; k < params.positions; k++) {
    let entry = order[k];
    if (entry.x != row) {
      break;
    }
    sum += Wide(output_gradient[entry.y * params.items + item]);
  }
  table_gradient[i] = Item(sum);
}
