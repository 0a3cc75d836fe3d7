// output[i] = input[i] in another element type: f16 storage to f32 when @if(to_f32), else f32 to f16
// (round to nearest even). One invocation per element.

enable f16;

struct Params {
  size: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@if(to_f32) @group(0) @binding(1) var<storage, read> input: array<f16>;
@else @group(0) @binding(1) var<storage, read> input: array<f32>;
@if(to_f32) @group(0) @binding(2) var<storage, read_write> output: array<f32>;
@else @group(0) @binding(2) var<storage, read_write> output: array<f16>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.size) {
    @if(to_f32) { output[i] = f32(input[i]); }
    @else { output[i] = f16(input[i]); }
  }
}
