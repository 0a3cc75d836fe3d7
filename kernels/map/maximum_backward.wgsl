// The gradient of maximum: the row's output gradient, in equal parts to every element that is the largest (torch.amax),
// zeros elsewhere.
//
//   input, input_gradient            [rows, width]
//   maximum, ties, output_gradient   [rows], f32     ties: how many elements of the row are the largest
//
// One invocation per item, rows along z of the dispatch.

import package::common::item::{ Item, Wide };

@if(f16) enable f16;

struct Params {
  // Of one row.
  items: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Item>;
@group(0) @binding(2) var<storage, read> maximum: array<f32>;
@group(0) @binding(3) var<storage, read> ties: array<f32>;
@group(0) @binding(4) var<storage, read> output_gradient: array<f32>;
@group(0) @binding(5) var<storage, read_write> input_gradient: array<Item>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= params.items) {
    return;
  }
  let row = group.z;
  let at = row * params.items + i;
  let share = output_gradient[row] / ties[row];
  input_gradient[at] = Item(select(Wide(), Wide(share), Wide(input[at]) == Wide(maximum[row])));
}
