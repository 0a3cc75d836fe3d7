// Multi-head attention with an online softmax (FlashAttention) on the adapter's matrix units
// (chromium-experimental-subgroup-matrix).
//
//   scores = q kᵀ * scale,   output = softmax(scores) v,   log_sum_exp = log(Σ exp(scores)), per head
//
//   qkv          [batch, tokens, 3, heads, HEAD]   q, k and v side by side, as one projection gives them
//   output       [batch, tokens, heads, HEAD]
//   log_sum_exp  [batch, heads, tokens], f32        what the backward pass recomputes the probabilities from
//
// One workgroup per ROWS queries of one head. Each of its subgroups has M of these to itself: they stay in registers as left
// matrices, while tiles of COLUMNS keys and values pass by in workgroup memory, which all subgroups share. Heads are filled up
// with zeros to PADDED elements, whole matrices of either size.
//
// Matrices give their elements to nobody, so scores, and what a tile of values adds to the outputs, go through `products`. A
// query's row there belongs to SHARE neighbouring lanes, which have its maximum, its total and its outputs in registers:
// rescaling the outputs, which no matrix operation does row by row, needs no exchange then. Probabilities go back through
// `weights`, rounded to the type of the factors.

import dawn::{subgroupMatrixLoad, subgroupMatrixStore, subgroupMatrixMultiplyAccumulate, row_major, col_major};
import package::attention::head_size::{HEAD, HEAD4};
import package::common::element::Element;
import package::common::subgroup_matrix::{Component, Left, Right, Result, M, N, K, PAD, LANES, SUBGROUPS, THREADS};

enable subgroups;
enable chromium_experimental_subgroup_matrix;
@if(f16) enable f16;

struct Params {
  tokens: u32,
  heads: u32,
  causal: u32,
  scale: f32,
}

alias Element4 = vec4<Element>;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Element4>;
@group(0) @binding(2) var<storage, read_write> output: array<Element4>;
@group(0) @binding(3) var<storage, read_write> log_sum_exp: array<f32>;

const LOG2_E = 1.4426950408889634;
// Stands for minus infinity, which WGSL implementations may assume away.
const MASKED = -1e30;

@if(columns_64) const COLUMNS = 64u;
@if(columns_16) const COLUMNS = 16u;
@if(!columns_64 && !columns_16) const COLUMNS = 32u;
const ROWS = SUBGROUPS * M;
const PADDED = (HEAD + 15) / 16 * 16;
// Lanes of one row, and vec4s of its outputs that each of them has.
const SHARE = LANES / M;
const OWN_VECTORS = PADDED / 4 / SHARE;

const MOVING_STRIDE = PADDED + PAD;
const WEIGHT_STRIDE = COLUMNS + PAD;
// Four floats more, for the banks.
const PRODUCT_STRIDE = max(COLUMNS, PADDED) + 4;

// [COLUMNS, PADDED]: keys, then values; at the start queries.
var<workgroup> moving: array<Component, COLUMNS * MOVING_STRIDE>;
// [ROWS, COLUMNS]
var<workgroup> weights: array<Component, ROWS * WEIGHT_STRIDE>;
// [ROWS, COLUMNS] scores, then [ROWS, PADDED] outputs.
var<workgroup> products: array<f32, ROWS * PRODUCT_STRIDE>;

// Copies COLUMNS rows of q, k or v; zeros past the end and behind each row.
fn fill_moving(thread: u32, start: u32, first: u32) {
  for (var i = thread; i < COLUMNS * PADDED / 4; i += THREADS) {
    let row = i / (PADDED / 4);
    let d4 = i % (PADDED / 4);
    var value = vec4<Component>();
    if (first + row < params.tokens && d4 < HEAD4) {
      value = vec4<Component>(qkv[start + (first + row) * 3 * params.heads * HEAD4 + d4]);
    }
    let at = row * MOVING_STRIDE + d4 * 4;
    moving[at] = value.x;
    moving[at + 1] = value.y;
    moving[at + 2] = value.z;
    moving[at + 3] = value.w;
  }
}

// The maximum and the sum over the lanes that share a row.
fn row_max(value: f32) -> f32 {
  var largest = value;
  for (var distance = 1u; distance < SHARE; distance *= 2) {
    largest = max(largest, subgroupShuffleXor(largest, distance));
  }
  return largest;
}

