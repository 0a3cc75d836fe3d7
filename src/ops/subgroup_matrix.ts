import type { Gpu } from '../gpu/device.ts';
import { type DType, dtypeBytes } from '../tensor/dtype.ts';

/** What kernels/common/subgroup_matrix.wgsl is compiled for on an adapter. */
export interface MatrixUnits {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  /** Bytes of an element of the factors. */
  readonly bytes: number;
  readonly conditions: Readonly<Record<string, boolean>>;
}

/** LANES of kernels/common/subgroup_matrix.wgsl. */
const lanes = 32;
/** SUBGROUPS there: subgroups of a workgroup. */
export const subgroups = 4;
/** Bytes behind each line of a tile there (PAD). */
export const padBytes = 16;

/**
 * The product of the adapter's matrix units for operands stored in a type, undefined where it has none that the kernels are
 * written for: sums in f32, sides of 8 and 16, and subgroups of 32 lanes and no other size (NVIDIA, Apple). Where the size
 * varies (AMD, Intel), which one the matrices need is not told, and a wrong one would fail when the kernel is compiled.
 *
 * f16 operands are multiplied as f16, where that sums up in f32, else as f32. f32 operands are never rounded to f16.
 */
export function matrixUnits({ adapter }: Pick<Gpu, 'adapter'>, dtype: DType): MatrixUnits | undefined {
  const { matrixConfigs, subgroupMinSize, subgroupMaxSize } = adapter;
  if (subgroupMinSize !== lanes || subgroupMaxSize !== lanes) return undefined;
  const fitting = matrixConfigs.filter(({ resultComponentType, M, N, K }) => resultComponentType === 'f32' && [M, N, K].every((side) => side === 8 || side === 16));
  const config = fitting.find(({ componentType }) => componentType === dtype) ?? fitting.find(({ componentType }) => componentType === 'f32');
  if (!config) return undefined;
  const { componentType, M, N, K } = config;
  return {
    M,
    N,
    K,
    bytes: dtypeBytes[componentType as 'f32' | 'f16'],
    conditions: { matrix_f16: componentType === 'f16', matrix_rows_16: M === 16, matrix_columns_16: N === 16, matrix_depth_16: K === 16 },
  };
}
