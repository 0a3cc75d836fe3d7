// Abnormal probability of each patch: softmax over {normal, abnormal} of temperature * cosine similarity with the two
// text features (MFP-CLIP, equation 11).
//
//   patches      [batch, patches, width]
//   text         [text batch, 2, width]       row 0 normal, row 1 abnormal; text batch is batch or 1
//   probability  [batch, patches], f32
//   derivative   [batch, patches, 2], f32     scale and shrink of the module cosine, for the backward pass
//
// One team per patch. Its invocations stride over the width, so that neighbours read neighbours, and each adds up five
// products: the patch with both texts and with itself, and the texts with themselves. The texts come from the cache for
// all but the first patches, so summing their lengths again costs less than a dispatch for them would.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum4 };
import package::map::cosine::abnormality;

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  // batch * patches
  size: u32,
  patches: u32,
  // Of one row.
  items: u32,
  text_batch: u32,
  temperature: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> patches: array<Item>;
@group(0) @binding(2) var<storage, read> text: array<Item>;
@group(0) @binding(3) var<storage, read_write> probability: array<f32>;
@group(0) @binding(4) var<storage, read_write> derivative: array<f32>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let patch_index = min(team.index, params.size - 1);
  let start = patch_index * params.items;
  let normal_start = patch_index / params.patches % params.text_batch * 2 * params.items;
  let abnormal_start = normal_start + params.items;
  var along = vec3f();
  var squares = vec2f();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    let x = Wide(patches[start + i]);
    let normal = Wide(text[normal_start + i]);
    let abnormal = Wide(text[abnormal_start + i]);
    along += vec3f(item_sum(x * normal), item_sum(x * abnormal), item_sum(x * x));
    squares += vec2f(item_sum(normal * normal), item_sum(abnormal * abnormal));
  }
  let along_sum = team_sum4(vec4f(along, 0.0), team).xyz;
  let square_sum = team_sum4(vec4f(squares, 0.0, 0.0), team).xy;
  if (team.lane == 0 && team.index < params.size) {
    let result = abnormality(along_sum, square_sum, params.temperature);
    probability[patch_index] = result.probability;
    derivative[2 * patch_index] = result.scale;
    derivative[2 * patch_index + 1] = result.shrink;
  }
}
