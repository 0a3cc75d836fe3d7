// Gradient of unary.wgsl: input_gradient[i] = output_gradient[i] * derivative at input[i].

import package::common::item::{ Item, Wide };
import package::common::team::{ Place, THREADS, team_of };
import package::unfused::functions::unary_slope;

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  items: u32,
  chunk: u32,
  kind: u32,
  a: f32,
  b: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read> output_gradient: array<Item>;
@group(0) @binding(3) var<storage, read_write> input_gradient: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let end = min((team.index + 1) * params.chunk, params.items);
  for (var i = team.index * params.chunk + team.lane; i < end; i += team.lanes) {
    input_gradient[i] = Item(Wide(output_gradient[i]) * unary_slope(Wide(input[i]), params.kind, params.a, params.b));
  }
}
