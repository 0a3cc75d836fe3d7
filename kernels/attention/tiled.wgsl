// Multi-head attention with an online softmax (FlashAttention), for GPUs.
//
//   scores = q kᵀ * scale,   output = softmax(scores) v,   log_sum_exp = log(Σ exp(scores)), per head
//
//   qkv          [batch, tokens, 3, heads, HEAD]   q, k and v side by side, as one projection gives them
//   output       [batch, tokens, heads, HEAD]
//   log_sum_exp  [batch, heads, tokens], f32        what the backward pass recomputes the probabilities from
//
// One workgroup per ROWS queries of one head: they stay in workgroup memory while tiles of COLUMNS keys and values pass
// by; scores and outputs are in registers (see tiles.wgsl). Keys and values share one tile, and the maxima that the
// invocations of a row exchange share the place of the probabilities, so that 64 x 64 tiles of head size 64 fit the
// 48 KiB that a desktop GPU gives a workgroup.

import package::attention::head_size::HEAD4;
import package::attention::tiles::{
  THREADS, ROWS, COLUMNS, ROW_VECTORS, COLUMN_VECTORS, VALUE_VECTORS, ROW_GROUPS, COLUMN_GROUPS, COLUMN_THREADS, SumTile,
  weights, moving, row_group, score_column, column_thread, sum_vector, store_fixed, store_moving, score_products,
  store_weights, add_weighted, sum_rows,
};
import package::common::element::Element;

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

// vec4 d4 of a row of q, k or v; zero past the end.
fn load(start: u32, row: u32, d4: u32) -> vec4f {
  if (row >= params.tokens) {
    return vec4f();
  }
  return vec4f(qkv[start + row * 3 * params.heads * HEAD4 + d4]);
}

fn load_four(start: u32, row: u32, d4: u32) -> mat4x4f {
  return mat4x4f(load(start, row, d4), load(start, row + 1, d4), load(start, row + 2, d4), load(start, row + 3, d4));
}

fn store(row: u32, at: u32, value: vec4f) {
  if (row < params.tokens) {
    output[at] = Element4(value);
  }
}

fn store_log_sum(row: u32, at: u32, value: f32) {
  if (row < params.tokens) {
    log_sum_exp[at] = value;
  }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tokens = params.tokens;
  let width4 = params.heads * HEAD4;
  let start = group.z * tokens * 3 * width4 + group.y * HEAD4;
  let block = group.x * ROWS;
  let causal = params.causal != 0;

  for (var i = thread; i < ROW_GROUPS * HEAD4; i += THREADS) {
    let d4 = i / ROW_GROUPS;
    store_fixed(0, i % ROW_GROUPS, d4, load_four(start, block + i % ROW_GROUPS * 4, d4) * (params.scale * LOG2_E));
  }
  var sums: SumTile;
  var maximum: array<vec4f, ROW_VECTORS>;
  var total: array<vec4f, ROW_VECTORS>;
  for (var r = 0u; r < ROW_VECTORS; r++) {
    maximum[r] = vec4f(MASKED);
  }

  // Causal: keys after the block's last row are never looked at.
  let end = select(tokens, min(tokens, block + ROWS), causal);
  for (var key = 0u; key < end; key += COLUMNS) {
    for (var i = thread; i < COLUMN_GROUPS * HEAD4; i += THREADS) {
      let d4 = i / COLUMN_GROUPS;
      store_moving(i % COLUMN_GROUPS, d4, load_four(start + width4, key + i % COLUMN_GROUPS * 4, d4));
    }
    workgroupBarrier();
    var scores = score_products(0, thread);

    if (key + COLUMNS > tokens || (causal && key + COLUMNS > block)) {
      for (var c = 0u; c < 4 * COLUMN_VECTORS; c++) {
        for (var r = 0u; r < ROW_VECTORS; r++) {
          let row = block + row_group(thread, r) * 4 + vec4u(0, 1, 2, 3);
          let last = select(vec4u(tokens - 1), row, causal);
          scores[c * ROW_VECTORS + r] = select(scores[c * ROW_VECTORS + r], vec4f(MASKED), vec4u(key + score_column(thread, c)) > last);
        }
      }
    }

    // The maxima of the invocations that share rows meet where the probabilities will be.
    for (var r = 0u; r < ROW_VECTORS; r++) {
      var own = scores[r];
      for (var c = 1u; c < 4 * COLUMN_VECTORS; c++) {
        own = max(own, scores[c * ROW_VECTORS + r]);
      }
      weights[column_thread(thread) * ROW_GROUPS + row_group(thread, r)] = own;
    }
    workgroupBarrier();
    for (var r = 0u; r < ROW_VECTORS; r++) {
      var largest = maximum[r];
      for (var c = 0u; c < COLUMN_THREADS; c++) {
        largest = max(largest, weights[c * ROW_GROUPS + row_group(thread, r)]);
      }
      let rescale = exp2(maximum[r] - largest);
      maximum[r] = largest;
      total[r] *= rescale;
      for (var c = 0u; c < 4 * COLUMN_VECTORS; c++) {
        let p = exp2(scores[c * ROW_VECTORS + r] - largest);
        scores[c * ROW_VECTORS + r] = p;
        total[r] += p;
      }
      for (var n = 0u; n < 4 * VALUE_VECTORS; n++) {
        sums[n * ROW_VECTORS + r] *= rescale;
      }
    }
    for (var i = thread; i < COLUMNS * HEAD4; i += THREADS) {
      moving[i] = load(start + 2 * width4, key + i / HEAD4, i % HEAD4);
    }
    workgroupBarrier();
    store_weights(thread, scores);
    workgroupBarrier();
    add_weighted(thread, &sums);
    workgroupBarrier();
  }

  for (var r = 0u; r < ROW_VECTORS; r++) {
    weights[column_thread(thread) * ROW_GROUPS + row_group(thread, r)] = total[r];
  }
  workgroupBarrier();
  for (var r = 0u; r < ROW_VECTORS; r++) {
    var whole = vec4f();
    for (var c = 0u; c < COLUMN_THREADS; c++) {
      whole += weights[c * ROW_GROUPS + row_group(thread, r)];
    }
    let row = block + row_group(thread, r) * 4;
    for (var n = 0u; n < VALUE_VECTORS; n++) {
      let d4 = sum_vector(thread, n);
      if (d4 < HEAD4) {
        let rows = sum_rows(&sums, n, r);
        let at = (group.z * tokens + row) * width4 + group.y * HEAD4 + d4;
        store(row, at, rows[0] / whole.x);
        store(row + 1, at + width4, rows[1] / whole.y);
        store(row + 2, at + 2 * width4, rows[2] / whole.z);
        store(row + 3, at + 3 * width4, rows[3] / whole.w);
      }
    }
    if (column_thread(thread) == 0) {
      let log_sums = (maximum[r] + log2(whole)) / LOG2_E;
      let at = (group.z * params.heads + group.y) * tokens + row;
      store_log_sum(row, at, log_sums.x);
      store_log_sum(row + 1, at + 1, log_sums.y);
      store_log_sum(row + 2, at + 2, log_sums.z);
      store_log_sum(row + 3, at + 3, log_sums.w);
    }
  }
}
