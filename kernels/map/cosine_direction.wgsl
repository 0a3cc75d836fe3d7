// direction = a/|a| - n/|n| of each pair of texts: the way from the normal to the abnormal one, along which a patch's
// gradient points (module cosine).
//
//   text       [text batch, 2, width]     row 0 normal, row 1 abnormal
//   direction  [text batch, width], f32
//
// One team per pair, which reads its two rows twice: first for their lengths, then for the quotients.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum4 };
import package::map::cosine::inverse_length;

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  text_batch: u32,
  items: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> text: array<Item>;
@group(0) @binding(2) var<storage, read_write> direction: array<Wide>;

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let pair = min(team.index, params.text_batch - 1);
  let normal_start = pair * 2 * params.items;
  let abnormal_start = normal_start + params.items;
  var own = vec2f();
  for (var i = team.lane; i < params.items; i += team.lanes) {
    let normal = Wide(text[normal_start + i]);
    let abnormal = Wide(text[abnormal_start + i]);
    own += vec2f(item_sum(normal * normal), item_sum(abnormal * abnormal));
  }
  let squares = team_sum4(vec4f(own, 0.0, 0.0), team).xy;
  let normal_inverse = inverse_length(squares.x);
  let abnormal_inverse = inverse_length(squares.y);
  if (team.index < params.text_batch) {
    for (var i = team.lane; i < params.items; i += team.lanes) {
      direction[pair * params.items + i] = Wide(text[abnormal_start + i]) * abnormal_inverse - Wide(text[normal_start + i]) * normal_inverse;
    }
  }
}
