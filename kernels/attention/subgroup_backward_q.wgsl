// Gradient of attention with respect to q, for software adapters: no workgroup memory, no barrier.
//
//   p  = exp(q kᵀ * scale - log_sum_exp)      the forward pass's probabilities, recomputed
//   ds = p ∘ (output_gradient vᵀ - delta)     delta: Σ output_gradient ∘ output of each row
//   q gradient = ds k * scale
//
//   qkv, qkv_gradient   [batch, tokens, 3, heads, HEAD]; only the q part of the gradient is written
//   output_gradient     [batch, tokens, heads, HEAD]
//   log_sum_exp, delta  [batch, heads, tokens], f32
//
// Built like the forward kernel (subgroup.wgsl): a lane owns ROWS query rows with their q, output gradient and q
// gradient; keys and values pass by in tiles of four.

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

const ROWS = select(2u, 4u, HEAD <= 64);
const LOG2_E = 1.4426950408889634;

var<private> k_tile: LaneTile;
var<private> v_tile: LaneTile;
var<private> q: array<array<vec4f, HEAD4>, ROWS>;
var<private> row_gradient: array<array<vec4f, HEAD4>, ROWS>;
var<private> sum: array<array<vec4f, HEAD4>, ROWS>;
var<private> score: array<vec4f, ROWS>;
// output_gradient vᵀ, then ds.
var<private> slope: array<vec4f, ROWS>;
var<private> row_log_sum: array<f32, ROWS>;
var<private> row_delta: array<f32, ROWS>;

fn load_tiles(start: u32, key: u32, lane: u32) {
  let width4 = params.heads * HEAD4;
  for (var i = 0u; i < LOADS; i++) {
    // Keys past the end are loaded as the last one and masked.
    let at = start + min(key + tile_row(i, lane), params.tokens - 1) * 3 * width4 + tile_column(i, lane);
    k_tile[i] = vec4f(qkv[at + width4]);
    v_tile[i] = vec4f(qkv[at + 2 * width4]);
  }
}

fn load_row(r: u32, q_start: u32, gradient_start: u32) {
  for (var d = 0u; d < params.head4; d++) {
    q[r][d] = vec4f(qkv[q_start + d]) * (params.scale * LOG2_E);
    row_gradient[r][d] = vec4f(output_gradient[gradient_start + d]);
    sum[r][d] = vec4f();
  }
}

fn score_step(d: u32) {
  let k = tile_rows(&k_tile, d);
  for (var r = 0u; r < ROWS; r++) {
    score[r] = add_dots(score[r], q[r][d], k);
  }
}

fn slope_step(d: u32) {
  let v = tile_rows(&v_tile, d);
  for (var r = 0u; r < ROWS; r++) {
    slope[r] = add_dots(slope[r], row_gradient[r][d], v);
  }
}

fn gradient_step(d: u32) {
  let k = tile_rows(&k_tile, d);
  for (var r = 0u; r < ROWS; r++) {
    sum[r][d] = add_weighted(sum[r][d], slope[r], k);
  }
}

const SCORES = 0u;
const SLOPES = 1u;
const GRADIENTS = 2u;

fn step(stage: u32, d: u32) {
  if (stage == SCORES) {
    score_step(d);
  } else if (stage == SLOPES) {
    slope_step(d);
  } else {
    gradient_step(d);
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
    let row = min(block + r * LANES + lane, tokens - 1);
    load_row(r, start + row * 3 * width4, (batch * tokens + row) * width4 + head * HEAD4);
    row_log_sum[r] = log_sum_exp[statistics + row] * LOG2_E;
    row_delta[r] = delta[statistics + row];
  }
  // Causal: keys after the block's last row are never looked at.
  let end = select(tokens, min(tokens, block + LANES * ROWS), params.causal != 0);

  for (var key = 0u; key < end; key += TILE) {
    load_tiles(start, key, lane);
    for (var r = 0u; r < ROWS; r++) {
      score[r] = vec4f();
      slope[r] = vec4f();
    }
    all_steps(SCORES);
    all_steps(SLOPES);
    for (var r = 0u; r < ROWS; r++) {
      let last = select(tokens - 1, block + r * LANES + lane, params.causal != 0);
      let p = select(exp2(score[r] - row_log_sum[r]), vec4f(), key + vec4u(0, 1, 2, 3) > vec4u(last));
      slope[r] = p * (slope[r] - row_delta[r]);
    }
    all_steps(GRADIENTS);
  }

  for (var r = 0u; r < ROWS; r++) {
    let row = block + r * LANES + lane;
    if (row < tokens) {
      for (var d = 0u; d < params.head4; d++) {
        qkv_gradient[start + row * 3 * width4 + d] = Element4(sum[r][d] * params.scale);
      }
    }
  }
}
