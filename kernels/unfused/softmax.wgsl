// Softmax over rows, as a step of its own: output = exp(input - largest) / sum of them.
//
//   input, output  [rows, width]
//
// One team per row, which reads it three times, the last two from the cache where it fits. @if(narrow): rows of a few
// elements, one invocation each.

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

fn worker(place: Place) -> Team {
  @if(narrow) {
    return Team((place.group.y * place.groups.x + place.group.x) * THREADS + place.thread, 0, 1);
  }
  @else {
    return team_of(place);
  }
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = worker(place);
  let start = min(team.index, params.rows - 1) * params.width;
  var largest = f32(input[start]);
  for (var i = team.lane; i < params.width; i += team.lanes) {
    largest = max(largest, f32(input[start + i]));
  }
  @if(!narrow) { largest = team_max(largest, team); }
  var sum = 0.0;
  for (var i = team.lane; i < params.width; i += team.lanes) {
    sum += exp(f32(input[start + i]) - largest);
  }
  @if(!narrow) { sum = team_sum(sum, team); }
  if (team.index < params.rows) {
    for (var i = team.lane; i < params.width; i += team.lanes) {
      output[start + i] = Element(exp(f32(input[start + i]) - largest) / sum);
    }
  }
}
