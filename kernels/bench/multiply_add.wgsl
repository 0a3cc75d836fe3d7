// Chains of multiply-adds that touch no memory: the ceiling for kernels that arithmetic limits. Eight independent
// accumulators per invocation hide the latency of each other, and eight steps in a turn of the loop the cost of the loop; the factor
// keeps them finite and the final store keeps them alive.
//
//   output  [invocations]
//
// 2 · 8 · rounds floating-point operations per invocation; rounds is a multiple of STEPS.

struct Params {
  rounds: u32,
  factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;

// In a turn of the loop: a compiler writes them out.
const STEPS = 8u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let a = params.factor;
  var x = vec4f(0.1, 0.2, 0.3, 0.4) * f32(id.x % 7u);
  var y = vec4f(0.5, 0.6, 0.7, 0.8) * f32(id.x % 5u);
  for (var round = 0u; round < params.rounds; round += STEPS) {
    for (var step = 0u; step < STEPS; step++) {
      x = x * a + vec4f(a);
      y = y * a + vec4f(a);
    }
  }
  let sum = x + y;
  output[id.x] = sum.x + sum.y + sum.z + sum.w;
}
