// Operands of the convolution of an NHWC image (torch.nn.functional.conv2d, cross-correlation) as a matrix product; see
// plain.wgsl for the form.
//
//   input     [batch, height, width, channels]
//   weight    [window height, window_width, channels, columns]
//   bias      [columns], with @if(bias)
//   residual  [batch, out_height, out_width, columns], with @if(residual)
//   output    [batch, out_height, out_width, columns] = relu(input * weight + bias + residual), relu with @if(relu)
//
// A row is an output position, a column an output channel, a segment one line of the window: NHWC keeps the window's
// pixels of one image line together, so a line of the window is one contiguous run of window_width * channels elements
// in the image as in the weight. The run is cut off where it leaves the image, which is all there is to padding.

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
  out_width: u32,
  window_width: u32,
  stride: u32,
  padding: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@if(!vectors) @group(0) @binding(2) var<storage, read> weight: array<Element>;
@if(vectors) @group(0) @binding(2) var<storage, read> weight: array<vec4<Element>>;
@if(bias) @group(0) @binding(3) var<storage, read> bias: array<Element>;
@if(residual) @group(0) @binding(4) var<storage, read> residual: array<Element>;

const LEFT_ALONG_ROWS = false;

// The window's top left corner in the image, which padding puts outside.
struct Origin {
  image: i32,
  y: i32,
  x: i32,
}

fn origin(row: u32) -> Origin {
  let column = row % params.out_width;
  let line = row / params.out_width;
  return Origin(
    i32(line / params.out_height),
    i32(line % params.out_height * params.stride) - i32(params.padding),
    i32(column * params.stride) - i32(params.padding),
  );
}

fn span(at: Origin, segment: u32) -> Span {
  let channels = i32(params.channels);
  let width = i32(params.width);
  let y = at.y + i32(segment);
  let inside = y >= 0 && y < i32(params.height);
  return Span(
    ((at.image * i32(params.height) + y) * width + at.x) * channels,
    max(-at.x, 0) * channels,
    select(0, clamp(width - at.x, 0, i32(params.window_width)) * channels, inside),
  );
}

fn left_step() -> u32 {
  return 1;
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
  return f32(weight[index]);
}

@if(vectors)
fn right4(index: u32) -> vec4f {
  return vec4f(weight[index / 4]);
}

fn column_term(column: u32) -> f32 {
  @if(bias) { return f32(bias[column]); }
  @else { return 0.0; }
}

fn finish(sum: f32, row: u32, column: u32) -> f32 {
  var value = sum;
  @if(residual) { value += f32(residual[row * params.columns + column]); }
  @if(relu) { value = max(value, 0.0); }
  return value;
}

fn output_index(row: u32, column: u32) -> u32 {
  return row * params.columns + column;
}
