// The patches' gradient of cosine_softmax: per patch, with the factors that the forward pass left,
//
//   patch_gradient = output_gradient * scale * (direction - shrink * patch)
//
//   patches, patch_gradient  [batch, patches, width]
//   output_gradient          [batch, patches], f32
//   derivative               [batch, patches, 2], f32  scale, shrink
//   direction                [text batch, width], f32  of cosine_direction; text batch is batch or 1
//
// One invocation per item and chunk of patches: items along x of the dispatch (neighbours read neighbours), chunks along
// y, images along z. The chunk spreads the cost of finding the place, several times that of the sums on a CPU adapter.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  patches: u32,
  // Of one row.
  items: u32,
  text_batch: u32,
  chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> patches: array<Item>;
@group(0) @binding(2) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(3) var<storage, read> derivative: array<f32>;
@group(0) @binding(4) var<storage, read> direction: array<Wide>;
@group(0) @binding(5) var<storage, read_write> patch_gradient: array<Item>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = group.x * THREADS + thread;
  if (i >= params.items) {
    return;
  }
  let towards = direction[group.z % params.text_batch * params.items + i];
  let first = group.y * params.chunk;
  let last = min(first + params.chunk, params.patches);
  for (var row = group.z * params.patches + first; row < group.z * params.patches + last; row++) {
    let factor = output_gradient[row] * derivative[2 * row];
    let at = row * params.items + i;
    patch_gradient[at] = Item(factor * (towards - derivative[2 * row + 1] * Wide(patches[at])));
  }
}
