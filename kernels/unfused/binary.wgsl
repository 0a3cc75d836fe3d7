// One step of an unfused chain on two tensors of one size; `binaryKinds` in src/bench/fusion/steps.ts gives the numbers:
//
//   add: x + factor y   multiply: factor x y   divide: x / y   interpolate: x + factor (y - x)
//
// One team per chunk of items, as in optimizer/adam.wgsl.

import package::common::item::{ Item, Wide };
import package::common::team::{ Place, THREADS, team_of };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

const ADD = 0u;
const MULTIPLY = 1u;
const DIVIDE = 2u;
const INTERPOLATE = 3u;

struct Params {
  items: u32,
  chunk: u32,
  kind: u32,
  factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Item>;
@group(0) @binding(2) var<storage, read> y: array<Item>;
@group(0) @binding(3) var<storage, read_write> output: array<Item>;

fn binary(left: Wide, right: Wide) -> Wide {
  switch params.kind {
    case MULTIPLY: {
      return params.factor * left * right;
    }
    case DIVIDE: {
      return left / right;
    }
    case INTERPOLATE: {
      return left + params.factor * (right - left);
    }
    default: {
      return left + params.factor * right;
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let end = min((team.index + 1) * params.chunk, params.items);
  for (var i = team.index * params.chunk + team.lane; i < end; i += team.lanes) {
    output[i] = Item(binary(Wide(x[i]), Wide(y[i])));
  }
}
