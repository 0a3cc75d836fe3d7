// output = activation(a · b + bias + residual) from registers and subgroup broadcasts alone, for adapters that run on the
// CPU. There a subgroup is one vector register, a load is one scalar load per lane with its own branches for the execution
// mask and for the bounds, a barrier is a switch between coroutines, and a broadcast is a shuffle.
//
//   a                 panels [ceil(m / WIDTH), k, WIDTH] with WIDTH = 4 * LANES, as gemm/pack.wgsl makes them, or a matrix
//                     [k, m], which is the same with other strides
//   b                 likewise: panels [ceil(n / WIDTH), k, WIDTH] or a matrix [k, n]
//   output, residual  [m, n]
//   bias              [n]
//
// One workgroup is one subgroup and makes a tile of WIDTH x WIDTH. For each step of K every lane loads one vec4 of either
// operand: four rows of a and four columns of b. Each lane's rows then reach all lanes by broadcast, so that 2 loads feed
// WIDTH * 4 multiply-adds per lane. vec4, because its four elements share the mask's branch and most of the address.
//
// The sums are more than a CPU has registers: each time that one is added to, it is loaded, blended with what the loop's mask
// keeps, and stored. Hence two steps of K at a time, added to a sum at once; four gain nothing more and make the loop larger
// than the CPU's cache of decoded instructions. Where K is odd, the last second step is zeros.
//
// Tiles below one another are neighbours in dispatch order, so that their panel of b stays in the cache.
//
// @if(aligned): n is a multiple of 4, and the epilogue works on vec4.

@if(aligned) import package::common::activation::activated4;
@if(!aligned) import package::common::activation::activated;
import package::common::element::Element;

enable subgroups;
@if(f16) enable f16;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  activation: u32,
  has_bias: u32,
  has_residual: u32,
  row_tiles: u32,
  // Distances in vec4s from one step of K to the next, and from one panel to the next.
  a_step: u32,
  a_panel: u32,
  b_step: u32,
  b_panel: u32,
}

@if(aligned) alias Stored = vec4<Element>;
@if(!aligned) alias Stored = Element;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored>;
@group(0) @binding(4) var<storage, read> bias: array<Stored>;
@group(0) @binding(5) var<storage, read> residual: array<Stored>;

// 4 or 8: the adapter's subgroup size.
override LANES: u32 = 8;

// One vec4 of sums per row of the tile; an array of a function cannot have an override size, so this is the larger tile's.
alias Sums = array<vec4f, 32>;

// What the four rows of one lane add to their sums in two steps of K, of which the second may be zeros.
fn add_rows(sums: ptr<function, Sums>, lane: u32, rows: mat2x4f, columns: mat2x4f) {
  let r = lane * 4;
  (*sums)[r] += rows[0].x * columns[0] + rows[1].x * columns[1];
  (*sums)[r + 1] += rows[0].y * columns[0] + rows[1].y * columns[1];
  (*sums)[r + 2] += rows[0].z * columns[0] + rows[1].z * columns[1];
  (*sums)[r + 3] += rows[0].w * columns[0] + rows[1].w * columns[1];
}

fn store(row: u32, column: u32, sum: vec4f) {
  let i = row * params.n + column;
  @if(aligned) {
    var value = sum;
    if (params.has_bias != 0) {
      value += vec4f(bias[column / 4]);
    }
    if (params.has_residual != 0) {
      value += vec4f(residual[i / 4]);
    }
    output[i / 4] = vec4<Element>(activated4(value, params.activation));
  }
  @if(!aligned) {
    var rest = sum;
    for (var c = 0u; c < min(4u, params.n - column); c++) {
      var value = rest.x;
      if (params.has_bias != 0) {
        value += f32(bias[column + c]);
      }
      if (params.has_residual != 0) {
        value += f32(residual[i + c]);
      }
      output[i + c] = Element(activated(value, params.activation));
      rest = rest.yzwx;
    }
  }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let tile = group.y * groups.x + group.x;
  let row_tile = tile % params.row_tiles;
  let column_tile = tile / params.row_tiles;
  var sums: Sums;
  var i = row_tile * params.a_panel + lane;
  var j = column_tile * params.b_panel + lane;
  for (var depth = 0u; depth < params.k; depth += 2) {
    let both = depth + 1 < params.k;
    let rows = mat2x4f(a[i], select(vec4f(), a[i + params.a_step], both));
    let columns = mat2x4f(b[j], select(vec4f(), b[j + params.b_step], both));
    i += 2 * params.a_step;
    j += 2 * params.b_step;
    // The lane of a broadcast must be a constant, hence no loop.
    add_rows(&sums, 0, mat2x4f(subgroupBroadcast(rows[0], 0), subgroupBroadcast(rows[1], 0)), columns);
    add_rows(&sums, 1, mat2x4f(subgroupBroadcast(rows[0], 1), subgroupBroadcast(rows[1], 1)), columns);
    add_rows(&sums, 2, mat2x4f(subgroupBroadcast(rows[0], 2), subgroupBroadcast(rows[1], 2)), columns);
    add_rows(&sums, 3, mat2x4f(subgroupBroadcast(rows[0], 3), subgroupBroadcast(rows[1], 3)), columns);
    if (LANES > 4) {
      add_rows(&sums, 4, mat2x4f(subgroupBroadcast(rows[0], 4), subgroupBroadcast(rows[1], 4)), columns);
      add_rows(&sums, 5, mat2x4f(subgroupBroadcast(rows[0], 5), subgroupBroadcast(rows[1], 5)), columns);
      add_rows(&sums, 6, mat2x4f(subgroupBroadcast(rows[0], 6), subgroupBroadcast(rows[1], 6)), columns);
      add_rows(&sums, 7, mat2x4f(subgroupBroadcast(rows[0], 7), subgroupBroadcast(rows[1], 7)), columns);
    }
  }
  // What lies outside the matrices was computed from whatever the loads gave, and is dropped here.
  let row = row_tile * LANES * 4;
  let column = (column_tile * LANES + lane) * 4;
  if (column < params.n) {
    let rows = min(LANES * 4, params.m - row);
    for (var r = 0u; r < rows; r++) {
      store(row + r, column, sums[r]);
    }
  }
}
