// Second of two stages of the dice loss. With D = sum of p + m - 2 p m and A = sum of p + m over an image of N pixels,
//   1 - dice of the abnormal channel = 1 - (2 sum of p m + 1) / (A + 1)                  = D / (A + 1)
//   1 - dice of the normal channel   = the same of 1 - p and 1 - m                       = D / (2 N - A + 1)
// and the loss is the sum of both, mean over the images.
//
//   partial  [images, chunks, 2], f32: D and A of each chunk
//   output   [1], f32
//   sums     [images, 2], f32: D and A, for the backward pass
//
// One team in all, image after image.

import package::common::team::{ Place, THREADS, team_of, team_sum4 };

@if(subgroups) enable subgroups;

struct Params {
  images: u32,
  chunks: u32,
  pixels: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec2f>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  // The other teams of the workgroup only keep the reductions company.
  let chunks = select(params.chunks, 0u, team.index > 0);
  var loss = 0.0;
  for (var image = 0u; image < params.images; image++) {
    var sum = vec2f();
    for (var i = team.lane; i < chunks; i += team.lanes) {
      sum += partial[image * params.chunks + i];
    }
    let total = team_sum4(vec4f(sum, 0.0, 0.0), team);
    loss += total.x / (total.y + 1.0) + total.x / (2.0 * f32(params.pixels) - total.y + 1.0);
    if (team.index == 0 && team.lane == 0) {
      sums[image] = total.xy;
    }
  }
  if (team.index == 0 && team.lane == 0) {
    output[0] = loss / f32(params.images);
  }
}
