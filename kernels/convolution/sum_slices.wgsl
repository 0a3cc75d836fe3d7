// The second stage of a product whose sum was cut into slices (tiled.wgsl, subgroup.wgsl):
//   output[row, column] = finish(column_term + sum over slice of partial[slice, row, column])
// One invocation per output element; slices are added in order, so the sum is always the same.

@if(input_gradient) import package::convolution::input_gradient as operands;
@elif(weight_gradient) import package::convolution::weight_gradient as operands;
@elif(patches) import package::embedding::patch_embedding as operands;
@elif(patches_image_gradient) import package::embedding::patch_embedding_image_gradient as operands;
@elif(patches_weight_gradient) import package::embedding::patch_embedding_weight_gradient as operands;
@else import package::convolution::forward as operands;
import package::common::element::Element;

@if(f16) enable f16;

@group(0) @binding(6) var<storage, read_write> output: array<Element>;
@group(0) @binding(7) var<storage, read> partial: array<f32>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  let size = operands::params.rows * operands::params.columns;
  if (i >= size) {
    return;
  }
  let slices = (operands::params.units + operands::params.units_per_slice - 1) / operands::params.units_per_slice;
  let row = i / operands::params.columns;
  let column = i % operands::params.columns;
  var sum = operands::column_term(column);
  for (var slice = 0u; slice < slices; slice++) {
    sum += partial[slice * size + i];
  }
  output[operands::output_index(row, column)] = Element(operands::finish(sum, row, column));
}
