// output = activation(a · b + bias + residual) on the adapter's matrix units (chromium-experimental-subgroup-matrix).
//
//   a                 [m, k]; with transpose_a [k, m]
//   b                 [k, n]; with transpose_b [n, k]
//   output, residual  [m, n]
//   bias              [n]
//
// The last axis of a, of b and of the output must be a multiple of 4 long: everything moves as vec4.
//
// A workgroup of 2 x 2 subgroups makes a tile of the output; a subgroup holds RESULTS x RESULTS matrices of M x N of it, so
// that 2 * RESULTS loads from workgroup memory feed RESULTS * RESULTS products. With matrices of 16 x 16 the tile is
// 128 x 128, with 8 x 8 it is 64 x 64; @if(small_tile) halves both sides, for products that would not fill the GPU otherwise.
//
//   - K advances by STEP. The tiles of a and b lie in workgroup memory as they do in memory, so that reads are contiguous for
//     every storage order; a transposed operand is loaded as a column-major matrix. Past the edges they hold zeros.
//   - Results cannot be read element by element. At the end each subgroup puts one after the other into workgroup memory,
//     where its invocations add bias and residual, apply the activation and write what is inside the output.
//
// Products and sums are those of the matrix units: factors in f32 or f16 (then they are stored so, too), sums in f32.

@if(activation) import package::common::activation::activated4;
import package::common::element::Element;
import dawn::{subgroupMatrixLoad, subgroupMatrixStore, subgroupMatrixMultiplyAccumulate, row_major, col_major};
import package::common::subgroup_matrix::{Component, Left, Right, Result, M, N, K, PAD, LANES, SUBGROUPS, THREADS};

enable subgroups;
enable chromium_experimental_subgroup_matrix;
@if(f16) enable f16;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  activation: u32,
  row_tiles: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<Element>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<Element>>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<Element>>;
@if(bias) @group(0) @binding(4) var<storage, read> bias: array<vec4<Element>>;
@if(residual) @group(0) @binding(5) var<storage, read> residual: array<vec4<Element>>;

@if(small_tile) const RESULTS = 2u;
@else const RESULTS = 4u;

// Of a subgroup and of the workgroup.
const PART_ROWS = RESULTS * M;
const PART_COLUMNS = RESULTS * N;
const TILE_ROWS = 2 * PART_ROWS;
const TILE_COLUMNS = 2 * PART_COLUMNS;
const STEP = 2 * K;

// The tiles as lines along the axis that is contiguous in memory.
@if(transpose_a) const LINES_A = STEP;
@if(transpose_a) const LENGTH_A = TILE_ROWS;
@if(!transpose_a) const LINES_A = TILE_ROWS;
@if(!transpose_a) const LENGTH_A = STEP;
@if(transpose_b) const LINES_B = TILE_COLUMNS;
@if(transpose_b) const LENGTH_B = STEP;
@if(!transpose_b) const LINES_B = STEP;
@if(!transpose_b) const LENGTH_B = TILE_COLUMNS;
const STRIDE_A = LENGTH_A + PAD;
const STRIDE_B = LENGTH_B + PAD;

var<workgroup> tile_a: array<Component, LINES_A * STRIDE_A>;
var<workgroup> tile_b: array<Component, LINES_B * STRIDE_B>;
var<workgroup> results: array<f32, SUBGROUPS * M * N>;

// Copies the tile of a that begins at an element of a line; `lines` and `length` are those of the whole operand.
fn fill_a(thread: u32, first_line: u32, first: u32, lines: u32, length: u32) {
  for (var i = thread; i < LINES_A * LENGTH_A / 4; i += THREADS) {
    let line = i / (LENGTH_A / 4);
    let along = i % (LENGTH_A / 4) * 4;
    var value = vec4<Component>();
    if (first_line + line < lines && first + along < length) {
      value = vec4<Component>(a[((first_line + line) * length + first + along) / 4]);
    }
    let at = line * STRIDE_A + along;
    tile_a[at] = value.x;
    tile_a[at + 1] = value.y;
    tile_a[at + 2] = value.z;
    tile_a[at + 3] = value.w;
  }
}

