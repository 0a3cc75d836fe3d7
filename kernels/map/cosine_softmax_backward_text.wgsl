// Second stage of the texts' gradient of cosine_softmax. v is the sum of the chunks' parts, and then, as the quotients
// n/|n| and a/|a| change with n and a only across their own directions,
//
//   abnormal_gradient = (v - a (a.v)/|a|²) / |a|        normal_gradient = -(v - n (n.v)/|n|²) / |n|
//
//   text           [text batch, 2, width]               row 0 normal, row 1 abnormal
//   partial        [text batch, chunks, width], f32     on return, chunk 0 holds v
//   text_gradient  [text batch, 2, width]
//
// One team per text. Each invocation adds up v for its own items, chunk by chunk, and keeps it in chunk 0, which no other
// invocation reads.

import package::common::item::{ Item, Wide, item_sum };
import package::common::team::{ Place, THREADS, team_of, team_sum4 };
import package::map::cosine::{ EPSILON, inverse_length };

@if(f16) enable f16;
@if(subgroups) enable subgroups;

struct Params {
  text_batch: u32,
  items: u32,
  chunks: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> text: array<Item>;
@group(0) @binding(2) var<storage, read_write> partial: array<Wide>;
@group(0) @binding(3) var<storage, read_write> text_gradient: array<Item>;

// (x.v)/|x|², the part of v that only lengthens x; nothing where |x| counts as the least length, whatever x is.
fn lengthening(product: f32, squares: f32) -> f32 {
  return select(0.0, product / squares, squares > EPSILON * EPSILON);
}

@compute @workgroup_size(THREADS)
fn main(place: Place) {
  let team = team_of(place);
  let works = team.index < params.text_batch;
  let normal_start = min(team.index, params.text_batch - 1) * 2 * params.items;
  let abnormal_start = normal_start + params.items;
  let partial_start = team.index * params.chunks * params.items;
  var own = vec4f();
  if (works) {
    for (var i = team.lane; i < params.items; i += team.lanes) {
      var v = Wide();
      for (var chunk = 0u; chunk < params.chunks; chunk++) {
        v += partial[partial_start + chunk * params.items + i];
      }
      partial[partial_start + i] = v;
      let normal = Wide(text[normal_start + i]);
      let abnormal = Wide(text[abnormal_start + i]);
      own += vec4f(item_sum(normal * v), item_sum(normal * normal), item_sum(abnormal * v), item_sum(abnormal * abnormal));
    }
  }
  let sums = team_sum4(own, team);
  if (works) {
    let normal_part = lengthening(sums.x, sums.y);
    let normal_inverse = inverse_length(sums.y);
    let abnormal_part = lengthening(sums.z, sums.w);
    let abnormal_inverse = inverse_length(sums.w);
    for (var i = team.lane; i < params.items; i += team.lanes) {
      let v = partial[partial_start + i];
      text_gradient[normal_start + i] = Item((Wide(text[normal_start + i]) * normal_part - v) * normal_inverse);
      text_gradient[abnormal_start + i] = Item((v - Wide(text[abnormal_start + i]) * abnormal_part) * abnormal_inverse);
    }
  }
}
