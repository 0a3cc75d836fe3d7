// Operands of the gradient of a convolution's weight as a matrix product; see plain.wgsl for the form.
//
//   input            [batch, height, width, channels]
//   output_gradient  [batch, out_height, inner, columns]
//   weight_gradient  [window height, window_width, channels, columns]
//
// The sum runs over all output positions: a segment is one line of the output, k the position in it. A row is one
// element (line, column, channel) of the window, a column an output channel. For one row the positions whose window
// pixel lies inside the image are one range of k, so padding is a bound here too.

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
  height: u32,
  width: u32,
  channels: u32,
  out_height: u32,
  window_width: u32,
  stride: u32,
  padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@if(!vectors) @group(0) @binding(2) var<storage, read> output_gradient: array<Element>;
@if(vectors) @group(0) @binding(2) var<storage, read> output_gradient: array<vec4<Element>>;

const LEFT_ALONG_ROWS = true;

// The image position that this window pixel has for the first output position.
struct Origin {
  y: i32,
  x: i32,
  channel: i32,
}

fn origin(row: u32) -> Origin {
  let pixel = row / params.channels;
  return Origin(
    i32(pixel / params.window_width) - i32(params.padding),
    i32(pixel % params.window_width) - i32(params.padding),
    i32(row % params.channels),
  );
}

fn span(at: Origin, segment: u32) -> Span {
  let stride = i32(params.stride);
  let width = i32(params.width);
  let image = i32(segment / params.out_height);
  let y = i32(segment % params.out_height) * stride + at.y;
  let inside = y >= 0 && y < i32(params.height);
  return Span(
    ((image * i32(params.height) + y) * width + at.x) * i32(params.channels) + at.channel,
    (max(-at.x, 0) + stride - 1) / stride,
    select(0, (max(width - at.x, 0) + stride - 1) / stride, inside),
  );
}

fn left_step() -> u32 {
  return params.stride * params.channels;
}

fn left(index: u32) -> f32 {
  return f32(input[index]);
}

fn right_row(segment: u32) -> u32 {
  return segment * params.inner * params.columns;
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
