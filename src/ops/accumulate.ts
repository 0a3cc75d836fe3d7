import { bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { chunksOf, preferredTeams, teamVariants } from './teams.ts';

export const accumulateOp = defineOp<Record<string, never>>({
  name: 'accumulate',
  inputNames: ['accumulated', 'gradient'],
  outputs(inputs) {
    const [accumulated, gradient] = inputs;
    if (accumulated!.dtype !== 'f32' || gradient!.dtype !== 'f32' || sizeOf(accumulated!.shape) !== sizeOf(gradient!.shape)) {
      throw shapeError(accumulateOp, inputs, 'both must be f32 of one size');
    }
    return [];
  },
  variants: teamVariants(({ inputs: [accumulated, gradient] }, teams) => {
    const { vectors, items, chunk, chunks } = chunksOf(gradient!.size);
    return [
      {
        kernel: 'optimizer/accumulate',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { accumulated: accumulated!, gradient: gradient! },
        params: { items, chunk },
        workgroups: teams.workgroups(chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: ([accumulated, gradient]) => ({ flops: sizeOf(gradient!.shape), bytes: bytesOfTypes(accumulated, gradient, accumulated) }),
  shapeClass: ([accumulated]) => `${sizeClass(sizeOf(accumulated!.shape))}`,
  sizes: {
    names: ['elements'],
    small: [[517], [1], [1028]],
    case: (size) => ({ inputs: [f32(size), f32(size)], attributes: {} }),
  },
  benchCases: [{ name: 'ViT-L/14 mask prompt fusion', inputs: [{ shape: [1024, 2048], dtype: 'f32' }, { shape: [1024, 2048], dtype: 'f32' }], attributes: {} }],
});

/**
 * Adds a gradient to what was accumulated, in place.
 *
 * @param accumulated persistent f32[...], read and written
 * @param gradient f32 of the same size
 */
export function accumulate(accumulated: Tensor, gradient: Tensor): void {
  apply(accumulateOp, [accumulated, gradient], {});
}
