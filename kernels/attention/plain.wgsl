// Multi-head attention with an online softmax, the plain version: one invocation per query row, which walks over the keys
// and keeps the maximum, the sum and the weighted values of those seen so far.
//
//   scores = q kᵀ * scale,   output = softmax(scores) v,   log_sum_exp = log(Σ exp(scores)), per head
//
//   qkv          [batch, tokens, 3, heads, 4 * head4]   q, k and v side by side, as one projection gives them
//   output       [batch, tokens, heads, 4 * head4]
//   log_sum_exp  [batch, heads, tokens], f32        what the backward pass recomputes the probabilities from
//
// Neighbouring invocations read the same keys and values at the same time, so they come from the cache.

import package::common::element::Element;

@if(f16) enable f16;

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

override THREADS: u32 = 32;

// vec4s of the largest head. How many there are is in Params and not a constant, so that the loops stay loops: unrolled,
// they take a software adapter half a minute to compile.
const MAX_HEAD4 = 32;

// Stands for minus infinity, which WGSL implementations may assume away.
const MASKED = -1e30;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let tokens = params.tokens;
  let row = group.x * THREADS + thread;
  if (row >= tokens) {
    return;
  }
  let head4 = params.head4;
  let width4 = params.heads * head4;
  let start = group.z * tokens * 3 * width4 + group.y * head4;

  var q: array<vec4f, MAX_HEAD4>;
  var sum: array<vec4f, MAX_HEAD4>;
  for (var d = 0u; d < head4; d++) {
    q[d] = vec4f(qkv[start + row * 3 * width4 + d]) * params.scale;
  }
  var maximum = MASKED;
  var total = 0.0;
  let end = select(tokens, row + 1, params.causal != 0);
  for (var key = 0u; key < end; key++) {
    let k = start + (key * 3 + 1) * width4;
    let v = start + (key * 3 + 2) * width4;
    var products = vec4f();
    for (var d = 0u; d < head4; d++) {
      products += q[d] * vec4f(qkv[k + d]);
    }
    let score = dot(products, vec4f(1));
    let larger = max(maximum, score);
    let rescale = exp(maximum - larger);
    let p = exp(score - larger);
    maximum = larger;
    total = total * rescale + p;
    for (var d = 0u; d < head4; d++) {
      sum[d] = sum[d] * rescale + p * vec4f(qkv[v + d]);
    }
  }

  let at = (group.z * tokens + row) * width4 + group.y * head4;
  for (var d = 0u; d < head4; d++) {
    output[at + d] = Element4(sum[d] / total);
  }
  log_sum_exp[(group.z * params.heads + group.y) * tokens + row] = maximum + log(total);
}
