// Operands of the gradient of a patch embedding's weight, as one matrix product; kernels/convolution/plain.wgsl gives the
// form.
//
//   image            [batch, channels, height, width]
//   output_gradient  [batch, 1 + patch lines * inner, columns]
//   weight_gradient  [channels * patch * patch, columns]
//
// The sum runs over all patches: a segment is one line of patches in one image, k the patch in it. A row is one pixel of
// a patch, and k steps over the image by whole patches.

import package::common::element::Element;
import package::convolution::span::Span;

struct Params {
  rows: u32,
  columns: u32,
  column_tiles: u32,
  inner: u32,
  chunk: u32,
  chunks: u32,
  units: u32,
  units_per_slice: u32,
  channels: u32,
  height: u32,
  width: u32,
  patch_size: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<Element>;
@if(!vectors) @group(0) @binding(2) var<storage, read> output_gradient: array<Element>;
@if(vectors) @group(0) @binding(2) var<storage, read> output_gradient: array<vec4<Element>>;

const LEFT_ALONG_ROWS = true;

// The pixel in the first patch of the first image.
struct Origin {
  start: u32,
}

fn origin(row: u32) -> Origin {
  let size = params.patch_size;
  let channel = row / (size * size);
  return Origin((channel * params.height + row / size % size) * params.width + row % size);
}

fn span(at: Origin, segment: u32) -> Span {
  let lines = params.height / params.patch_size;
  let image_start = segment / lines * params.channels * params.height * params.width;
  let start = at.start + image_start + segment % lines * params.patch_size * params.width;
  return Span(i32(start), 0, i32(params.inner));
}

fn left_step() -> u32 {
  return params.patch_size;
}

fn left(index: u32) -> f32 {
  return f32(image[index]);
}

// Each image's tokens begin with the class token.
fn right_row(segment: u32) -> u32 {
  let class_tokens = segment / (params.height / params.patch_size) + 1;
  return (segment * params.inner + class_tokens) * params.columns;
}

fn right_step() -> u32 {
  return params.columns;
}

fn right_column(column: u32) -> u32 {
  return column;
}

@if(!vectors)
fn right(index: u32) -> f32 {
  return f32(output_gradient[index]);
}

@if(vectors)
fn right4(index: u32) -> vec4f {
  return vec4f(output_gradient[index / 4]);
}

fn column_term(column: u32) -> f32 {
  return 0.0;
}

fn finish(sum: f32, row: u32, column: u32) -> f32 {
  return sum;
}

fn output_index(row: u32, column: u32) -> u32 {
  return row * params.columns + column;
}
