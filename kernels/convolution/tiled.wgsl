// The product of plain.wgsl on tiles in workgroup memory, for GPUs.
//
// A workgroup of 16 x 16 invocations computes TILE_ROWS x 64 outputs, each invocation 4 columns of QUADS x 4 rows. The sum is
// cut into steps of DEPTH values of k: the workgroup copies DEPTH x TILE_ROWS elements of the left operand and DEPTH x 64 of
// the right one to workgroup memory, in f32, then every invocation reads QUADS + 1 vectors of four for QUADS * 16
// multiply-adds, UNROLL values of k at a time, which is also how finely a last, shorter step is rounded up. Each
// invocation copies four rows (or columns) of one k, so that it stores a vector, and the invocations are laid over the
// operand in the direction in which its neighbours are neighbours in memory. The vectors of one k are one longer than
// the tile needs: invocations that copy consecutive k would otherwise meet in the same memory banks.
//
// 64 rows of small maps already leave GPUs short of workgroups, so @if(tall) doubles the rows where there are many, and
// a long sum over few tiles is cut into slices (@if(slices)), which sum_slices.wgsl adds up.

@if(input_gradient) import package::convolution::input_gradient as operands;
@elif(weight_gradient) import package::convolution::weight_gradient as operands;
@elif(patches) import package::embedding::patch_embedding as operands;
@elif(patches_image_gradient) import package::embedding::patch_embedding_image_gradient as operands;
@elif(patches_weight_gradient) import package::embedding::patch_embedding_weight_gradient as operands;
@else import package::convolution::forward as operands;
import package::common::element::Element;
import package::convolution::span::{Span, covers};

@if(f16) enable f16;

@if(!slices) @group(0) @binding(6) var<storage, read_write> output: array<Element>;
// [slice, row, column], for sum_slices.wgsl.
@if(slices) @group(0) @binding(6) var<storage, read_write> partial: array<f32>;

const SIDE = 16u;
// As long as the side, so that each invocation has one vector of each operand to copy.
const DEPTH = SIDE;
const UNROLL = 4u;
@if(tall) const QUADS = 2u;
@else const QUADS = 1u;
const TILE_ROWS = QUADS * 4 * SIDE;
const TILE_COLUMNS = 4 * SIDE;
const LEFT_PITCH = QUADS * SIDE + 1;
const RIGHT_PITCH = SIDE + 1;

var<workgroup> left_tile: array<vec4f, DEPTH * LEFT_PITCH>;
var<workgroup> right_tile: array<vec4f, DEPTH * RIGHT_PITCH>;

@compute @workgroup_size(SIDE, SIDE)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_id) local: vec3u,
) {
  let tile = group.y * groups.x + group.x;
  let first_row = tile / operands::params.column_tiles * TILE_ROWS;
  let first_column = tile % operands::params.column_tiles * TILE_COLUMNS;
  let last_row = operands::params.rows - 1;
  let last_column = operands::params.columns - 1;

  // Which k and which four rows and columns this invocation copies.
  let left_k = select(local.x, local.y, operands::LEFT_ALONG_ROWS);
  let left_quad = select(local.y, local.x, operands::LEFT_ALONG_ROWS);
  let right_k = local.y;
  let right_quad = local.x;

  // Beyond the edge the last row and column are computed again, and not stored.
  var origins: array<operands::Origin, QUADS * 4>;
  for (var q = 0u; q < QUADS; q++) {
    for (var i = 0u; i < 4; i++) {
      origins[q * 4 + i] = operands::origin(min(first_row + (q * SIDE + left_quad) * 4 + i, last_row));
    }
  }
  var right_columns: array<u32, 4>;
  for (var i = 0u; i < 4; i++) {
    right_columns[i] = operands::right_column(min(first_column + right_quad * 4 + i, last_column));
  }

  let left_step = operands::left_step();
  let right_step = operands::right_step();
  var sums: array<vec4f, QUADS * 4>;
  let first_unit = group.z * operands::params.units_per_slice;
  let end_unit = min(first_unit + operands::params.units_per_slice, operands::params.units);
  for (var unit = first_unit; unit < end_unit; unit++) {
    let segment = unit / operands::params.chunks;
    let first = unit % operands::params.chunks * operands::params.chunk;
    let end = min(first + operands::params.chunk, operands::params.inner);
    var spans: array<Span, QUADS * 4>;
    for (var i = 0u; i < QUADS * 4; i++) {
      spans[i] = operands::span(origins[i], segment);
    }
    let right_row = operands::right_row(segment);
    for (var step = first; step < end; step += DEPTH) {
      for (var q = 0u; q < QUADS; q++) {
        let k = step + left_k;
        var values = vec4f();
        if (k < end) {
          for (var i = 0u; i < 4; i++) {
            let span = spans[q * 4 + i];
            if (covers(span, k)) {
              values[i] = operands::left(u32(span.start + i32(k * left_step)));
            }
          }
        }
        left_tile[left_k * LEFT_PITCH + q * SIDE + left_quad] = values;
      }
      {
        let k = step + right_k;
        var values = vec4f();
        if (k < end) {
          @if(vectors) {
            values = operands::right4(right_row + k * right_step + right_columns[0]);
          }
          @else {
            for (var i = 0u; i < 4; i++) {
              values[i] = operands::right(right_row + k * right_step + right_columns[i]);
            }
          }
        }
        right_tile[right_k * RIGHT_PITCH + right_quad] = values;
      }
      workgroupBarrier();
      let steps = min(DEPTH, end - step);
      for (var first_k = 0u; first_k < steps; first_k += UNROLL) {
        for (var k = first_k; k < first_k + UNROLL; k++) {
          let right = right_tile[k * RIGHT_PITCH + local.x];
          for (var q = 0u; q < QUADS; q++) {
            let left = left_tile[k * LEFT_PITCH + q * SIDE + local.y];
            for (var i = 0u; i < 4; i++) {
              sums[q * 4 + i] = fma(vec4f(left[i]), right, sums[q * 4 + i]);
            }
          }
        }
      }
      workgroupBarrier();
    }
  }

  // The rows of this invocation in a loop that moves the sums up by one each time, which keeps the code short.
  let first_column_here = first_column + local.x * 4;
  var row = first_row + local.y * 4;
  for (var i = 0u; i < QUADS * 4 && row <= last_row; i++) {
    for (var c = 0u; c < 4; c++) {
      let column = first_column_here + c;
      if (column <= last_column) {
        @if(slices) {
          partial[(group.z * operands::params.rows + row) * operands::params.columns + column] = sums[0][c];
        }
        @else {
          let value = operands::finish(sums[0][c] + operands::column_term(column), row, column);
          output[operands::output_index(row, column)] = Element(value);
        }
      }
    }
    for (var next = 1u; next < QUADS * 4; next++) {
      sums[next - 1] = sums[next];
    }
    row += select(1, 4 * SIDE - 3, i % 4 == 3);
  }
}
