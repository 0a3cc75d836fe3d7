// Lays one operand of head_product_subgroup.wgsl out in panels, as gemm/pack.wgsl does for one matrix:
// panel[head, p, k, i] = source of that head [p * WIDTH + i, k], in f32, with zeros past the rows.
//
//   source  element (row, k) of a head at batch * batch_stride + head * head_stride + row * row_stride + k * depth_stride
//   panel   [batch * heads, ceil(rows / WIDTH), depth, WIDTH], `size` vec4s for each head
//
// One invocation makes one vec4, four rows at one k; neighbours go along whichever axis is contiguous in the source.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  rows: u32,
  depth: u32,
  heads: u32,
  batch_stride: u32,
  head_stride: u32,
  row_stride: u32,
  depth_stride: u32,
  size: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> source: array<Element>;
@group(0) @binding(2) var<storage, read_write> panel: array<vec4f>;

override WIDTH: u32 = 32;
override THREADS: u32 = 64;

fn element(start: u32, row: u32) -> f32 {
  return select(0.0, f32(source[start + row * params.row_stride]), row < params.rows);
}

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
  let in_panel = WIDTH / 4;
  let quads = params.size / params.depth;
  let quad = select(i % quads, i / params.depth, params.depth_stride == 1);
  let k = select(i / quads, i % params.depth, params.depth_stride == 1);
  let row = quad * 4;
  let start = group.z / params.heads * params.batch_stride + group.z % params.heads * params.head_stride + k * params.depth_stride;
  panel[group.z * params.size + (quad / in_panel * params.depth + k) * in_panel + quad % in_panel] =
    vec4f(element(start, row), element(start, row + 1), element(start, row + 2), element(start, row + 3));
}
