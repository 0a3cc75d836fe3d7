// Multi-head attention with an online softmax (FlashAttention), for software adapters: no workgroup memory, no barrier.
//
//   scores = q kᵀ * scale,   output = softmax(scores) v,   log_sum_exp = log(Σ exp(scores)), per head
//
//   qkv          [batch, tokens, 3, heads, HEAD]   q, k and v side by side, as one projection gives them
//   output       [batch, tokens, heads, HEAD]
//   log_sum_exp  [batch, heads, tokens], f32        what the backward pass recomputes the probabilities from
//
// One subgroup per workgroup. A lane owns ROWS query rows, LANES apart: their q, their output so far, their running
// maximum and sum are all its own, so nothing is ever reduced across lanes. Keys and values come in tiles of four rows,
// loaded once per subgroup and handed round by shuffles (see lane_tile): one shuffle feeds ROWS multiply-adds, and one
// tile of 4 x HEAD loads feeds 2 * 4 * HEAD * ROWS of them. ROWS is bounded by the cache that q and output live in.
//
// In the inner products everything indexed by `d` must have constant indices: software adapters gather and scatter
// private arrays lane by lane where the index is a variable. Their compiler does not unroll a loop of this length, so
// `all_steps` lists the steps. Loops that run once per workgroup have their bound in Params, so that they stay loops:
// unrolled, they take most of half a minute of compiling.

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
@group(0) @binding(2) var<storage, read_write> output: array<Element4>;
@group(0) @binding(3) var<storage, read_write> log_sum_exp: array<f32>;

const ROWS = select(2u, 4u, HEAD <= 64u);
const LOG2_E = 1.4426950408889634;
// Stands for minus infinity, which WGSL implementations may assume away.
const MASKED = -1e30;

var<private> tile: LaneTile;
var<private> q: array<array<vec4f, HEAD4>, ROWS>;
var<private> sum: array<array<vec4f, HEAD4>, ROWS>;
// Scores of a row against the tile's four keys, then their probabilities.
var<private> score: array<vec4f, ROWS>;
var<private> maximum: array<f32, ROWS>;
var<private> total: array<vec4f, ROWS>;
var<private> rescale: array<f32, ROWS>;

fn load_tile(start: u32, key: u32, lane: u32) {
  let stride = 3 * params.heads * HEAD4;
  for (var i = 0u; i < LOADS; i++) {
    // Keys past the end are loaded as the last one and masked.
    tile[i] = vec4f(qkv[start + min(key + tile_row(i, lane), params.tokens - 1) * stride + tile_column(i, lane)]);
  }
}

fn load_row(r: u32, start: u32) {
  for (var d = 0u; d < params.head4; d++) {
    q[r][d] = vec4f(qkv[start + d]) * (params.scale * LOG2_E);
    sum[r][d] = vec4f();
  }
  maximum[r] = MASKED;
  total[r] = vec4f();
}

fn score_step(d: u32) {
  let k = tile_rows(&tile, d);
  for (var r = 0u; r < ROWS; r++) {
    score[r] = add_dots(score[r], q[r][d], k);
  }
}

fn value_step(d: u32) {
  let v = tile_rows(&tile, d);
  for (var r = 0u; r < ROWS; r++) {
    sum[r][d] = add_weighted(sum[r][d] * rescale[r], score[r], v);
  }
}

const SCORES = 0u;
const VALUES = 1u;

fn step(stage: u32, d: u32) {
  if (stage == SCORES) {
    score_step(d);
  } else {
    value_step(d);
  }
}

fn steps_of_8(stage: u32, i: u32) {
  step(stage, 2 * i);
  step(stage, 2 * i + 1);
}

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
  let block = group.x * LANES * ROWS;
  for (var r = 0u; r < ROWS; r++) {
    load_row(r, start + min(block + r * LANES + lane, tokens - 1) * 3 * width4);
  }
  // Causal: keys after the block's last row are never looked at.
  let end = select(tokens, min(tokens, block + LANES * ROWS), params.causal != 0);

  for (var key = 0u; key < end; key += TILE) {
    load_tile(start + width4, key, lane);
    for (var r = 0u; r < ROWS; r++) {
      score[r] = vec4f();
    }
    all_steps(SCORES);
    for (var r = 0u; r < ROWS; r++) {
      let last = select(tokens - 1, block + r * LANES + lane, params.causal != 0);
      let s = select(score[r], vec4f(MASKED), key + vec4u(0, 1, 2, 3) > vec4u(last));
      let m = max(maximum[r], max(max(s.x, s.y), max(s.z, s.w)));
      rescale[r] = exp2(maximum[r] - m);
      maximum[r] = m;
      score[r] = exp2(s - m);
      total[r] = total[r] * rescale[r] + score[r];
    }
    load_tile(start + 2 * width4, key, lane);
    all_steps(VALUES);
  }

  for (var r = 0u; r < ROWS; r++) {
    let row = block + r * LANES + lane;
    if (row < tokens) {
      let whole = dot(total[r], vec4f(1));
      let at = (batch * tokens + row) * width4 + head * HEAD4;
      for (var d = 0u; d < params.head4; d++) {
        output[at + d] = Element4(sum[r][d] / whole);
      }
      log_sum_exp[(batch * params.heads + head) * tokens + row] = (maximum[r] + log2(whole)) / LOG2_E;
    }
  }
}
