// output[o, r, c] = factor * input[o, c]: the gradient of a sum or a mean over rows.
//
//   input   [outer, width], f32
//   output  [outer, rows, width], f32
//
// One invocation per output element.

struct Params {
  size: u32,
  rows: u32,
  width: u32,
  factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.size) {
    output[i] = params.factor * input[i / (params.rows * params.width) * params.width + i % params.width];
  }
}
