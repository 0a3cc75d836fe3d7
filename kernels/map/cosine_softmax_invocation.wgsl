// Abnormal probability of each patch: softmax over {normal, abnormal} of temperature * cosine similarity with the two
// text features (MFP-CLIP, equation 11).
//
//   patches      [batch, patches, width]
//   text         [text batch, 2, width]       row 0 normal, row 1 abnormal; text batch is batch or 1
//   probability  [batch, patches], f32
//   derivative   [batch, patches, 2], f32     scale and shrink of the module cosine, for the backward pass
//
// One invocation per patch: on a CPU adapter the lanes of a vector register walk down as many patches side by side, and
// nothing has to be summed across them. Every invocation sums the texts' lengths again; those loads are the same for the
// whole subgroup. On a GPU the patches' loads do not coalesce: cosine_softmax, with a team per patch, is for those.

import package::common::item::{ Item, Wide, item_sum };
import package::map::cosine::abnormality;

@if(f16) enable f16;

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

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let patch_index = (group.y * groups.x + group.x) * THREADS + thread;
  if (patch_index >= params.size) {
    return;
  }
  let start = patch_index * params.items;
  let normal_start = patch_index / params.patches % params.text_batch * 2 * params.items;
  let abnormal_start = normal_start + params.items;
  var along = vec3f();
  var squares = vec2f();
  for (var i = 0u; i < params.items; i++) {
    let x = Wide(patches[start + i]);
    let normal = Wide(text[normal_start + i]);
    let abnormal = Wide(text[abnormal_start + i]);
    along += vec3f(item_sum(x * normal), item_sum(x * abnormal), item_sum(x * x));
    squares += vec2f(item_sum(normal * normal), item_sum(abnormal * abnormal));
  }
  let result = abnormality(along, squares, params.temperature);
  probability[patch_index] = result.probability;
  derivative[2 * patch_index] = result.scale;
  derivative[2 * patch_index + 1] = result.shrink;
}
