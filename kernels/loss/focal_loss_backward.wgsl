// The gradient of focal_loss: probability_gradient = loss_gradient * derivative of the pixel's term / pixels.
//
//   probability, mask, probability_gradient  [size] pixels, f32
//   loss_gradient                            [1], f32
//
// One invocation per item.

import package::common::item::{ Item, Wide };
import package::loss::focal::focal_slope;

struct Params {
  items: u32,
  factor: f32,
  gamma: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> probability: array<Item>;
@group(0) @binding(2) var<storage, read> mask: array<Item>;
@group(0) @binding(3) var<storage, read> loss_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> probability_gradient: array<Item>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i < params.items) {
    let slope = focal_slope(Wide(probability[i]), Wide(mask[i]), params.gamma);
    probability_gradient[i] = slope * (loss_gradient[0] * params.factor);
  }
}
