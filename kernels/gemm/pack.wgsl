// Lays one operand of a product out in panels: panel[p, k, i] = source[p * WIDTH + i, k], in f32, with zeros past the rows.
//
//   source  `rows` vectors along K; element (row, k) is at row * row_stride + k * depth_stride, so that a matrix and its
//           transpose are the same to this kernel
//   panel   [ceil(rows / WIDTH), depth, WIDTH], `size` vec4s
//
// gemm/subgroup.wgsl walks along K: in a panel each of its steps reads one contiguous line. In a row-major matrix it would
// read WIDTH lines a row apart, and rows a power of two apart evict each other from the first-level cache.
//
// One invocation makes one vec4, four rows at one step of K. Neighbours go along whichever axis is contiguous in the source.
//
// @if(blocks): K is contiguous and a multiple of 4. One invocation makes four steps of four rows: it reads a vec4 of each row and
// transposes, one wide access where the other way makes four.

import package::common::element::Element;

@if(f16) enable f16;

struct Params {
  rows: u32,
  depth: u32,
  row_stride: u32,
  depth_stride: u32,
  size: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@if(blocks) @group(0) @binding(1) var<storage, read> source: array<vec4<Element>>;
@if(!blocks) @group(0) @binding(1) var<storage, read> source: array<Element>;
@group(0) @binding(2) var<storage, read_write> panel: array<vec4f>;

override WIDTH: u32 = 32;
override THREADS: u32 = 64;

@if(blocks)
fn steps(row: u32, step: u32) -> vec4f {
  return select(vec4f(), vec4f(source[row * (params.depth / 4) + step]), row < params.rows);
}

@if(!blocks)
fn element(row: u32, depth: u32) -> f32 {
  return select(0.0, f32(source[row * params.row_stride + depth * params.depth_stride]), row < params.rows);
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  let in_panel = WIDTH / 4;
  @if(blocks) {
    if (i >= params.size / 4) {
      return;
    }
    let along = params.depth / 4;
    let quad = i / along;
    let step = i % along;
    let row = quad * 4;
    let block = transpose(mat4x4f(steps(row, step), steps(row + 1, step), steps(row + 2, step), steps(row + 3, step)));
    let first = (quad / in_panel * params.depth + step * 4) * in_panel + quad % in_panel;
    panel[first] = block[0];
    panel[first + in_panel] = block[1];
    panel[first + 2 * in_panel] = block[2];
    panel[first + 3 * in_panel] = block[3];
  }
  @if(!blocks) {
    if (i >= params.size) {
      return;
    }
    let quads = params.size / params.depth;
    let quad = select(i % quads, i / params.depth, params.depth_stride == 1);
    let k = select(i / quads, i % params.depth, params.depth_stride == 1);
    let row = quad * 4;
    panel[(quad / in_panel * params.depth + k) * in_panel + quad % in_panel] =
      vec4f(element(row, k), element(row + 1, k), element(row + 2, k), element(row + 3, k));
  }
}
