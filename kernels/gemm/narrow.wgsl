// output = activation(a · b + bias + residual) for a handful of rows, where reading b once is all the work.
//
//   a                 [ROWS, k]
//   b                 [k, n], n a multiple of 4
//   output, residual  [ROWS, n]
//   bias              [n]
//
// A tile of rows would be mostly empty, and n alone gives too few invocations to keep memory busy. So K is split: a workgroup
// makes VECTORS * 4 columns with SLICES invocations for each vec4 of them, each of which adds up every SLICES-th step of K for
// all rows; neighbours read neighbouring vec4s of b. The slices meet in workgroup memory and are added in order.

import package::common::activation::activated4;
import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  n: u32,
  k: u32,
  activation: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Element>;
@group(0) @binding(2) var<storage, read> b: array<vec4<Element>>;
@group(0) @binding(3) var<storage, read_write> output: array<vec4<Element>>;
@if(bias) @group(0) @binding(4) var<storage, read> bias: array<vec4<Element>>;
@if(residual) @group(0) @binding(5) var<storage, read> residual: array<vec4<Element>>;

override ROWS: u32 = 1;
override VECTORS: u32 = 16;
// Not less than ROWS.
override SLICES: u32 = 16;

// The most that ROWS may be: an array of a function cannot have an override size.
const MOST_ROWS = 4u;

override THREADS: u32 = SLICES * VECTORS;

var<workgroup> partial: array<vec4f, ROWS * THREADS>;

@compute @workgroup_size(VECTORS, SLICES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let vectors = params.n / 4;
  let vector = (group.y * groups.x + group.x) * VECTORS + local.x;
  var sums: array<vec4f, MOST_ROWS>;
  if (vector < vectors) {
    for (var depth = local.y; depth < params.k; depth += SLICES) {
      let columns = vec4f(b[depth * vectors + vector]);
      for (var row = 0u; row < ROWS; row++) {
        sums[row] = fma(vec4f(f32(a[row * params.k + depth])), columns, sums[row]);
      }
    }
  }
  for (var row = 0u; row < ROWS; row++) {
    partial[row * THREADS + thread] = sums[row];
  }
  workgroupBarrier();
  // The first ROWS slices finish one row each.
  let row = local.y;
  if (row < ROWS && vector < vectors) {
    let i = row * vectors + vector;
    var value = vec4f();
    for (var slice = 0u; slice < SLICES; slice++) {
      value += partial[row * THREADS + slice * VECTORS + local.x];
    }
    @if(bias) { value += vec4f(bias[vector]); }
    @if(residual) { value += vec4f(residual[i]); }
    output[i] = vec4<Element>(activated4(value, params.activation));
  }
}