// Likewise of b.
fn fill_b(thread: u32, first_line: u32, first: u32, lines: u32, length: u32) {
  for (var i = thread; i < LINES_B * LENGTH_B / 4; i += THREADS) {
    let line = i / (LENGTH_B / 4);
    let along = i % (LENGTH_B / 4) * 4;
    var value = vec4<Component>();
    if (first_line + line < lines && first + along < length) {
      value = vec4<Component>(b[((first_line + line) * length + first + along) / 4]);
    }
    let at = line * STRIDE_B + along;
    tile_b[at] = value.x;
    tile_b[at + 1] = value.y;
    tile_b[at + 2] = value.z;
    tile_b[at + 3] = value.w;
  }
}

// The matrix of tile_a that begins there.
fn load_left(row: u32, depth: u32) -> Left {
  @if(transpose_a) {
    return subgroupMatrixLoad<Left, col_major>(&tile_a, depth * STRIDE_A + row, STRIDE_A);
  }
  @if(!transpose_a) {
    return subgroupMatrixLoad<Left, row_major>(&tile_a, row * STRIDE_A + depth, STRIDE_A);
  }
}

// The matrix of tile_b that begins there.
fn load_right(depth: u32, column: u32) -> Right {
  @if(transpose_b) {
    return subgroupMatrixLoad<Right, col_major>(&tile_b, column * STRIDE_B + depth, STRIDE_B);
  }
  @if(!transpose_b) {
    return subgroupMatrixLoad<Right, row_major>(&tile_b, depth * STRIDE_B + column, STRIDE_B);
  }
}

fn store(row: u32, column: u32, sum: vec4f) {
  if (row >= params.m || column >= params.n) {
    return;
  }
  let i = (row * params.n + column) / 4;
  var value = sum;
  @if(bias) { value += vec4f(bias[column / 4]); }
  @if(residual) { value += vec4f(residual[i]); }
  @if(activation) { value = activated4(value, params.activation); }
  output[i] = vec4<Element>(value);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let tile = group.y * groups.x + group.x;
  let first_row = tile % params.row_tiles * TILE_ROWS;
  let first_column = tile / params.row_tiles * TILE_COLUMNS;
  // This subgroup's part of the tile.
  let part_row = subgroup / 2 * PART_ROWS;
  let part_column = subgroup % 2 * PART_COLUMNS;

  var sums: array<Result, RESULTS * RESULTS>;
  for (var depth = 0u; depth < params.k; depth += STEP) {
    @if(transpose_a) { fill_a(thread, depth, first_row, params.k, params.m); }
    @if(!transpose_a) { fill_a(thread, first_row, depth, params.m, params.k); }
    @if(transpose_b) { fill_b(thread, first_column, depth, params.n, params.k); }
    @if(!transpose_b) { fill_b(thread, depth, first_column, params.k, params.n); }
    workgroupBarrier();
    for (var d = 0u; d < STEP; d += K) {
      var rows: array<Left, RESULTS>;
      for (var r = 0u; r < RESULTS; r++) {
        rows[r] = load_left(part_row + r * M, d);
      }
      for (var c = 0u; c < RESULTS; c++) {
        let columns = load_right(d, part_column + c * N);
        for (var r = 0u; r < RESULTS; r++) {
          sums[r * RESULTS + c] = subgroupMatrixMultiplyAccumulate(rows[r], columns, sums[r * RESULTS + c]);
        }
      }
    }
    workgroupBarrier();
  }

  let own = subgroup * M * N;
  for (var r = 0u; r < RESULTS; r++) {
    for (var c = 0u; c < RESULTS; c++) {
      subgroupMatrixStore<row_major>(&results, own, sums[r * RESULTS + c], N);
      workgroupBarrier();
      for (var i = lane * 4; i < M * N; i += LANES * 4) {
        store(
          first_row + part_row + r * M + i / N,
          first_column + part_column + c * N + i % N,
          vec4f(results[own + i], results[own + i + 1], results[own + i + 2], results[own + i + 3]),
        );
      }
      workgroupBarrier();
    }
  }
}