fn row_sum(value: f32) -> f32 {
  var sum = value;
  for (var distance = 1u; distance < SHARE; distance *= 2) {
    sum += subgroupShuffleXor(sum, distance);
  }
  return sum;
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let tokens = params.tokens;
  let width4 = params.heads * HEAD4;
  let start = group.z * tokens * 3 * width4 + group.y * HEAD4;
  let block = group.x * ROWS;
  let causal = params.causal != 0;

  // The subgroup's first row, this lane's row, both within the block, and which part of it is this lane's.
  let first_row = subgroup * M;
  let row = first_row + lane / SHARE;
  let part = lane % SHARE;
  let last = select(tokens - 1, block + row, causal);

  var queries: array<Left, PADDED / K>;
  for (var piece = 0u; piece < ROWS; piece += COLUMNS) {
    fill_moving(thread, start, block + piece);
    workgroupBarrier();
    if (first_row >= piece && first_row < piece + COLUMNS) {
      for (var d = 0u; d < PADDED / K; d++) {
        queries[d] = subgroupMatrixLoad<Left, row_major>(&moving, (first_row - piece) * MOVING_STRIDE + d * K, MOVING_STRIDE);
      }
    }
    workgroupBarrier();
  }

  var maximum = MASKED;
  // Of this lane's columns alone; they meet at the end.
  var total = 0.0;
  var sums: array<vec4f, OWN_VECTORS>;

  // Causal: keys after the block's last row are never looked at.
  let end = select(tokens, min(tokens, block + ROWS), causal);
  for (var key = 0u; key < end; key += COLUMNS) {
    fill_moving(thread, start + width4, key);
    workgroupBarrier();
    for (var column = 0u; column < COLUMNS; column += N) {
      var scores = Result();
      for (var d = 0u; d < PADDED / K; d++) {
        // [keys, head] read column by column is [head, keys].
        let keys = subgroupMatrixLoad<Right, col_major>(&moving, column * MOVING_STRIDE + d * K, MOVING_STRIDE);
        scores = subgroupMatrixMultiplyAccumulate(queries[d], keys, scores);
      }
      subgroupMatrixStore<row_major>(&products, first_row * PRODUCT_STRIDE + column, scores, PRODUCT_STRIDE);
    }
    workgroupBarrier();

    fill_moving(thread, start + 2 * width4, key);
    var largest = maximum;
    for (var column = part; column < COLUMNS; column += SHARE) {
      if (key + column <= last) {
        largest = max(largest, products[row * PRODUCT_STRIDE + column] * (params.scale * LOG2_E));
      }
    }
    largest = row_max(largest);
    let rescale = exp2(maximum - largest);
    maximum = largest;
    total *= rescale;
    for (var column = part; column < COLUMNS; column += SHARE) {
      var p = 0.0;
      if (key + column <= last) {
        p = exp2(products[row * PRODUCT_STRIDE + column] * (params.scale * LOG2_E) - largest);
      }
      total += p;
      weights[row * WEIGHT_STRIDE + column] = Component(p);
    }
    workgroupBarrier();

    var probabilities: array<Left, COLUMNS / K>;
    for (var c = 0u; c < COLUMNS / K; c++) {
      probabilities[c] = subgroupMatrixLoad<Left, row_major>(&weights, first_row * WEIGHT_STRIDE + c * K, WEIGHT_STRIDE);
    }
    for (var d = 0u; d < PADDED; d += N) {
      var outputs = Result();
      for (var c = 0u; c < COLUMNS / K; c++) {
        let values = subgroupMatrixLoad<Right, row_major>(&moving, c * K * MOVING_STRIDE + d, MOVING_STRIDE);
        outputs = subgroupMatrixMultiplyAccumulate(probabilities[c], values, outputs);
      }
      subgroupMatrixStore<row_major>(&products, first_row * PRODUCT_STRIDE + d, outputs, PRODUCT_STRIDE);
    }
    workgroupBarrier();
    for (var v = 0u; v < OWN_VECTORS; v++) {
      let at = row * PRODUCT_STRIDE + (v * SHARE + part) * 4;
      sums[v] = sums[v] * rescale + vec4f(products[at], products[at + 1], products[at + 2], products[at + 3]);
    }
  }

  let whole = row_sum(total);
  if (block + row < tokens) {
    let at = (group.z * tokens + block + row) * width4 + group.y * HEAD4;
    for (var v = 0u; v < OWN_VECTORS; v++) {
      let d4 = v * SHARE + part;
      if (d4 < HEAD4) {
        output[at + d4] = Element4(sums[v] / whole);
      }
    }
    if (part == 0) {
      log_sum_exp[(group.z * params.heads + group.y) * tokens + block + row] = (maximum + log2(whole)) / LOG2_E;
    }
  }
}
