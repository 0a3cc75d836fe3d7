// Gradient of softmax.wgsl: input_gradient = output * (output_gradient - sum over the row of output * output_gradient).
//
//   output, output_gradient, input_gradient  [rows, width]
//
// Teams as in softmax.wgsl.

import package::common::element::Element;
import package::common::team::{ Place, Team, THREADS, team_of, team_sum };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  rows: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> output: array<Element>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Element>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<Element>;

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
  var sum = 0.0;
  for (var i = team.lane; i < params.width; i += team.lanes) {
    sum += f32(output[start + i]) * f32(output_gradient[start + i]);
  }
  @if(!narrow) { sum = team_sum(sum, team); }
  if (team.index < params.rows) {
    for (var i = team.lane; i < params.width; i += team.lanes) {
      input_gradient[start + i] = Element(f32(output[start + i]) * (f32(output_gradient[start + i]) - sum));
    }
  }
}
