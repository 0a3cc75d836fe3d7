// Operands of the gradient of a convolution's input as a matrix product; see plain.wgsl for the form.
//
//   output_gradient  [batch, out_height, out_width, inner]
//   weight           [window height, window_width, inner, columns]: the convolution's, its last two axes swapped
//   input_gradient   [batch, height, width, columns]
//
// This is the transposed convolution: each input position collects from the output positions whose windows cover it.
// With a stride only every stride-th window line and column meets a given position, the same ones for all positions of
// one phase (y % stride, x % stride). One dispatch therefore computes one phase, and no multiplication is by a zero that
// a dilated gradient would hold. A row is an input position of the phase, a column an input channel, a segment one
// pixel of the window, in steps of the stride; k runs over output channels. With the weight's own order columns
// would be `inner` elements apart, often a power of two that puts all columns of a tile into one set of a cache.

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
  out_height: u32,
  out_width: u32,
  window_width: u32,
  stride: u32,
  // The phase, and its positions in each direction.
  phase_y: u32,
  phase_x: u32,
  phase_height: u32,
  phase_width: u32,
  // The first window line and column that meet the phase, the output position that they read for its first position,
  // and how many columns follow.
  tap_y: u32,
  tap_x: u32,
  out_y: u32,
  out_x: u32,
  taps: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output_gradient: array<Element>;
@if(!vectors) @group(0) @binding(2) var<storage, read> weight: array<Element>;
@if(vectors) @group(0) @binding(2) var<storage, read> weight: array<vec4<Element>>;

const LEFT_ALONG_ROWS = false;

// The output position that the first window pixel reads.
struct Origin {
  image: i32,
  y: i32,
  x: i32,
}

fn origin(row: u32) -> Origin {
  let line = row / params.phase_width;
  return Origin(
    i32(line / params.phase_height),
    i32(line % params.phase_height + params.out_y),
    i32(row % params.phase_width + params.out_x),
  );
}

fn span(at: Origin, segment: u32) -> Span {
  // A later window pixel reads an earlier output.
  let y = at.y - i32(segment / params.taps);
  let x = at.x - i32(segment % params.taps);
  let inside = y >= 0 && y < i32(params.out_height) && x >= 0 && x < i32(params.out_width);
  let start = ((at.image * i32(params.out_height) + y) * i32(params.out_width) + x) * i32(params.inner);
  return Span(start, 0, select(0, i32(params.inner), inside));
}

fn left_step() -> u32 {
  return 1;
}

fn left(index: u32) -> f32 {
  return f32(output_gradient[index]);
}

fn right_row(segment: u32) -> u32 {
  let y = params.tap_y + segment / params.taps * params.stride;
  let x = params.tap_x + segment % params.taps * params.stride;
  return (y * params.window_width + x) * params.columns * params.inner;
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
  let line = row / params.phase_width;
  let y = line % params.phase_height * params.stride + params.phase_y;
  let x = row % params.phase_width * params.stride + params.phase_x;
  return ((line / params.phase_height * params.height + y) * params.width + x) * params.columns + column;
}
