// The product of plain.wgsl without barriers, for adapters that run on the CPU.
//
// A workgroup is one subgroup and computes ROWS x COLUMNS outputs, all in its own registers. For each k a lane reads the
// left operand of its own row, one read for each LANES rows, and the right operand of its own columns; the rows' values
// go round the subgroup by subgroupShuffle, so that each lane multiplies all rows with its columns. That is
// ROWS + COLUMNS elements read for ROWS * COLUMNS multiply-adds. Reads are what costs here: lavapipe performs them lane
// by lane, with a test and a bound for each, at the price of about 17 multiply-adds for eight lanes; four columns in one
// read (@if(vectors)) come a little cheaper. Workgroup memory costs as much, and a barrier more. 16 x 32 and not more,
// and no unrolling over k, because larger code runs slower and takes long to compile.
//
// With four-lane subgroups (SwiftShader) the workgroup has four invocations.

@if(input_gradient) import package::convolution::input_gradient as operands;
@elif(weight_gradient) import package::convolution::weight_gradient as operands;
@elif(patches) import package::embedding::patch_embedding as operands;
@elif(patches_image_gradient) import package::embedding::patch_embedding_image_gradient as operands;
@elif(patches_weight_gradient) import package::embedding::patch_embedding_weight_gradient as operands;
@else import package::convolution::forward as operands;
import package::common::element::Element;
import package::convolution::span::{Span, covers};

@if(f16) enable f16;
enable subgroups;

@if(!slices) @group(0) @binding(6) var<storage, read_write> output: array<Element>;
// [slice, row, column], for sum_slices.wgsl.
@if(slices) @group(0) @binding(6) var<storage, read_write> partial: array<f32>;

@if(four_lanes) const LANES = 4u;
@else const LANES = 8u;
// Rows and columns in units of LANES; a lane has COLUMN_GROUPS neighbouring columns. Few columns leave room for more
// rows.
@if(narrow) const ROW_GROUPS = 4u;
@else const ROW_GROUPS = 2u;
@if(narrow) const COLUMN_GROUPS = 2u;
@else const COLUMN_GROUPS = 4u;
const ROWS = ROW_GROUPS * LANES;
const COLUMNS = COLUMN_GROUPS * LANES;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let tile = group.y * groups.x + group.x;
  let first_row = tile / operands::params.column_tiles * ROWS;
  let first_column = tile % operands::params.column_tiles * COLUMNS;
  let last_row = operands::params.rows - 1;
  let last_column = operands::params.columns - 1;

  // Beyond the edge the last row and column are computed again, and not stored.
  var origins: array<operands::Origin, ROW_GROUPS>;
  for (var g = 0u; g < ROW_GROUPS; g++) {
    origins[g] = operands::origin(min(first_row + g * LANES + lane, last_row));
  }
  let lane_column = first_column + lane * COLUMN_GROUPS;
  var right_columns: array<u32, COLUMN_GROUPS>;
  for (var c = 0u; c < COLUMN_GROUPS; c++) {
    right_columns[c] = operands::right_column(min(lane_column + c, last_column));
  }

  // Out of the loop: lavapipe reads even these lane by lane there.
  let left_step = operands::left_step();
  let right_step = operands::right_step();

  var sums: array<f32, ROWS * COLUMN_GROUPS>;
  let first_unit = group.z * operands::params.units_per_slice;
  let end_unit = min(first_unit + operands::params.units_per_slice, operands::params.units);
  for (var unit = first_unit; unit < end_unit; unit++) {
    let segment = unit / operands::params.chunks;
    let first = unit % operands::params.chunks * operands::params.chunk;
    let end = min(first + operands::params.chunk, operands::params.inner);
    var spans: array<Span, ROW_GROUPS>;
    for (var g = 0u; g < ROW_GROUPS; g++) {
      spans[g] = operands::span(origins[g], segment);
    }
    var right_row = operands::right_row(segment) + first * right_step;
    for (var k = first; k < end; k++) {
      var right: array<f32, COLUMN_GROUPS>;
      @if(vectors) {
        // Beyond the edge all four columns are the last one: in its group of four.
        let four = operands::right4(right_row + right_columns[0]);
        for (var c = 0u; c < COLUMN_GROUPS; c++) {
          right[c] = four[c];
        }
      }
      @else {
        for (var c = 0u; c < COLUMN_GROUPS; c++) {
          right[c] = operands::right(right_row + right_columns[c]);
        }
      }
      for (var g = 0u; g < ROW_GROUPS; g++) {
        let inside = covers(spans[g], k);
        let index = select(0, spans[g].start + i32(k * left_step), inside);
        let left = select(0.0, operands::left(u32(index)), inside);
        for (var row = 0u; row < LANES; row++) {
          let value = subgroupShuffle(left, row);
          for (var c = 0u; c < COLUMN_GROUPS; c++) {
            let i = (g * LANES + row) * COLUMN_GROUPS + c;
            sums[i] = fma(value, right[c], sums[i]);
          }
        }
      }
      right_row += right_step;
    }
  }

  // The end runs as a loop, over a copy of the sums: constant indices, which keep the sums themselves in registers, would
  // have it written out for every row, and the compiler would then spend most of its time here.
  var results: array<f32, ROWS * COLUMN_GROUPS>;
  for (var i = 0u; i < ROWS * COLUMN_GROUPS; i++) {
    results[i] = sums[i];
  }
  let end_row = min(first_row + ROWS, operands::params.rows);
  for (var row = first_row; row < end_row; row++) {
    for (var c = 0u; c < COLUMN_GROUPS; c++) {
      let column = lane_column + c;
      if (column <= last_column) {
        let sum = results[(row - first_row) * COLUMN_GROUPS + c];
        @if(slices) {
          partial[(group.z * operands::params.rows + row) * operands::params.columns + column] = sum;
        }
        @else {
          let value = operands::finish(sum + operands::column_term(column), row, column);
          output[operands::output_index(row, column)] = Element(value);
        }
      }
    }
  }
}
