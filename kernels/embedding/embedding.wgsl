// output[p] = table[ids[p]]: one row of the table for every token (torch.nn.functional.embedding).
//
//   ids     [positions], u32, each below the table's rows (a larger one reads the last row)
//   table   [rows, width]
//   output  [positions, width]
//
// One invocation per item of the output: a copy, limited by memory.

import package::common::item::Item;

@if(f16) enable f16;

struct Params {
  size: u32,
  items: u32,
  rows: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<Item>;
@group(0) @binding(3) var<storage, read_write> output: array<Item>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.size) {
    let row = min(ids[i / params.items], params.rows - 1);
    output[i] = table[row * params.items + i % params.items];
  }
}
