// Softmax over rows, as a step of its own: output = exp(input - largest) / sum of them.
//
//   input, output  [rows, width]
//
// One team per row, which reads it twice, the second time from the cache where it fits: each invocation keeps the largest
// element so far and the sum of exponentials relative to it, and lowers the sum when a larger one turns up (Milakov and
// Gimelshein 2018, "Online normalizer calculation for softmax"). It does so for AT_ONCE elements together, so that they cost
// one exponential more, not one each. @if(narrow): rows of a few elements, one invocation each.

import package::common::element::Element;
import package::common::team::{ Place, Team, THREADS, team_max, team_of, team_sum };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Element>;
@group(0) @binding(2) var<storage, read_write> output: array<Element>;

// One step of the loop over a row; they are written out, as a vector's components.
const AT_ONCE = 4u;

// Below every finite number that can be told from others: an invocation without elements has a sum that counts for nothing.
const LOWEST = -3.4e38;

fn worker(place: Place) -> Team {
  @if(narrow) {
    return Team((place.group.y * place.groups.x + place.group.x) * THREADS + place.thread, 0, 1);
  }
  @else {
    return team_of(place);
  }
}

// AT_ONCE elements of one invocation.
fn elements(i: u32, step: u32) -> vec4f {
  return vec4f(f32(input[i]), f32(input[i + step]), f32(input[i + 2 * step]), f32(input[i + 3 * step]));
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = worker(place);
  let start = min(team.index, params.rows - 1) * params.width;
  let step = team.lanes;
  let whole = params.width / (AT_ONCE * step) * (AT_ONCE * step);
  var largest = LOWEST;
  var sum = 0.0;
  for (var i = start + team.lane; i < start + whole; i += AT_ONCE * step) {
    let values = elements(i, step);
    let pairs = max(values.xy, values.zw);
    let larger = max(largest, max(pairs.x, pairs.y));
    sum = sum * exp(largest - larger) + dot(exp(values - larger), vec4f(1.0));
    largest = larger;
  }
  for (var i = whole + team.lane; i < params.width; i += step) {
    let value = f32(input[start + i]);
    let larger = max(largest, value);
    sum = sum * exp(largest - larger) + exp(value - larger);
    largest = larger;
  }
  var highest = largest;
  @if(!narrow) {
    highest = team_max(largest, team);
    sum = team_sum(sum * exp(largest - highest), team);
  }
  let scale = 1.0 / sum;
  if (team.index < params.rows) {
    for (var i = start + team.lane; i < start + whole; i += AT_ONCE * step) {
      let values = elements(i, step);
      let results = exp(values - highest) * scale;
      output[i] = Element(results.x);
      output[i + step] = Element(results.y);
      output[i + 2 * step] = Element(results.z);
      output[i + 3 * step] = Element(results.w);
    }
    for (var i = start + whole + team.lane; i < start + params.width; i += step) {
      output[i] = Element(exp(f32(input[i]) - highest) * scale);
    }
  }
}
