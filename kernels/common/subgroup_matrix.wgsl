// The matrices that the adapter's matrix units (tensor cores, simdgroup matrices) multiply for a subgroup at once:
//
//   result [M, N] += left [M, K] right [K, N]
//
// Their sizes and the type of the factors are the conditions matrix_*, which name one of the configurations that the adapter
// lists (src/ops/subgroup_matrix.ts picks it). Results are f32 in any case. No invocation can see an element of these
// matrices: they are loaded from workgroup memory, multiplied, and stored there again. The kernels copy their operands into
// workgroup memory first, which is also where they are converted and where zeros stand for what lies past an edge.
//
// The arrays in workgroup memory are arrays of scalars, because offset and stride of a load count elements of the array in
// some versions of Dawn and of the matrix in others. A line of a tile is followed by PAD elements: that many bytes keep the
// 16 byte alignment that Vulkan asks of a line, and put neighbouring lines into different banks.
//
// All invocations of a subgroup must reach a matrix call together and with the same place, which Dawn proves: places depend on
// nothing but constants, parameters, the workgroup and @builtin(subgroup_id).

import dawn::{subgroup_matrix_left, subgroup_matrix_right, subgroup_matrix_result};

@if(matrix_rows_16) const M = 16u;
@else const M = 8u;
@if(matrix_columns_16) const N = 16u;
@else const N = 8u;
@if(matrix_depth_16) const K = 16u;
@else const K = 8u;
@if(matrix_f16) alias Component = f16;
@else alias Component = f32;
@if(matrix_f16) const PAD = 8u;
@else const PAD = 4u;

alias Left = subgroup_matrix_left<Component, K, M>;
alias Right = subgroup_matrix_right<Component, N, K>;
alias Result = subgroup_matrix_result<f32, N, M>;

// The subgroup size that these kernels are for, and how many subgroups a workgroup has.
const LANES = 32u;
const SUBGROUPS = 4u;
const THREADS = SUBGROUPS * LANES;
