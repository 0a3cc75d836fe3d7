// delta = Σ output_gradient ∘ output over each head: the part of the softmax's gradient that is the same for a whole row.
//
//   output, output_gradient  [batch, tokens, heads, 4 * head4]
//   delta                    [batch, heads, tokens], f32
//
// One invocation per row of a head. It is a thousandth of the backward pass's work.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  tokens: u32,
  heads: u32,
  rows: u32,
  head4: u32,
}

alias Element4 = vec4<Element>;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output: array<Element4>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Element4>;
@group(0) @binding(3) var<storage, read_write> delta: array<f32>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  // Heads are innermost, as they are in the two tensors.
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= params.rows) {
    return;
  }
  var sum = vec4f();
  for (var d = 0u; d < params.head4; d++) {
    sum += vec4f(output[i * params.head4 + d]) * vec4f(output_gradient[i * params.head4 + d]);
  }
  let head = i % params.heads;
  let token = i / params.heads;
  let batch = token / params.tokens;
  delta[(batch * params.heads + head) * params.tokens + token % params.tokens] = dot(sum, vec4f(1));
}
