// Second of two stages of a squared norm: norms[index] = sum of partial. The other norms stay as they are.
//
//   partial  [count], f32
//   norms    [tensors], f32, read and written
//
// One team in all.

import package::common::team::{ Place, THREADS, team_of, team_sum };

@if(subgroups) enable subgroups;

struct Params {
  count: u32,
  index: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  // The other teams of the workgroup only keep the reduction company.
  let count = select(params.count, 0u, team.index > 0);
  var sum = 0.0;
  for (var i = team.lane; i < count; i += team.lanes) {
    sum += partial[i];
  }
  let total = team_sum(sum, team);
  if (team.index == 0 && team.lane == 0) {
    norms[params.index] = total;
  }
}
