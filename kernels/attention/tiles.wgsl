// Tiles in workgroup memory for the attention kernels of GPUs, and the two matrix products that all of them are made of:
//
//   score_products   scores [ROWS, COLUMNS] = fixed [ROWS, HEAD] movingᵀ      (a product per pair of rows)
//   add_weighted     sums [ROWS, HEAD] += weights [ROWS, COLUMNS] moving      (moving: [COLUMNS, HEAD])
//
// "fixed" are rows that the workgroup keeps (queries in the forward pass), "moving" are those that pass by (keys, then
// values). A workgroup has ROW_THREADS x COLUMN_THREADS invocations. Each holds, in registers, 4 * ROW_VECTORS rows by
// 4 * COLUMN_VECTORS columns of the scores, and the same rows by 4 * VALUE_VECTORS elements of the sums: 64 multiply-adds
// for four vec4 reads of workgroup memory where both are 2. Vectors run along rows; neighbouring invocations have
// neighbouring row groups, so one read of eight of them is 128 contiguous bytes, and what they read of the columns is
// one address.

import package::attention::head_size::{HEAD, HEAD4};

@if(rows_64) const ROW_VECTORS = 2u;
@else const ROW_VECTORS = 1u;
@if(columns_64) const COLUMN_VECTORS = 2u;
@else const COLUMN_VECTORS = 1u;
@if(columns_16) const COLUMN_THREADS = 4u;
@else const COLUMN_THREADS = 8u;
// The backward kernels keep two matrices: q and the output's gradient, or k and v.
@if(two_fixed) const FIXED_MATRICES = 2u;
@else const FIXED_MATRICES = 1u;

const ROW_THREADS = 8u;
const THREADS = ROW_THREADS * COLUMN_THREADS;
// A group is four rows, or four columns.
const ROW_GROUPS = ROW_THREADS * ROW_VECTORS;
const COLUMN_GROUPS = COLUMN_THREADS * COLUMN_VECTORS;
const ROWS = 4 * ROW_GROUPS;
const COLUMNS = 4 * COLUMN_GROUPS;
const VALUE_VECTORS = (HEAD4 + COLUMN_THREADS - 1) / COLUMN_THREADS;

// [FIXED_MATRICES, HEAD, ROWS]
var<workgroup> fixed: array<vec4f, FIXED_MATRICES * HEAD * ROW_GROUPS>;
// [HEAD, COLUMNS] for score_products, [COLUMNS, HEAD] for add_weighted.
var<workgroup> moving: array<vec4f, HEAD * COLUMN_GROUPS>;
// [COLUMNS, ROWS]
var<workgroup> weights: array<vec4f, COLUMNS * ROW_GROUPS>;

// An invocation's part of the scores: [4 * COLUMN_VECTORS, ROW_VECTORS], each four rows.
alias ScoreTile = array<vec4f, 4 * COLUMN_VECTORS * ROW_VECTORS>;
// An invocation's part of the sums: [4 * VALUE_VECTORS, ROW_VECTORS], each four rows.
alias SumTile = array<vec4f, 4 * VALUE_VECTORS * ROW_VECTORS>;

fn row_thread(thread: u32) -> u32 {
  return thread % ROW_THREADS;
}

fn column_thread(thread: u32) -> u32 {
  return thread / ROW_THREADS;
}

// Which group of four rows an invocation's vector r is.
fn row_group(thread: u32, r: u32) -> u32 {
  return r * ROW_THREADS + row_thread(thread);
}

// Which column of the tile an invocation's score column c is.
fn score_column(thread: u32, c: u32) -> u32 {
  return (c / 4 * COLUMN_THREADS + column_thread(thread)) * 4 + c % 4;
}

// Which vec4 of the head an invocation's sum vector n is; HEAD4 or more where it has none.
fn sum_vector(thread: u32, n: u32) -> u32 {
  return n * COLUMN_THREADS + column_thread(thread);
}

