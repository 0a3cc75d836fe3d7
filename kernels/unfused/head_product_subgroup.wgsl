// The products of head_product_tiled.wgsl for software adapters: the loop of gemm/subgroup.wgsl, which says why it is
// so, once for each head.
//
//   left    panels [ceil(m / WIDTH), k, WIDTH] of each head with WIDTH = 4 * LANES, as head_product_pack.wgsl makes them, or
//           a matrix [k, m] whose rows are neighbours in memory, which is the same with other strides
//   right   likewise [k, n]
//   output  [m, n] of each head, rows output_row apart, columns neighbours
//
// All strides of the operands count vec4s, those of the output elements. Tiles along x and y of the dispatch, those
// below one another first, heads of all images along z.

import package::common::element::Element;

enable subgroups;
@if(f16) enable f16;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  heads: u32,
  scale: f32,
  left_batch: u32,
  left_head: u32,
  left_step: u32,
  left_panel: u32,
  right_batch: u32,
  right_head: u32,
  right_step: u32,
  right_panel: u32,
  output_batch: u32,
  output_head: u32,
  output_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<vec4f>;
@group(0) @binding(2) var<storage, read> right: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

// 4 or 8: the adapter's subgroup size.
override LANES: u32 = 8;

// An array of a function cannot have an override size, so this is the larger tile's.
alias Sums = array<vec4f, 32>;

fn add_rows(sums: ptr<function, Sums>, lane: u32, rows: vec4f, columns: vec4f) {
  let r = lane * 4;
  (*sums)[r] += rows.x * columns;
  (*sums)[r + 1] += rows.y * columns;
  (*sums)[r + 2] += rows.z * columns;
  (*sums)[r + 3] += rows.w * columns;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let batch = group.z / params.heads;
  let head = group.z % params.heads;
  var sums: Sums;
  var i = batch * params.left_batch + head * params.left_head + group.x * params.left_panel + lane;
  var j = batch * params.right_batch + head * params.right_head + group.y * params.right_panel + lane;
  for (var depth = 0u; depth < params.k; depth++) {
    let rows = left[i];
    let columns = right[j];
    i += params.left_step;
    j += params.right_step;
    // The lane of a broadcast must be a constant, hence no loop.
    add_rows(&sums, 0, subgroupBroadcast(rows, 0), columns);
    add_rows(&sums, 1, subgroupBroadcast(rows, 1), columns);
    add_rows(&sums, 2, subgroupBroadcast(rows, 2), columns);
    add_rows(&sums, 3, subgroupBroadcast(rows, 3), columns);
    if (LANES > 4) {
      add_rows(&sums, 4, subgroupBroadcast(rows, 4), columns);
      add_rows(&sums, 5, subgroupBroadcast(rows, 5), columns);
      add_rows(&sums, 6, subgroupBroadcast(rows, 6), columns);
      add_rows(&sums, 7, subgroupBroadcast(rows, 7), columns);
    }
  }
  // What lies outside the matrices was computed from whatever the loads gave, and is dropped here.
  let row = group.x * LANES * 4;
  let column = (group.y * LANES + lane) * 4;
  if (column < params.n) {
    let start = batch * params.output_batch + head * params.output_head + column;
    let rows = min(LANES * 4, params.m - row);
    for (var r = 0u; r < rows; r++) {
      var rest = params.scale * sums[r];
      for (var c = 0u; c < min(4u, params.n - column); c++) {
        output[start + (row + r) * params.output_row + c] = Element(rest.x);
        rest = rest.yzwx;
      }
    }
  }
}
