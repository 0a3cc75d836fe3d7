// output = activation(a · b + bias + residual) through workgroup memory and register tiles, for GPUs.
//
//   a                 [m, k]; with transpose_a [k, m]
//   b                 [k, n]; with transpose_b [n, k]
//   output, residual  [m, n]
//   bias              [n]
//
// A workgroup of GROUP_ROWS x GROUP_COLUMNS invocations makes a tile of TILE_ROWS x TILE_COLUMNS, an invocation
// ROW_VECTORS * 4 rows times COLUMN_VECTORS * 4 columns of it in registers. With the 128 x 128 tile that is 64 multiply-adds
// for 4 vec4 reads of workgroup memory, more arithmetic than those reads take time; the 64 x 64 tile has four times as many
// workgroups, for products that would not fill the GPU otherwise.
//
//   - K advances by STEP. While one pair of tiles is multiplied, the next is on its way from memory into registers: every
//     invocation fetches one block of 4 x 4, the first half of them from a, the second from b.
//   - Workgroup memory holds K outermost ([STEP, TILE_ROWS] and [STEP, TILE_COLUMNS]), so that four rows or columns are one
//     vec4 read; a block whose rows run along K is transposed in registers. An invocation's vec4s lie GROUP_ROWS or
//     GROUP_COLUMNS vec4s apart: neighbours read neighbours, without bank conflicts.
//   - Memory is read as vec4 along the contiguous axis where that is a multiple of four long (@if(aligned_a), aligned_b), else
//     number by number. Past the edges zeros are read and nothing is stored.
//
// @if(split) K is divided among workgroups, `slice` steps for each layer of the dispatch, and the output is [slices, m, n] of sums
// in f32 that reduction/sum_rows adds: a gradient of a weight is a small matrix of long sums, of which a GPU would make a few
// tiles at a time.
//
// Sums are in f32 and in the order of K.

@if(activation && aligned_output) import package::common::activation::activated4;
@if(activation && !aligned_output) import package::common::activation::activated;
import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  activation: u32,
  row_tiles: u32,
  // A multiple of STEP; k where it is not split.
  slice: u32,
}

@if(aligned_a) alias StoredA = vec4<Element>;
@if(!aligned_a) alias StoredA = Element;
@if(aligned_b) alias StoredB = vec4<Element>;
@if(!aligned_b) alias StoredB = Element;
@if(split) alias Result = f32;
@if(!split) alias Result = Element;
@if(aligned_output) alias Stored = vec4<Result>;
@if(!aligned_output) alias Stored = Result;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<StoredA>;
@group(0) @binding(2) var<storage, read> b: array<StoredB>;
@group(0) @binding(3) var<storage, read_write> output: array<Stored>;
@if(bias) @group(0) @binding(4) var<storage, read> bias: array<Stored>;
@if(residual) @group(0) @binding(5) var<storage, read> residual: array<Stored>;

override GROUP_ROWS: u32 = 16;
override GROUP_COLUMNS: u32 = 16;
override ROW_VECTORS: u32 = 2;
override COLUMN_VECTORS: u32 = 2;
// A multiple of 4; the blocks of both tiles must not be more than the invocations.
override STEP: u32 = 16;
// Steps of K between two tests for the end; divides STEP.
override UNROLL: u32 = 4;

override TILE_ROWS: u32 = GROUP_ROWS * ROW_VECTORS * 4;
override TILE_COLUMNS: u32 = GROUP_COLUMNS * COLUMN_VECTORS * 4;
override BLOCKS_A: u32 = TILE_ROWS / 4 * (STEP / 4);
override BLOCKS_B: u32 = TILE_COLUMNS / 4 * (STEP / 4);

// The most that ROW_VECTORS and COLUMN_VECTORS may be: an array of a function cannot have an override size.
const MOST_VECTORS = 2u;

alias Sums = array<vec4f, MOST_VECTORS * MOST_VECTORS * 4>;

var<workgroup> tile_a: array<vec4f, STEP * TILE_ROWS / 4>;
var<workgroup> tile_b: array<vec4f, STEP * TILE_COLUMNS / 4>;

