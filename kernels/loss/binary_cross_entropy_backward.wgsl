// The gradient of binary_cross_entropy: loss_gradient * (p - y) / max(p (1 - p), 1e-12) / count, as PyTorch's.
//
//   score, label, score_gradient  [count], f32
//   loss_gradient                 [1], f32
//
// One invocation per score.

struct Params {
  count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> score: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<f32>;
@group(0) @binding(3) var<storage, read> loss_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> score_gradient: array<f32>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let i = id.x;
  if (i < params.count) {
    let p = score[i];
    score_gradient[i] = loss_gradient[0] * (p - label[i]) / (max(p * (1.0 - p), 1e-12) * f32(params.count));
  }
}
