// Gradients of attention with respect to k and v, for software adapters: no workgroup memory, no barrier.
//
//   p  = exp(q kᵀ * scale - log_sum_exp)      the forward pass's probabilities, recomputed
//   ds = p ∘ (output_gradient vᵀ - delta)     delta: Σ output_gradient ∘ output of each row
//   v gradient = pᵀ output_gradient,   k gradient = dsᵀ q * scale
//
//   qkv, qkv_gradient   [batch, tokens, 3, heads, HEAD]; the k and v parts of the gradient are written
//   output_gradient     [batch, tokens, heads, HEAD]
//   log_sum_exp, delta  [batch, heads, tokens], f32
//
// The forward kernel (subgroup.wgsl) with the sides swapped: a lane owns ROWS keys with their k, v and both gradients;
// queries and output gradients pass by in tiles of four.

import package::attention::head_size::{HEAD, HEAD4};
import package::attention::lane_tile::{LANES, LOADS, TILE, LaneTile, tile_row, tile_column, tile_rows, add_dots, add_weighted};
import package::common::element::Element;

@if(f16) enable f16;
enable subgroups;

struct Params {
  tokens: u32,
  heads: u32,
  causal: u32,
  scale: f32,
  head4: u32,
}

alias Element4 = vec4<Element>;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> qkv: array<Element4>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Element4>;
@group(0) @binding(3) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> qkv_gradient: array<Element4>;

const ROWS = select(1u, 2u, HEAD <= 64);
const LOG2_E = 1.4426950408889634;

var<private> q_tile: LaneTile;
var<private> gradient_tile: LaneTile;
var<private> k: array<array<vec4f, HEAD4>, ROWS>;
var<private> v: array<array<vec4f, HEAD4>, ROWS>;
var<private> k_sum: array<array<vec4f, HEAD4>, ROWS>;
var<private> v_sum: array<array<vec4f, HEAD4>, ROWS>;
// Scores of a key against the tile's four queries, then their probabilities.
var<private> score: array<vec4f, ROWS>;
// output_gradient vᵀ, then ds.
var<private> slope: array<vec4f, ROWS>;

fn load_tiles(batch: u32, head: u32, query: u32, lane: u32) {
  let width4 = params.heads * HEAD4;
  for (var i = 0u; i < LOADS; i++) {
    // Queries past the end are loaded as the last one and masked.
    let row = batch * params.tokens + min(query + tile_row(i, lane), params.tokens - 1);
    let column = head * HEAD4 + tile_column(i, lane);
    q_tile[i] = vec4f(qkv[row * 3 * width4 + column]);
    gradient_tile[i] = vec4f(output_gradient[row * width4 + column]);
  }
}

fn load_row(r: u32, start: u32) {
  let width4 = params.heads * HEAD4;
  for (var d = 0u; d < params.head4; d++) {
    k[r][d] = vec4f(qkv[start + width4 + d]) * (params.scale * LOG2_E);
    v[r][d] = vec4f(qkv[start + 2 * width4 + d]);
    k_sum[r][d] = vec4f();
    v_sum[r][d] = vec4f();
  }
}

fn score_step(d: u32) {
  let q = tile_rows(&q_tile, d);
  for (var r = 0u; r < ROWS; r++) {
    score[r] = add_dots(score[r], k[r][d], q);
  }
}

fn value_step(d: u32) {
  let gradient = tile_rows(&gradient_tile, d);
  for (var r = 0u; r < ROWS; r++) {
    slope[r] = add_dots(slope[r], v[r][d], gradient);
    v_sum[r][d] = add_weighted(v_sum[r][d], score[r], gradient);
  }
}

fn key_step(d: u32) {
  let q = tile_rows(&q_tile, d);
  for (var r = 0u; r < ROWS; r++) {
    k_sum[r][d] = add_weighted(k_sum[r][d], slope[r], q);
  }
}

const SCORES = 0u;
const VALUES = 1u;
const KEYS = 2u;

fn step(stage: u32, d: u32) {
  if (stage == SCORES) {
    score_step(d);
  } else if (stage == VALUES) {
    value_step(d);
  } else {
    key_step(d);
  }
}

fn steps_of_8(stage: u32, i: u32) {
  step(stage, 2 * i);
  step(stage, 2 * i + 1);
}

// Listed and not looped over: see subgroup.wgsl.
fn all_steps(stage: u32) {
  steps_of_8(stage, 0);
  steps_of_8(stage, 1);
  if (HEAD > 16) { steps_of_8(stage, 2); }
  if (HEAD > 24) { steps_of_8(stage, 3); }
  if (HEAD > 32) { steps_of_8(stage, 4); }
  if (HEAD > 40) { steps_of_8(stage, 5); }
  if (HEAD > 48) { steps_of_8(stage, 6); }
  if (HEAD > 56) { steps_of_8(stage, 7); }
  if (HEAD > 64) { steps_of_8(stage, 8); }
  if (HEAD > 72) { steps_of_8(stage, 9); }
  if (HEAD > 80) { steps_of_8(stage, 10); }
  if (HEAD > 88) { steps_of_8(stage, 11); }
  if (HEAD > 96) { steps_of_8(stage, 12); }
  if (HEAD > 104) { steps_of_8(stage, 13); }
  if (HEAD > 112) { steps_of_8(stage, 14); }
  if (HEAD > 120) { steps_of_8(stage, 15); }
}

// A value of each of the tile's four queries, in every lane.
fn four(values: f32) -> vec4f {
  return vec4f(subgroupShuffle(values, 0), subgroupShuffle(values, 1), subgroupShuffle(values, 2), subgroupShuffle(values, 3));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
  let tokens = params.tokens;
  let width4 = params.heads * HEAD4;
  let head = group.y;
  let batch = group.z;
  let start = batch * tokens * 3 * width4 + head * HEAD4;
  let statistics = (batch * params.heads + head) * tokens;
  let block = group.x * LANES * ROWS;
  for (var r = 0u; r < ROWS; r++) {
    load_row(r, start + min(block + r * LANES + lane, tokens - 1) * 3 * width4);
  }
  // Causal: queries before the block's first key never look at it.
  let first = select(0, block, params.causal != 0);

  for (var query = first; query < tokens; query += TILE) {
    load_tiles(batch, head, query, lane);
    let own = statistics + min(query + lane % TILE, tokens - 1);
    let log_sums = four(log_sum_exp[own] * LOG2_E);
    let deltas = four(delta[own]);
    for (var r = 0u; r < ROWS; r++) {
      score[r] = vec4f();
      slope[r] = vec4f();
    }
    all_steps(SCORES);
    let queries = query + vec4u(0, 1, 2, 3);
    for (var r = 0u; r < ROWS; r++) {
      let earliest = select(0, block + r * LANES + lane, params.causal != 0);
      let masked = (queries >= vec4u(tokens)) | (queries < vec4u(earliest));
      score[r] = select(exp2(score[r] - log_sums), vec4f(), masked);
    }
    all_steps(VALUES);
    for (var r = 0u; r < ROWS; r++) {
      slope[r] = score[r] * (slope[r] - deltas);
    }
    all_steps(KEYS);
  }

  for (var r = 0u; r < ROWS; r++) {
    let row = block + r * LANES + lane;
    if (row < tokens) {
      let at = start + row * 3 * width4;
      for (var d = 0u; d < params.head4; d++) {
        qkv_gradient[at + width4 + d] = Element4(k_sum[r][d] * params.scale);
        qkv_gradient[at + 2 * width4 + d] = Element4(v_sum[r][d]);
      }
    }
  }
}
