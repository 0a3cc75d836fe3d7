// A convolution, a gradient of one, or a patch embedding as one matrix product whose left operand is never laid out in
// memory (implicit GEMM): the plain version, one invocation per output element. tiled.wgsl and subgroup.wgsl compute the
// same faster.
//
//   output[row, column] = finish(column_term + sum over segment and k of left[row, segment, k] * right[segment, k, column])
//
// What rows, columns and the sum are is in the operands' own modules: forward.wgsl, input_gradient.wgsl and
// weight_gradient.wgsl here, patch_embedding*.wgsl for patches. Each gives
//
//   Params            rows, columns; `inner`, the values of k in one segment; how the sum is cut: each segment into
//                     `chunks` of `chunk` values of k, these `units` into slices of `units_per_slice` for tiled.wgsl and
//                     subgroup.wgsl; the sizes of its own tensors
//   origin(row)       what is the same for a row's whole sum
//   span(origin, segment), left_step(), left(index)
//                     the left operand: in each segment k walks the memory in equal steps, inside a range (span.wgsl)
//   right_row(segment) + k * right_step() + right_column(column), right(index)
//                     the right operand; right4(index) gives four columns where `columns` divides by four, @if(vectors)
//   column_term(column), finish(sum, row, column), output_index(row, column)
//                     what is added to the sum, what then happens to it, and where it goes
//   LEFT_ALONG_ROWS   whether neighbours in memory are neighbouring rows of the left operand, or successive k

@if(input_gradient) import package::convolution::input_gradient as operands;
@elif(weight_gradient) import package::convolution::weight_gradient as operands;
@elif(patches) import package::embedding::patch_embedding as operands;
@elif(patches_image_gradient) import package::embedding::patch_embedding_image_gradient as operands;
@elif(patches_weight_gradient) import package::embedding::patch_embedding_weight_gradient as operands;
@else import package::convolution::forward as operands;
import package::common::element::Element;
import package::convolution::span::covers;

@if(f16) enable f16;

@group(0) @binding(6) var<storage, read_write> output: array<Element>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * THREADS + thread;
  if (i >= operands::params.rows * operands::params.columns) {
    return;
  }
  let row = i / operands::params.columns;
  let column = i % operands::params.columns;
  let origin = operands::origin(row);
  let right_column = operands::right_column(column);
  var sum = 0.0;
  for (var unit = 0u; unit < operands::params.units; unit++) {
    let segment = unit / operands::params.chunks;
    let first = unit % operands::params.chunks * operands::params.chunk;
    let end = min(first + operands::params.chunk, operands::params.inner);
    let span = operands::span(origin, segment);
    let right_start = operands::right_row(segment) + right_column;
    for (var k = first; k < end; k++) {
      if (covers(span, k)) {
        let left = operands::left(u32(span.start + i32(k * operands::left_step())));
        sum += left * operands::right(right_start + k * operands::right_step());
      }
    }
  }
  output[operands::output_index(row, column)] = Element(operands::finish(operands::column_term(column) + sum, row, column));
}
