// Binary cross-entropy (torch.nn.BCELoss): output[0] = mean of -(y log(p) + (1 - y) log(1 - p)), where logarithms do not
// fall below -100.
//
//   score, label  [count], f32: p and y
//   output        [1], f32
//
// One team in all: a batch has one score per image.

import package::common::team::{ Place, THREADS, team_of, team_sum };
import package::loss::logarithm::log_probability;

@if(subgroups) enable subgroups;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> score: array<f32>;
@group(0) @binding(2) var<storage, read> label: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

// log(p), given 1 - p. WGSL does not promise -infinity at 0.
fn bounded_log(p: f32, q: f32) -> f32 {
  if (p <= 0.0) {
    return -100.0;
  }
  return max(log_probability(p, q), -100.0);
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  // The other teams of the workgroup only keep the reduction company.
  let count = select(params.count, 0u, team.index > 0);
  var sum = 0.0;
  for (var i = team.lane; i < count; i += team.lanes) {
    let p = score[i];
    let y = label[i];
    sum -= y * bounded_log(p, 1.0 - p) + (1.0 - y) * bounded_log(1.0 - p, p);
  }
  let total = team_sum(sum, team);
  if (team.index == 0 && team.lane == 0) {
    output[0] = total / f32(params.count);
  }
}
