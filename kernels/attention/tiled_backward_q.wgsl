// Gradient of attention with respect to q, for GPUs.
//
//   p  = exp(q kᵀ * scale - log_sum_exp)      the forward pass's probabilities, recomputed
//   ds = p ∘ (output_gradient vᵀ - delta)     delta: Σ output_gradient ∘ output of each row
//   q gradient = ds k * scale
//
//   qkv, qkv_gradient   [batch, tokens, 3, heads, HEAD]; only the q part of the gradient is written
//   output_gradient     [batch, tokens, heads, HEAD]
//   log_sum_exp, delta  [batch, heads, tokens], f32
//
// One workgroup per ROWS queries of one head: q and the output's gradient stay in workgroup memory; each tile of COLUMNS
// keys passes by as kᵀ, vᵀ and k, through the same place (see tiles.wgsl).

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
    store_fixed(0, i % ROW_GROUPS, d4, load_four(start, row, d4) * (params.scale * LOG2_E));
    store_fixed(1, i % ROW_GROUPS, d4, load_four_gradients(gradient_start, row, d4));
  }
  var sums: SumTile;
  var row_log_sum: array<vec4f, ROW_VECTORS>;
  var row_delta: array<vec4f, ROW_VECTORS>;
  for (var r = 0u; r < ROW_VECTORS; r++) {
    let row = block + row_group(thread, r) * 4;
    let at = statistics + min(row + vec4u(0, 1, 2, 3), vec4u(tokens - 1));
    row_log_sum[r] = vec4f(log_sum_exp[at.x], log_sum_exp[at.y], log_sum_exp[at.z], log_sum_exp[at.w]) * LOG2_E;
    row_delta[r] = vec4f(delta[at.x], delta[at.y], delta[at.z], delta[at.w]);
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
    workgroupBarrier();
    for (var i = thread; i < COLUMN_GROUPS * HEAD4; i += THREADS) {
      let d4 = i / COLUMN_GROUPS;
      store_moving(i % COLUMN_GROUPS, d4, load_four(start + 2 * width4, key + i % COLUMN_GROUPS * 4, d4));
    }
    workgroupBarrier();
    let slopes = score_products(1, thread);
    for (var c = 0u; c < 4 * COLUMN_VECTORS; c++) {
      for (var r = 0u; r < ROW_VECTORS; r++) {
        let at = c * ROW_VECTORS + r;
        let row = block + row_group(thread, r) * 4 + vec4u(0, 1, 2, 3);
        let last = select(vec4u(tokens - 1), row, causal);
        let p = select(exp2(scores[at] - row_log_sum[r]), vec4f(), vec4u(key + score_column(thread, c)) > last);
        scores[at] = p * (slopes[at] - row_delta[r]);
      }
    }
    store_weights(thread, scores);
    workgroupBarrier();
    for (var i = thread; i < COLUMNS * HEAD4; i += THREADS) {
      moving[i] = load(start + width4, key + i / HEAD4, i % HEAD4);
    }
    workgroupBarrier();
    add_weighted(thread, &sums);
    workgroupBarrier();
  }

  for (var r = 0u; r < ROW_VECTORS; r++) {
    for (var n = 0u; n < VALUE_VECTORS; n++) {
      let d4 = sum_vector(thread, n);
      if (d4 < HEAD4) {
        let row = block + row_group(thread, r) * 4;
        store_four(start, row, d4, sum_rows(&sums, n, r) * params.scale);
      }
    }
  }
}