// Stores elements 4 * d4 ... of four rows, given row by row, as four vectors along rows.
fn store_fixed(matrix: u32, group: u32, d4: u32, rows: mat4x4f) {
  let at = (matrix * HEAD + 4 * d4) * ROW_GROUPS + group;
  let t = transpose(rows);
  fixed[at] = t[0];
  fixed[at + ROW_GROUPS] = t[1];
  fixed[at + 2 * ROW_GROUPS] = t[2];
  fixed[at + 3 * ROW_GROUPS] = t[3];
}

// The same for score_products' moving matrix.
fn store_moving(group: u32, d4: u32, rows: mat4x4f) {
  let at = 4 * d4 * COLUMN_GROUPS + group;
  let t = transpose(rows);
  moving[at] = t[0];
  moving[at + COLUMN_GROUPS] = t[1];
  moving[at + 2 * COLUMN_GROUPS] = t[2];
  moving[at + 3 * COLUMN_GROUPS] = t[3];
}

fn score_products(matrix: u32, thread: u32) -> ScoreTile {
  var scores: ScoreTile;
  for (var d = 0u; d < HEAD; d++) {
    var rows: array<vec4f, ROW_VECTORS>;
    for (var r = 0u; r < ROW_VECTORS; r++) {
      rows[r] = fixed[(matrix * HEAD + d) * ROW_GROUPS + row_group(thread, r)];
    }
    for (var c = 0u; c < COLUMN_VECTORS; c++) {
      let column = moving[d * COLUMN_GROUPS + c * COLUMN_THREADS + column_thread(thread)];
      for (var r = 0u; r < ROW_VECTORS; r++) {
        let at = c * 4 * ROW_VECTORS + r;
        scores[at] = fma(rows[r], vec4f(column.x), scores[at]);
        scores[at + ROW_VECTORS] = fma(rows[r], vec4f(column.y), scores[at + ROW_VECTORS]);
        scores[at + 2 * ROW_VECTORS] = fma(rows[r], vec4f(column.z), scores[at + 2 * ROW_VECTORS]);
        scores[at + 3 * ROW_VECTORS] = fma(rows[r], vec4f(column.w), scores[at + 3 * ROW_VECTORS]);
      }
    }
  }
  return scores;
}

fn store_weights(thread: u32, scores: ScoreTile) {
  for (var c = 0u; c < 4 * COLUMN_VECTORS; c++) {
    for (var r = 0u; r < ROW_VECTORS; r++) {
      weights[score_column(thread, c) * ROW_GROUPS + row_group(thread, r)] = scores[c * ROW_VECTORS + r];
    }
  }
}

fn add_weighted(thread: u32, sums: ptr<function, SumTile>) {
  for (var column = 0u; column < COLUMNS; column++) {
    var row_weights: array<vec4f, ROW_VECTORS>;
    for (var r = 0u; r < ROW_VECTORS; r++) {
      row_weights[r] = weights[column * ROW_GROUPS + row_group(thread, r)];
    }
    for (var n = 0u; n < VALUE_VECTORS; n++) {
      // Where an invocation has no vector it works on the last one for nothing.
      let value = moving[column * HEAD4 + min(sum_vector(thread, n), HEAD4 - 1)];
      for (var r = 0u; r < ROW_VECTORS; r++) {
        let at = n * 4 * ROW_VECTORS + r;
        (*sums)[at] = fma(row_weights[r], vec4f(value.x), (*sums)[at]);
        (*sums)[at + ROW_VECTORS] = fma(row_weights[r], vec4f(value.y), (*sums)[at + ROW_VECTORS]);
        (*sums)[at + 2 * ROW_VECTORS] = fma(row_weights[r], vec4f(value.z), (*sums)[at + 2 * ROW_VECTORS]);
        (*sums)[at + 3 * ROW_VECTORS] = fma(row_weights[r], vec4f(value.w), (*sums)[at + 3 * ROW_VECTORS]);
      }
    }
  }
}

// The four rows of row vector r of the sums: four elements of the head each, as they lie in memory.
fn sum_rows(sums: ptr<function, SumTile>, n: u32, r: u32) -> mat4x4f {
  let at = n * 4 * ROW_VECTORS + r;
  return transpose(mat4x4f((*sums)[at], (*sums)[at + ROW_VECTORS], (*sums)[at + 2 * ROW_VECTORS], (*sums)[at + 3 * ROW_VECTORS]));
}
