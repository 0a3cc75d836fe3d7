// Operands of the gradient of a patch embedding's image, as one matrix product; kernels/convolution/plain.wgsl gives the
// form.
//
//   output_gradient  [batch, tokens, inner]
//   weight           [inner, channels * patch * patch]: the embedding's, transposed
//   image_gradient   [batch, channels, height, width]
//
// A row is a patch, a column one of its pixels in the weight's order, k the embedding's width. Patches do not overlap,
// so every pixel of the image is written by exactly one product.

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
@group(0) @binding(1) var<storage, read> output_gradient: array<Element>;
@if(!vectors) @group(0) @binding(2) var<storage, read> weight: array<Element>;
@if(vectors) @group(0) @binding(2) var<storage, read> weight: array<vec4<Element>>;

const LEFT_ALONG_ROWS = false;

struct Origin {
  start: u32,
}

fn patches_of_image() -> u32 {
  return params.height / params.patch_size * (params.width / params.patch_size);
}

// Each image's tokens begin with the class token.
fn origin(row: u32) -> Origin {
  return Origin((row + row / patches_of_image() + 1) * params.inner);
}

fn span(at: Origin, segment: u32) -> Span {
  return Span(i32(at.start), 0, i32(params.inner));
}

fn left_step() -> u32 {
  return 1;
}

fn left(index: u32) -> f32 {
  return f32(output_gradient[index]);
}

fn right_row(segment: u32) -> u32 {
  return 0;
}

fn right_step() -> u32 {
  return params.columns;
}

fn right_column(column: u32) -> u32 {
  return column;
}

@if(!vectors)
fn right(index: u32) -> f32 {
  return f32(weight[index]);
}

@if(vectors)
fn right4(index: u32) -> vec4f {
  return vec4f(weight[index / 4]);
}

fn column_term(column: u32) -> f32 {
  return 0.0;
}

fn finish(sum: f32, row: u32, column: u32) -> f32 {
  return sum;
}

fn output_index(row: u32, column: u32) -> u32 {
  let size = params.patch_size;
  let patches = params.width / size;
  let image = row / patches_of_image();
  let channel = column / (size * size);
  let y = row % patches_of_image() / patches * size + column / size % size;
  let x = row % patches * size + column % size;
  return ((image * params.channels + channel) * params.height + y) * params.width + x;
}
