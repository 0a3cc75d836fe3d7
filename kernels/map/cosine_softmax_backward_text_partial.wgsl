// First stage of the texts' gradient of cosine_softmax: the gradient of a/|a| (and, negated, of n/|n|) is
//
//   v = sum over the patches that the text meets of output_gradient * scale * patch
//
// of which every chunk of CHUNK patches gets its own part here, to be added in order by cosine_softmax_backward_text.
//
//   patches          [text batch, rows, width]       rows: all patches of all images that share the text
//   output_gradient  [text batch, rows], f32
//   derivative       [text batch, rows, 2], f32      scale, shrink
//   partial          [text batch, chunks, width], f32
//
// One invocation per chunk and item: items along x of the dispatch (neighbours read neighbours), chunks along y,
// texts along z. The chunks are there to have enough invocations: a text has fewer items than a GPU has lanes.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  rows: u32,
  items: u32,
  chunk: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> patches: array<Item>;
@group(0) @binding(2) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(3) var<storage, read> derivative: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial: array<Wide>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = group.x * THREADS + thread;
  if (i >= params.items) {
    return;
  }
  let first = group.y * params.chunk;
  let last = min(first + params.chunk, params.rows);
  var sum = Wide();
  for (var row = first; row < last; row++) {
    let at = group.z * params.rows + row;
    sum += output_gradient[at] * derivative[2 * at] * Wide(patches[at * params.items + i]);
  }
  partial[(group.z * groups.y + group.y) * params.items + i] = sum;
}
