// output[o, s, c] = sum of input[o, r, c] over the rows r of slice s: what a tensor that every row used gets as its gradient
// (a bias, prompts shared by a batch).
//
//   input   [outer, rows, width]
//   output  [outer, slices, width]   a slice is slice_rows rows, the last one perhaps fewer
//
// One invocation per column of a slice, so that neighbours read neighbours; rows are added in order, so the sum is always the
// same. With one slice these are the sums. A GPU is left idle by a few long columns: there many slices are summed first, and
// then, as rows of one slice, their sums, which are kept in f32 (@if(input_f16), output_f16: which of both is f16).

@if(input_f16 || output_f16) enable f16;

struct Params {
  size: u32,
  rows: u32,
  width: u32,
  slices: u32,
  slice_rows: u32,
}

@if(input_f16) alias Input = f16;
@if(!input_f16) alias Input = f32;
@if(output_f16) alias Output = f16;
@if(!output_f16) alias Output = f32;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Input>;
@group(0) @binding(2) var<storage, read_write> output: array<Output>;

override THREADS: u32 = 64;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * THREADS + id.x;
  if (i >= params.size) {
    return;
  }
  let column = i % params.width;
  let slice = i / params.width % params.slices;
  let outer = i / params.width / params.slices;
  let first = slice * params.slice_rows;
  let end = min(first + params.slice_rows, params.rows);
  var sum = 0.0;
  for (var row = first; row < end; row++) {
    sum += f32(input[(outer * params.rows + row) * params.width + column]);
  }
  output[i] = Output(sum);
}
