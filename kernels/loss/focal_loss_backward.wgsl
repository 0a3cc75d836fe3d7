// The gradient of focal_loss: probability_gradient = loss_gradient * derivative of the pixel's term / pixels.
//
//   probability, mask, probability_gradient  [size] pixels, f32
//   loss_gradient                            [1], f32
//
// One team per chunk of items: on a CPU a workgroup costs as much as many items.

import package::common::item::{ Item, Wide };
import package::common::team::{ Place, THREADS, team_of };
import package::loss::focal::focal_slope;

@if(subgroups) enable subgroups;

struct Params {
  items: u32,
  chunk: u32,
  factor: f32,
  gamma: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probability: array<Item>;
@group(0) @binding(2) var<storage, read> mask: array<Item>;
@group(0) @binding(3) var<storage, read> loss_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> probability_gradient: array<Item>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let factor = loss_gradient[0] * params.factor;
  let end = min((team.index + 1) * params.chunk, params.items);
  for (var i = team.index * params.chunk + team.lane; i < end; i += team.lanes) {
    probability_gradient[i] = focal_slope(Wide(probability[i]), Wide(mask[i]), params.gamma) * factor;
  }
}
