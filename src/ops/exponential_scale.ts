import { type KernelCall, bytesOfTypes, defineOp, f32, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { chunksOf, preferredTeams, teamVariants } from './teams.ts';
import { checkTypes } from './types.ts';

export const exponentialScaleOp = defineOp<Record<string, never>>({
  name: 'exponential_scale',
  inputNames: ['input', 'log scale'],
  outputs(inputs) {
    const [input, logScale] = inputs;
    if (input!.dtype !== 'f32' || logScale!.dtype !== 'f32' || sizeOf(logScale!.shape) !== 1) {
      throw shapeError(exponentialScaleOp, inputs, 'input must be f32 and log scale f32[1]');
    }
    return [{ shape: input!.shape, dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [input, logScale], outputs: [output] }, teams) => {
    const { vectors, items, chunk, chunks } = chunksOf(output.size);
    return [
      {
        kernel: 'loss/exponential_scale',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, log_scale: logScale!, output },
        params: { items, chunk },
        workgroups: teams.workgroups(chunks),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  // d output / d input is the scale, d output / d log scale the output.
  backward: ({ inputs: [, logScale], outputs: [output], outputGradients: [gradient], needs }) => [
    needs[0] ? exponentialScale(gradient!, logScale!) : undefined,
    needs[1] ? apply(exponentialScaleParameterBackwardOp, [output, gradient], {})[0] : undefined,
  ],
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37], [33, 64]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(1)], attributes: {} }),
  },
  benchCases: [{ name: 'contrastive batch of 256', inputs: [{ shape: [256, 256], dtype: 'f32' }, { shape: [1], dtype: 'f32' }], attributes: {} }],
});

/** Gradient of `exponential_scale` with respect to the log scale: the scalar product of output and output gradient. */
export const exponentialScaleParameterBackwardOp = defineOp<Record<string, never>>({
  name: 'exponential_scale_parameter_backward',
  inputNames: ['output', 'output gradient'],
  outputs(inputs) {
    const output = f32(...inputs[0]!.shape);
    checkTypes(exponentialScaleParameterBackwardOp, inputs, [output, output]);
    return [{ shape: [1], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [a, b], outputs: [output], scratch }, teams): KernelCall[] => {
    const { vectors, items, chunk, chunks } = chunksOf(a!.size);
    const partial = scratch([chunks], 'f32');
    return [
      {
        kernel: 'loss/product_sum',
        conditions: { vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { a: a!, b: b!, partial },
        params: { items, chunk, chunks },
        workgroups: teams.workgroups(chunks),
      },
      {
        kernel: 'loss/total',
        conditions: teams.conditions,
        constants: teams.constants,
        bindings: { partial, output },
        params: { count: chunks, factor: 1 },
        workgroups: [1],
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 2 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37], [33, 64]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(rows, width)], attributes: {} }),
  },
  benchCases: [{ name: 'contrastive batch of 256', inputs: [{ shape: [256, 256], dtype: 'f32' }, { shape: [256, 256], dtype: 'f32' }], attributes: {} }],
});

/**
 * input * exp(logScale): CLIP's temperature.
 *
 * @param input f32[...]
 * @param logScale f32[1]
 * @returns f32[...]
 */
export function exponentialScale(input: Tensor, logScale: Tensor): Tensor {
  return apply(exponentialScaleOp, [input, logScale], {})[0];
}
