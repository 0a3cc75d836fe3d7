// One matrix product per head of attention, output = scale * left · right, each operand anywhere in memory by strides: what a
// library's strided batched GEMM does. On tiles in workgroup memory, for GPUs.
//
//   left    [m, k] of each head: element (row, depth) at batch * left_batch + head * left_head + row * left_row + depth * left_step
//   right   [k, n] of each head, likewise
//   output  [m, n] of each head, rows output_row apart, columns neighbours
//
// A workgroup of 16 x 16 invocations computes 64 x 64 elements, each invocation 4 x 4. K goes in steps of DEPTH through
// workgroup memory, in f32; each invocation copies four rows (or columns) of one k, laid over the operand in the direction
// in which its neighbours are neighbours in memory. The vectors of one k are one longer than the tile needs, against bank
// conflicts. Tiles along x and y of the dispatch, heads of all images along z.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  heads: u32,
  scale: f32,
  left_batch: u32,
  left_head: u32,
  left_row: u32,
  left_step: u32,
  right_batch: u32,
  right_head: u32,
  right_step: u32,
  right_column: u32,
  output_batch: u32,
  output_head: u32,
  output_row: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<Element>;
@group(0) @binding(2) var<storage, read> right: array<Element>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;

const SIDE = 16u;
const DEPTH = SIDE;
const PITCH = SIDE + 1;

var<workgroup> left_tile: array<vec4f, DEPTH * PITCH>;
var<workgroup> right_tile: array<vec4f, DEPTH * PITCH>;

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let batch = group.z / params.heads;
  let head = group.z % params.heads;
  let left_start = batch * params.left_batch + head * params.left_head;
  let right_start = batch * params.right_batch + head * params.right_head;
  let first_row = group.y * 4 * SIDE;
  let first_column = group.x * 4 * SIDE;
  let left_along_k = params.left_step == 1;
  let left_k = select(local.y, local.x, left_along_k);
  let left_quad = select(local.x, local.y, left_along_k);
  let right_along_k = params.right_step == 1;
  let right_k = select(local.y, local.x, right_along_k);
  let right_quad = select(local.x, local.y, right_along_k);

  var sums: array<vec4f, 4>;
  for (var step = 0u; step < params.k; step += DEPTH) {
    var rows = vec4f();
    var columns = vec4f();
    for (var i = 0u; i < 4; i++) {
      let row = first_row + left_quad * 4 + i;
      if (row < params.m && step + left_k < params.k) {
        rows[i] = f32(left[left_start + row * params.left_row + (step + left_k) * params.left_step]);
      }
      let column = first_column + right_quad * 4 + i;
      if (column < params.n && step + right_k < params.k) {
        columns[i] = f32(right[right_start + (step + right_k) * params.right_step + column * params.right_column]);
      }
    }
    left_tile[left_k * PITCH + left_quad] = rows;
    right_tile[right_k * PITCH + right_quad] = columns;
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let across = right_tile[k * PITCH + local.x];
      let down = left_tile[k * PITCH + local.y];
      for (var i = 0u; i < 4; i++) {
        sums[i] = fma(vec4f(down[i]), across, sums[i]);
      }
    }
    workgroupBarrier();
  }

  let start = batch * params.output_batch + head * params.output_head;
  for (var i = 0u; i < 4; i++) {
    let row = first_row + local.y * 4 + i;
    for (var c = 0u; c < 4; c++) {
      let column = first_column + local.x * 4 + c;
      if (row < params.m && column < params.n) {
        output[start + row * params.output_row + column] = Element(params.scale * sums[i][c]);
      }
    }
  }
}
