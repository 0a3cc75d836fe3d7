// One axis of the gradient of upsample_mean: what each source cell gets from all output cells that were interpolated
// from it. Two dispatches make the whole gradient, along the width first, then along the height.
//
//   input   [outer, long, inner], f32     the gradient at the output's size along this axis
//   output  [outer, copies, short, inner] at the source's; the same for every copy (stage), times scale
//
// One invocation per source cell. It gathers over the output cells whose two source cells include its own, a range that
// integers give exactly, each with its weight; taking one axis after the other makes that two short ranges in place of
// one large window.

import package::common::element::Element;
import package::map::bilinear::place;

@if(f16) enable f16;

struct Params {
  // outer * short * inner
  size: u32,
  long: u32,
  short: u32,
  inner: u32,
  copies: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

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
  let within = i % params.inner;
  let cell = i / params.inner % params.short;
  let outer = i / (params.inner * params.short);
  let long = i32(params.long);
  let short = i32(params.short);

  // Output cell o lies strictly between cells `cell - 1` and `cell + 1` where
  //   long (2 cell - 1) - short < 2 short o < long (2 cell + 3) - short;
  // the first and the last cell also get everything beyond them.
  let below = long * (2 * i32(cell) - 1) - short;
  let above = long * (2 * i32(cell) + 3) - short;
  let first = select(below / (2 * short) + 1, 0, cell == 0 || below < 0);
  let last = select(min((above + 2 * short - 1) / (2 * short), long), long, cell == params.short - 1);

  let here = i32(cell * 2 * params.long);
  let start = outer * params.long * params.inner + within;
  var sum = 0.0;
  for (var o = first; o < last; o++) {
    let distance = abs(i32(place(u32(o), params.long, params.short)) - here);
    sum += f32(2 * long - distance) * input[start + u32(o) * params.inner];
  }
  let value = Element(sum * params.scale / f32(2 * long));
  for (var copy = 0u; copy < params.copies; copy++) {
    output[((outer * params.copies + copy) * params.short + cell) * params.inner + within] = value;
  }
}
