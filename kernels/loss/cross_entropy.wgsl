// First of two stages of the cross-entropy of logits: for each row, with t its target,
//   peak[r] = max over c of logits[r, c],   log_sum[r] = log(sum over c of exp(logits[r, c] - peak[r]))
//   partial[r] = peak[r] - logits[r, t] + log_sum[r]
//
//   logits      [rows, classes], f32
//   label       [rows], u32, each below classes: t; with @if(diagonal) absent: t = r % classes
//   statistics  [rows, 2], f32, for the backward pass: peak and log_sum
//   partial     [rows], f32
//
// One team per row; the largest logit is taken out of the exponentials, so nothing overflows, and is kept apart: added
// to a large peak, the logarithm would lose its digits. The probabilities themselves are never written.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_max, team_sum };

@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  items: u32,
  classes: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<Item>;
@group(0) @binding(2) var<storage, read_write> statistics: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> partial: array<f32>;
@if(!diagonal) @group(0) @binding(4) var<storage, read> label: array<u32>;

fn largest_of(value: Wide) -> f32 {
  @if(vectors) {
    return max(max(value.x, value.y), max(value.z, value.w));
  }
  @else {
    return value;
  }
}

fn logit(row: u32, column: u32) -> f32 {
  @if(vectors) {
    return logits[row * params.items + column / 4][column % 4];
  }
  @else {
    return logits[row * params.items + column];
  }
}

fn target_of(row: u32) -> u32 {
  @if(diagonal) {
    return row % params.classes;
  }
  @else {
    return min(label[row], params.classes - 1);
  }
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let row = min(team.index, params.rows - 1);
  let start = row * params.items;

  // Each invocation starts from the row's first logit: no identity of max is needed for those without an item.
  var largest = logit(row, 0);
  for (var i = team.lane; i < params.items; i += team.lanes) {
    largest = max(largest, largest_of(Wide(logits[start + i])));
  }
  let peak = team_max(largest, team);

  var sum = Wide();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    sum += exp(Wide(logits[start + i]) - peak);
  }
  let log_sum = log(team_sum(item_sum(sum), team));
  if (team.lane == 0 && team.index < params.rows) {
    statistics[row] = vec2f(peak, log_sum);
    // In this order: peak and the target's logit are near each other or equal, and log_sum may be small.
    partial[row] = (peak - logit(row, target_of(row))) + log_sum;
  }
}
