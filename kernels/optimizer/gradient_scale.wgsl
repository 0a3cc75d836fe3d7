// The factor that undoes the loss scale and clips the gradient of all parameters by its norm
// (torch.nn.utils.clip_grad_norm_ after unscaling): with norm = sqrt(sum of norms) / loss_scale
//   output = [1 / loss_scale * min(1, largest / (norm + 1e-6)), norm, 1]
// or [0, norm, 0] when the norm is not finite: the update must then be left out.
//
//   norms   [count], f32: squared norms, one per parameter, of the gradients as they are
//   limits  [2], f32: loss scale; largest norm, or 0 for no clipping
//   output  [3], f32
//
// One team in all.

import package::common::team::{ Place, THREADS, team_of, team_sum };

@if(subgroups) enable subgroups;

struct Params {
  count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
@group(0) @binding(2) var<storage, read> limits: array<f32>;
@group(0) @binding(3) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let count = select(params.count, 0u, team.index > 0);
  var sum = 0.0;
  for (var i = team.lane; i < count; i += team.lanes) {
    sum += norms[i];
  }
  let total = team_sum(sum, team);
  if (team.index > 0 || team.lane > 0) {
    return;
  }
  let norm = sqrt(total) / limits[0];
  var scale = 1.0 / limits[0];
  if (limits[1] > 0.0) {
    scale *= min(1.0, limits[1] / (norm + 1e-6));
  }
  // By its bits: a compiler may assume that numbers are finite.
  let finite = (bitcast<u32>(total) & 0x7f800000u) != 0x7f800000u;
  output[0] = select(0.0, scale, finite);
  output[1] = norm;
  output[2] = select(0.0, 1.0, finite);
}
