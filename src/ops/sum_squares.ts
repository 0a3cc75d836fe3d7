import { type KernelCall, bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { chunksOf, preferredTeams, teamVariants } from './teams.ts';

interface SumSquaresAttributes {
  readonly index: number;
}

export const sumSquaresOp = defineOp<SumSquaresAttributes>({
  name: 'sum_squares',
  inputNames: ['gradient', 'norms'],
  outputs(inputs, { index }) {
    const [gradient, norms] = inputs;
    if (gradient!.dtype !== 'f32' || norms!.dtype !== 'f32' || !(index >= 0 && index < sizeOf(norms!.shape))) {
      throw shapeError(sumSquaresOp, inputs, `gradient and norms must be f32 and norms have a place ${index}`);
    }
    return [];
  },
  variants: teamVariants(({ inputs: [gradient, norms], attributes: { index }, scratch }, teams): KernelCall[] => {
    const { vectors, items, chunk, chunks } = chunksOf(gradient!.size);
    const partial = scratch([chunks], 'f32');
    return [
      {
        kernel: 'optimizer/sum_squares',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { gradient: gradient!, partial },
        params: { items, chunk, chunks },
        workgroups: teams.workgroups(chunks),
      },
      {
        kernel: 'optimizer/sum_squares_total',
        conditions: teams.conditions,
        constants: teams.constants,
        bindings: { partial, norms: norms! },
        params: { count: chunks, index },
        workgroups: [1],
      },
    ];
  }),
  preferred: preferredTeams,
  cost: ([gradient]) => ({ flops: 2 * sizeOf(gradient!.shape), bytes: bytesOfTypes(gradient) + 4 }),
  shapeClass: ([gradient]) => `${sizeClass(sizeOf(gradient!.shape))}`,
  sizes: {
    names: ['elements'],
    small: [[517], [1], [1028]],
    case: (size) => ({ inputs: [f32(size), f32(1)], attributes: { index: 0 } }),
  },
  benchCases: [{ name: 'ViT-L/14 mask prompt fusion', inputs: [{ shape: [1024, 2048], dtype: 'f32' }, { shape: [32], dtype: 'f32' }], attributes: { index: 3 } }],
});

/**
 * Writes the sum of a tensor's squares to norms[index], in place; always added in the same order.
 *
 * @param gradient f32[...]
 * @param norms persistent f32[tensors], of which one number is written
 */
export function sumSquares(gradient: Tensor, norms: Tensor, index: number): void {
  apply(sumSquaresOp, [gradient, norms], { index });
}