// Which four rows (in vec4s) and which four steps of K block i of a tile covers: neighbouring blocks are neighbours in memory.
fn block_a(i: u32) -> vec2u {
  @if(transpose_a) { return vec2u(i % (TILE_ROWS / 4), i / (TILE_ROWS / 4) * 4); }
  @if(!transpose_a) { return vec2u(i / (STEP / 4), i % (STEP / 4) * 4); }
}

fn block_b(i: u32) -> vec2u {
  @if(!transpose_b) { return vec2u(i % (TILE_COLUMNS / 4), i / (TILE_COLUMNS / 4) * 4); }
  @if(transpose_b) { return vec2u(i / (STEP / 4), i % (STEP / 4) * 4); }
}

// Four neighbours of a, the first at (row, depth), along the axis that is contiguous. Zero outside.
fn load_a(row: u32, depth: u32) -> vec4f {
  if (row >= params.m || depth >= params.k) {
    return vec4f();
  }
  @if(transpose_a) let i = depth * params.m + row;
  @if(!transpose_a) let i = row * params.k + depth;
  @if(aligned_a) {
    return vec4f(a[i / 4]);
  }
  @if(!aligned_a) {
    @if(transpose_a) let rest = params.m - row;
    @if(!transpose_a) let rest = params.k - depth;
    return vec4f(
      f32(a[i]),
      select(0.0, f32(a[i + 1]), rest > 1),
      select(0.0, f32(a[i + 2]), rest > 2),
      select(0.0, f32(a[i + 3]), rest > 3),
    );
  }
}

// Likewise for b.
fn load_b(depth: u32, column: u32) -> vec4f {
  if (column >= params.n || depth >= params.k) {
    return vec4f();
  }
  @if(transpose_b) let i = column * params.k + depth;
  @if(!transpose_b) let i = depth * params.n + column;
  @if(aligned_b) {
    return vec4f(b[i / 4]);
  }
  @if(!aligned_b) {
    @if(transpose_b) let rest = params.k - depth;
    @if(!transpose_b) let rest = params.n - column;
    return vec4f(
      f32(b[i]),
      select(0.0, f32(b[i + 1]), rest > 1),
      select(0.0, f32(b[i + 2]), rest > 2),
      select(0.0, f32(b[i + 3]), rest > 3),
    );
  }
}

// A block of a: four rows for each of four steps of K.
fn fetch_a(row: u32, depth: u32) -> mat4x4f {
  @if(transpose_a) {
    return mat4x4f(load_a(row, depth), load_a(row, depth + 1), load_a(row, depth + 2), load_a(row, depth + 3));
  }
  @if(!transpose_a) {
    return transpose(mat4x4f(load_a(row, depth), load_a(row + 1, depth), load_a(row + 2, depth), load_a(row + 3, depth)));
  }
}

// A block of b: four columns for each of four steps of K.
fn fetch_b(depth: u32, column: u32) -> mat4x4f {
  @if(!transpose_b) {
    return mat4x4f(load_b(depth, column), load_b(depth + 1, column), load_b(depth + 2, column), load_b(depth + 3, column));
  }
  @if(transpose_b) {
    return transpose(mat4x4f(load_b(depth, column), load_b(depth, column + 1), load_b(depth, column + 2), load_b(depth, column + 3)));
  }
}

fn store(slice: u32, row: u32, column: u32, sum: vec4f) {
  if (row >= params.m || column >= params.n) {
    return;
  }
  let i = (slice * params.m + row) * params.n + column;
  @if(aligned_output) {
    var value = sum;
    @if(bias) { value += vec4f(bias[column / 4]); }
    @if(residual) { value += vec4f(residual[i / 4]); }
    @if(activation) { value = activated4(value, params.activation); }
    output[i / 4] = vec4<Result>(value);
  }
  @if(!aligned_output) {
    var rest = sum;
    for (var c = 0u; c < min(4u, params.n - column); c++) {
      var value = rest.x;
      @if(bias) { value += f32(bias[column + c]); }
      @if(residual) { value += f32(residual[i + c]); }
      @if(activation) { value = activated(value, params.activation); }
      output[i + c] = Result(value);
      rest = rest.yzwx;
    }
  }
}

