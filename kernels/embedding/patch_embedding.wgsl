// Operands of the patch embedding of CLIP's image tower with class token and position embedding, as one matrix product;
// kernels/convolution/plain.wgsl gives the form.
//
//   image        [batch, channels, height, width]
//   weight       [channels * patch * patch, columns], rows in the order channel, line, pixel
//   class_token  [columns]
//   position     [tokens, columns]
//   output       [batch, tokens, columns]: the class token, then every patch times weight, both plus position
//
// The patches do not overlap: a row is a token, a segment one line of the patch in one channel, contiguous in the image
// as in the weight. The class token is the row whose sum is empty.

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
  tokens: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> image: array<Element>;
@if(!vectors) @group(0) @binding(2) var<storage, read> weight: array<Element>;
@if(vectors) @group(0) @binding(2) var<storage, read> weight: array<vec4<Element>>;
@group(0) @binding(3) var<storage, read> class_token: array<Element>;
@group(0) @binding(4) var<storage, read> position: array<Element>;

const LEFT_ALONG_ROWS = false;

// The patch's top left pixel in the first channel; no pixels for the class token.
struct Origin {
  start: u32,
  pixels: i32,
}

fn origin(row: u32) -> Origin {
  let token = row % params.tokens;
  let patches = params.width / params.inner;
  let y = (max(token, 1) - 1) / patches * params.inner;
  let x = (max(token, 1) - 1) % patches * params.inner;
  return Origin(
    (row / params.tokens * params.channels * params.height + y) * params.width + x,
    select(i32(params.inner), 0, token == 0),
  );
}

fn span(at: Origin, segment: u32) -> Span {
  let channel = segment / params.inner;
  let line = segment % params.inner;
  return Span(i32(at.start + (channel * params.height + line) * params.width), 0, at.pixels);
}

fn left_step() -> u32 {
  return 1;
}

fn left(index: u32) -> f32 {
  return f32(image[index]);
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
  return 0.0;
}

fn finish(sum: f32, row: u32, column: u32) -> f32 {
  let token = row % params.tokens;
  var value = sum + f32(position[token * params.columns + column]);
  if (token == 0) {
    value += f32(class_token[column]);
  }
  return value;
}

fn output_index(row: u32, column: u32) -> u32 {
  return row * params.columns + column;
}
