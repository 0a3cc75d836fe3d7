// output = activation(a · b + bias + residual), the first rung of the ladder: one invocation per output element walks
// along K. Every read of a is shared by a row of invocations and every read of b by a column, and nothing makes use of
// that here; tiled.wgsl, subgroup.wgsl and narrow.wgsl do.
//
//   a                 [m, k]; with transpose_a [k, m]
//   b                 [k, n]; with transpose_b [n, k]
//   output, residual  [m, n]
//   bias              [n]
//
// Sums are in f32 and in the order of K.

import package::common::activation::activated;
import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  m: u32,
  n: u32,
  k: u32,
  activation: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Element>;
@group(0) @binding(2) var<storage, read> b: array<Element>;
@group(0) @binding(3) var<storage, read_write> output: array<Element>;
@if(bias) @group(0) @binding(4) var<storage, read> bias: array<Element>;
@if(residual) @group(0) @binding(5) var<storage, read> residual: array<Element>;

override THREADS: u32 = 64;

fn load_a(row: u32, depth: u32) -> f32 {
  @if(transpose_a) { return f32(a[depth * params.m + row]); }
  @else { return f32(a[row * params.k + depth]); }
}

fn load_b(depth: u32, column: u32) -> f32 {
  @if(transpose_b) { return f32(b[column * params.k + depth]); }
  @else { return f32(b[depth * params.n + column]); }
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= params.m * params.n) {
    return;
  }
  let row = i / params.n;
  let column = i % params.n;
  var sum = 0.0;
  for (var depth = 0u; depth < params.k; depth++) {
    sum += load_a(row, depth) * load_b(depth, column);
  }
  @if(bias) { sum += f32(bias[column]); }
  @if(residual) { sum += f32(residual[i]); }
  output[i] = Element(activated(sum, params.activation));
}
