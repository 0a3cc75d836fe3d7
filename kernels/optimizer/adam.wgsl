// One step of Adam, or with @if(decoupled) of AdamW, in place (torch.optim.Adam and AdamW, Kingma & Ba 2015, Loshchilov
// & Hutter 2019). With g = gradient * gradient_scale[0]:
//
//   Adam   g += weight_decay * parameter        AdamW  parameter *= 1 - learning_rate * weight_decay
//   first  += (g - first) * (1 - beta1)
//   second  = second * beta2 + g² * (1 - beta2)
//   parameter -= step_size * first / (sqrt(second) / root_correction + epsilon)
//
//   parameter, first, second  [size], f32, read and written
//   gradient                  [size], f32
//   constants                 [8], f32, from the host in float64 for each step: see `adamConstants` in src/ops/adam.ts
//   gradient_scale            [1 or more], f32; 0 or not finite: nothing is changed (the gradient overflowed)
//
// One pass over memory: 4 reads and 3 writes per element, and nothing to compute that would show beside them. One team
// per chunk of items, as on a CPU a workgroup costs as much as many items.

import package::common::item::{ Item, Wide };
import package::common::team::{ Place, THREADS, team_of };

@if(subgroups) enable subgroups;

struct Params {
  items: u32,
  chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> parameter: array<Item>;
@group(0) @binding(2) var<storage, read_write> first: array<Item>;
@group(0) @binding(3) var<storage, read_write> second: array<Item>;
@group(0) @binding(4) var<storage, read> gradient: array<Item>;
@group(0) @binding(5) var<storage, read> constants: array<f32>;
@group(0) @binding(6) var<storage, read> gradient_scale: array<f32>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let scale = gradient_scale[0];
  // By its bits: a compiler may assume that numbers are finite.
  if (scale == 0.0 || (bitcast<u32>(scale) & 0x7f800000u) == 0x7f800000u) {
    return;
  }
  let step_size = constants[0];
  let first_rate = constants[1];
  let beta2 = constants[2];
  let second_rate = constants[3];
  let root_correction = constants[4];
  let epsilon = constants[5];
  let decay = constants[6];
  let end = min((team.index + 1) * params.chunk, params.items);
  for (var i = team.index * params.chunk + team.lane; i < end; i += team.lanes) {
    var value = parameter[i];
    var g = gradient[i] * scale;
    @if(decoupled) {
      value *= decay;
    }
    @else {
      g += decay * value;
    }
    let moment = first[i] + (g - first[i]) * first_rate;
    let square = second[i] * beta2 + g * g * second_rate;
    first[i] = moment;
    second[i] = square;
    parameter[i] = value - step_size * (moment / (sqrt(square) / root_correction + Wide(epsilon)));
  }
}
