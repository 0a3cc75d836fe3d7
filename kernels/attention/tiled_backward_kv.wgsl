// Gradients of attention with respect to k and v, for GPUs.
//
//   p  = exp(q kᵀ * scale - log_sum_exp)      the forward pass's probabilities, recomputed
//   ds = p ∘ (output_gradient vᵀ - delta)     delta: Σ output_gradient ∘ output of each row
//   v gradient = pᵀ output_gradient,   k gradient = dsᵀ q * scale
//
//   qkv, qkv_gradient   [batch, tokens, 3, heads, HEAD]; the k and v parts of the gradient are written
//   output_gradient     [batch, tokens, heads, HEAD]
//   log_sum_exp, delta  [batch, heads, tokens], f32
//
// One workgroup per ROWS keys of one head: k and v stay in workgroup memory; each tile of COLUMNS queries passes by as qᵀ,
// output_gradientᵀ, output_gradient and q, through the same place (see tiles.wgsl). No other workgroup adds to the same
// gradients, so there is nothing to be atomic about.

import package::attention::head_size::HEAD4;
import package::attention::tiles::{
  THREADS, ROWS, COLUMNS, ROW_VECTORS, COLUMN_VECTORS, VALUE_VECTORS, ROW_GROUPS, COLUMN_GROUPS, SumTile,
  moving, row_group, score_column, sum_vector, store_fixed, store_moving, score_products, store_weights, add_weighted, sum_rows,
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
@group(0) @binding(2) var<storage, read> output_gradient: array<Element4>;
@group(0) @binding(3) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> qkv_gradient: array<Element4>;

const LOG2_E = 1.4426950408889634;

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

fn load_gradient(start: u32, row: u32, d4: u32) -> vec4f {
  if (row >= params.tokens) {
    return vec4f();
  }
  return vec4f(output_gradient[start + row * params.heads * HEAD4 + d4]);
}

fn load_four_gradients(start: u32, row: u32, d4: u32) -> mat4x4f {
  return mat4x4f(load_gradient(start, row, d4), load_gradient(start, row + 1, d4), load_gradient(start, row + 2, d4), load_gradient(start, row + 3, d4));
}

fn store(start: u32, row: u32, d4: u32, value: vec4f) {
  if (row < params.tokens) {
    qkv_gradient[start + row * 3 * params.heads * HEAD4 + d4] = Element4(value);
  }
}

fn store_four(start: u32, row: u32, d4: u32, rows: mat4x4f) {
  store(start, row, d4, rows[0]);
  store(start, row + 1, d4, rows[1]);
  store(start, row + 2, d4, rows[2]);
  store(start, row + 3, d4, rows[3]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tokens = params.tokens;
  let width4 = params.heads * HEAD4;
  let start = group.z * tokens * 3 * width4 + group.y * HEAD4;
  let gradient_start = group.z * tokens * width4 + group.y * HEAD4;
  let statistics = (group.z * params.heads + group.y) * tokens;
  let block = group.x * ROWS;
  let causal = params.causal != 0;

  for (var i = thread; i < ROW_GROUPS * HEAD4; i += THREADS) {
    let d4 = i / ROW_GROUPS;
    let row = block + i % ROW_GROUPS * 4;
    store_fixed(0, i % ROW_GROUPS, d4, load_four(start + width4, row, d4) * (params.scale * LOG2_E));
    store_fixed(1, i % ROW_GROUPS, d4, load_four(start + 2 * width4, row, d4));
  }
  var k_sums: SumTile;
  var v_sums: SumTile;

  // Causal: queries before the block's first key never look at it.
  for (var query = select(0, block / COLUMNS * COLUMNS, causal); query < tokens; query += COLUMNS) {
    for (var i = thread; i < COLUMN_GROUPS * HEAD4; i += THREADS) {
      let d4 = i / COLUMN_GROUPS;
      store_moving(i % COLUMN_GROUPS, d4, load_four(start, query + i % COLUMN_GROUPS * 4, d4));
    }
    workgroupBarrier();
    var scores = score_products(0, thread);
    workgroupBarrier();
    for (var i = thread; i < COLUMN_GROUPS * HEAD4; i += THREADS) {
      let d4 = i / COLUMN_GROUPS;
      store_moving(i % COLUMN_GROUPS, d4, load_four_gradients(gradient_start, query + i % COLUMN_GROUPS * 4, d4));
    }
    workgroupBarrier();
    var slopes = score_products(1, thread);
    for (var c = 0u; c < 4 * COLUMN_VECTORS; c++) {
      let row = query + score_column(thread, c);
      let at_row = statistics + min(row, tokens - 1);
      let log_sum = log_sum_exp[at_row] * LOG2_E;
      let row_delta = delta[at_row];
      for (var r = 0u; r < ROW_VECTORS; r++) {
        let at = c * ROW_VECTORS + r;
        let key = block + row_group(thread, r) * 4 + vec4u(0, 1, 2, 3);
        let masked = vec4<bool>(row >= tokens) | (vec4<bool>(causal) & (key > vec4u(row)));
        let p = select(exp2(scores[at] - log_sum), vec4f(), masked);
        scores[at] = p;
        slopes[at] = p * (slopes[at] - row_delta);
      }
    }
    store_weights(thread, scores);
    workgroupBarrier();
    for (var i = thread; i < COLUMNS * HEAD4; i += THREADS) {
      moving[i] = load_gradient(gradient_start, query + i / HEAD4, i % HEAD4);
    }
    workgroupBarrier();
    add_weighted(thread, &v_sums);
    workgroupBarrier();
    store_weights(thread, slopes);
    for (var i = thread; i < COLUMNS * HEAD4; i += THREADS) {
      moving[i] = load(start, query + i / HEAD4, i % HEAD4);
    }
    workgroupBarrier();
    add_weighted(thread, &k_sums);
    workgroupBarrier();
  }

  for (var r = 0u; r < ROW_VECTORS; r++) {
    for (var n = 0u; n < VALUE_VECTORS; n++) {
      let d4 = sum_vector(thread, n);
      if (d4 < HEAD4) {
        let row = block + row_group(thread, r) * 4;
        store_four(start + width4, row, d4, sum_rows(&k_sums, n, r) * params.scale);
        store_four(start + 2 * width4, row, d4, sum_rows(&v_sums, n, r));
      }
    }
  }
}
