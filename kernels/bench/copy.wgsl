// output = input: the ceiling for kernels that memory limits. Each invocation moves ITEMS vec4s, so that many reads are under way at
// once; neighbours move neighbours, so that a subgroup's accesses are whole cache lines.
//
//   input, output  [size] vec4<f32>

struct Params {
  size: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4f>;

const THREADS = 64u;
const ITEMS = 8u;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let first = (group.y * groups.x + group.x) * THREADS * ITEMS + thread;
  var values: array<vec4f, ITEMS>;
  for (var item = 0u; item < ITEMS; item++) {
    values[item] = input[min(first + item * THREADS, params.size - 1)];
  }
  for (var item = 0u; item < ITEMS; item++) {
    let i = first + item * THREADS;
    if (i < params.size) {
      output[i] = values[item];
    }
  }
}
