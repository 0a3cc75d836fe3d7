// The gradient of cross_entropy: (softmax(logits)[r, c] - [c is the target of r]) * loss_gradient / rows.
//
//   logits, logits_gradient  [rows, classes], f32
//   statistics               [rows, 2], f32, from the forward pass: the largest logit, and the logarithm of the sum of the
//                            exponentials without it
//   label                    [rows], u32: the targets; with @if(diagonal) absent: the target of row r is r % classes
//   loss_gradient            [1], f32
//
// One team per row, whose invocations stride over it.

import package::common::item::{ Item, Wide };
import package::common::team::{ Place, THREADS, team_of };

@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  items: u32,
  classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Item>;
@group(0) @binding(2) var<storage, read> statistics: array<vec2f>;
@group(0) @binding(3) var<storage, read> loss_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> logits_gradient: array<Item>;
@if(!diagonal) @group(0) @binding(5) var<storage, read> label: array<u32>;

fn target_of(row: u32) -> u32 {
  @if(diagonal) {
    return row % params.classes;
  }
  @else {
    return min(label[row], params.classes - 1);
  }
}

// 1 at the target's place among the elements of an item, 0 elsewhere.
fn one_hot(item: u32, target_column: u32) -> Wide {
  @if(vectors) {
    return select(vec4f(0.0), vec4f(1.0), vec4u(4 * item) + vec4u(0, 1, 2, 3) == vec4u(target_column));
  }
  @else {
    return select(0.0, 1.0, item == target_column);
  }
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let row = team.index;
  if (row >= params.rows) {
    return;
  }
  let start = row * params.items;
  let target_column = target_of(row);
  let row_statistics = statistics[row];
  let factor = loss_gradient[0] / f32(params.rows);
  for (var i = team.lane; i < params.items; i += team.lanes) {
    logits_gradient[start + i] = (exp(Wide(logits[start + i]) - row_statistics.x - row_statistics.y) - one_hot(i, target_column)) * factor;
  }
}