// Adds what step d of the tiles gives to this invocation's sums.
fn multiply(sums: ptr<function, Sums>, d: u32, local: vec2u) {
  var columns: array<vec4f, MOST_VECTORS>;
  for (var v = 0u; v < COLUMN_VECTORS; v++) {
    columns[v] = tile_b[d * (TILE_COLUMNS / 4) + v * GROUP_COLUMNS + local.x];
  }
  for (var u = 0u; u < ROW_VECTORS; u++) {
    let rows = tile_a[d * (TILE_ROWS / 4) + u * GROUP_ROWS + local.y];
    for (var v = 0u; v < COLUMN_VECTORS; v++) {
      let s = (u * COLUMN_VECTORS + v) * 4;
      (*sums)[s] = fma(vec4f(rows.x), columns[v], (*sums)[s]);
      (*sums)[s + 1] = fma(vec4f(rows.y), columns[v], (*sums)[s + 1]);
      (*sums)[s + 2] = fma(vec4f(rows.z), columns[v], (*sums)[s + 2]);
      (*sums)[s + 3] = fma(vec4f(rows.w), columns[v], (*sums)[s + 3]);
    }
  }
}

@compute @workgroup_size(GROUP_COLUMNS, GROUP_ROWS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let tile = group.y * groups.x + group.x;
  let first_row = tile % params.row_tiles * TILE_ROWS;
  let first_column = tile / params.row_tiles * TILE_COLUMNS;

  // This invocation's block, in the tile and in memory.
  let of_a = thread < BLOCKS_A;
  let of_b = !of_a && thread < BLOCKS_A + BLOCKS_B;
  let in_a = block_a(thread);
  let in_b = block_b(thread - BLOCKS_A);
  let at_a = in_a.y * (TILE_ROWS / 4) + in_a.x;
  let at_b = in_b.y * (TILE_COLUMNS / 4) + in_b.x;
  let row = first_row + in_a.x * 4;
  let column = first_column + in_b.x * 4;

  let begin = group.z * params.slice;
  let end = min(begin + params.slice, params.k);

  var sums: Sums;
  var block: mat4x4f;
  // One turn more than there are tiles: the first only fetches, the last only multiplies.
  for (var depth = begin; depth < end + STEP; depth += STEP) {
    if (depth > begin) {
      if (of_a) {
        tile_a[at_a] = block[0];
        tile_a[at_a + TILE_ROWS / 4] = block[1];
        tile_a[at_a + TILE_ROWS / 4 * 2] = block[2];
        tile_a[at_a + TILE_ROWS / 4 * 3] = block[3];
      }
      if (of_b) {
        tile_b[at_b] = block[0];
        tile_b[at_b + TILE_COLUMNS / 4] = block[1];
        tile_b[at_b + TILE_COLUMNS / 4 * 2] = block[2];
        tile_b[at_b + TILE_COLUMNS / 4 * 3] = block[3];
      }
    }
    workgroupBarrier();
    if (depth < end) {
      if (of_a) {
        block = fetch_a(row, depth + in_a.y);
      }
      if (of_b) {
        block = fetch_b(depth + in_b.y, column);
      }
    }
    if (depth > begin) {
      // The last tiles may be shorter; up to the next multiple of UNROLL they hold zeros.
      let steps = min(STEP, end + STEP - depth);
      for (var start = 0u; start < steps; start += UNROLL) {
        for (var d = start; d < start + UNROLL; d++) {
          multiply(&sums, d, local.xy);
        }
      }
    }
    workgroupBarrier();
  }

  for (var u = 0u; u < ROW_VECTORS; u++) {
    for (var v = 0u; v < COLUMN_VECTORS; v++) {
      for (var r = 0u; r < 4; r++) {
        store(
          group.z,
          first_row + (u * GROUP_ROWS + local.y) * 4 + r,
          first_column + (v * GROUP_COLUMNS + local.x) * 4,
          sums[(u * COLUMN_VECTORS + v) * 4 + r],
        );
      }
    }
  }
}
