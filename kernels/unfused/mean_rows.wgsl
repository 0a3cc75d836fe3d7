// output[o, c] = mean over r of input[o, r, c]: the mean of a few stacked maps as a step of its own.
//
//   input   [outer, rows, width], f32
//   output  [outer, width], f32
//
// One invocation per output element.

struct Params {
  size: u32,
  rows: u32,
  width: u32,
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
  if (i >= params.size) {
    return;
  }
  let start = i / params.width * params.rows * params.width + i % params.width;
  var sum = 0.0;
  for (var row = 0u; row < params.rows; row++) {
    sum += input[start + row * params.width];
  }
  output[i] = sum / f32(params.rows);
}
