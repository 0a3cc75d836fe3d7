// Gradient of attention with respect to q, the plain version: one invocation per query row.
//
//   p  = exp(q kᵀ * scale - log_sum_exp)      the forward pass's probabilities, recomputed
//   ds = p ∘ (output_gradient vᵀ - delta)     delta: Σ output_gradient ∘ output of each row
//   q gradient = ds k * scale
//
//   qkv, qkv_gradient   [batch, tokens, 3, heads, 4 * head4]; only the q part of the gradient is written
//   output_gradient     [batch, tokens, heads, 4 * head4]
//   log_sum_exp, delta  [batch, heads, tokens], f32

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
@group(0) @binding(2) var<storage, read> output_gradient: array<Element4>;
@group(0) @binding(3) var<storage, read> log_sum_exp: array<f32>;
@group(0) @binding(4) var<storage, read> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> qkv_gradient: array<Element4>;

override THREADS: u32 = 32;

// vec4s of the largest head. How many there are is in Params and not a constant, so that the loops stay loops: unrolled,
// they take a software adapter half a minute to compile.
const MAX_HEAD4 = 32;

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
  let own = start + row * 3 * width4;
  let statistics = (group.z * params.heads + group.y) * tokens + row;

  var q: array<vec4f, MAX_HEAD4>;
  var gradient: array<vec4f, MAX_HEAD4>;
  var sum: array<vec4f, MAX_HEAD4>;
  for (var d = 0u; d < head4; d++) {
    q[d] = vec4f(qkv[own + d]) * params.scale;
    gradient[d] = vec4f(output_gradient[(group.z * tokens + row) * width4 + group.y * head4 + d]);
  }
  let end = select(tokens, row + 1, params.causal != 0);
  for (var key = 0u; key < end; key++) {
    let k = start + (key * 3 + 1) * width4;
    let v = start + (key * 3 + 2) * width4;
    var score = vec4f();
    var slope = vec4f();
    for (var d = 0u; d < head4; d++) {
      score += q[d] * vec4f(qkv[k + d]);
      slope += gradient[d] * vec4f(qkv[v + d]);
    }
    let p = exp(dot(score, vec4f(1)) - log_sum_exp[statistics]);
    let ds = p * (dot(slope, vec4f(1)) - delta[statistics]);
    for (var d = 0u; d < head4; d++) {
      sum[d] += ds * vec4f(qkv[k + d]);
    }
  }
  for (var d = 0u; d < head4; d++) {
    qkv_gradient[own + d] = Element4(sum[d] * params.scale);
  }
}
