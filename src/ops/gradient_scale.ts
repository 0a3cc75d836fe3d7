import { bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { preferredTeams, teamVariants } from './teams.ts';

export const gradientScaleOp = defineOp<Record<string, never>>({
  name: 'gradient_scale',
  inputNames: ['norms', 'limits'],
  outputs(inputs) {
    const [norms, limits] = inputs;
    if (norms!.dtype !== 'f32' || limits!.dtype !== 'f32' || sizeOf(limits!.shape) !== 2) throw shapeError(gradientScaleOp, inputs, 'norms must be f32 and limits f32[2]');
    return [{ shape: [3], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [norms, limits], outputs: [output] }, teams) => [
    {
      kernel: 'optimizer/gradient_scale',
      conditions: teams.conditions,
      constants: teams.constants,
      bindings: { norms: norms!, limits: limits!, output },
      params: { count: norms!.size },
      workgroups: [1],
    },
  ]),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['parameters'],
    small: [[37], [1], [300]],
    case: (parameters) => ({ inputs: [f32(parameters), f32(2)], attributes: {} }),
  },
  benchCases: [{ name: '32 parameters', inputs: [{ shape: [32], dtype: 'f32' }, { shape: [2], dtype: 'f32' }], attributes: {} }],
});

/**
 * The factor that undoes the loss scale and clips the gradient of all parameters together
 * (torch.nn.utils.clip_grad_norm_): 1 / lossScale * min(1, largest / (norm + 1e-6)), norm being that without the loss scale.
 *
 * @param norms f32[parameters], squared norms from `sumSquares`
 * @param limits f32[2]: loss scale, and largest norm or 0 for no clipping
 * @returns f32[3]: the factor, the norm before clipping, and 1, or factor and 1 replaced by 0 when the norm is not finite
 */
export function gradientScale(norms: Tensor, limits: Tensor): Tensor {
  return apply(gradientScaleOp, [norms, limits], {})[0];
}
