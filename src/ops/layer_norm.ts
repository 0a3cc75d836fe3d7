import { type KernelCall, type TensorType, bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { itemsOf, preferredTeams, teamVariants } from './teams.ts';
import { checkTypes } from './types.ts';

interface LayerNormAttributes {
  readonly epsilon: number;
}

/** Rows that one invocation of the first stage of the parameter gradients adds up. */
const rowsPerChunk = 32;
/** Invocations per workgroup of the kernels with one invocation per column. */
const columnThreads = 64;

function rowsAndWidth({ shape }: TensorType): { rows: number; width: number } {
  const width = shape.at(-1)!;
  return { rows: sizeOf(shape) / width, width };
}

function shapeClass([input]: readonly (TensorType | undefined)[]): string {
  const { rows, width } = rowsAndWidth(input!);
  return `${sizeClass(rows)}x${sizeClass(width)}`;
}

export const layerNormOp = defineOp<LayerNormAttributes>({
  name: 'layer_norm',
  inputNames: ['input', 'weight', 'bias'],
  outputs(inputs) {
    const [input, weight, bias] = inputs;
    const width = input!.shape.at(-1);
    for (const parameter of [weight, bias]) {
      if (parameter!.shape.length !== 1 || parameter!.shape[0] !== width || parameter!.dtype !== input!.dtype) {
        throw shapeError(layerNormOp, inputs, 'weight and bias must be [width] of the input\'s last axis and type');
      }
    }
    return [{ shape: input!.shape, dtype: input!.dtype }];
  },
  variants: teamVariants(({ inputs: [input, weight, bias], outputs: [output], attributes: { epsilon } }, teams) => {
    const { rows, width } = rowsAndWidth(input!);
    const { vectors, items } = itemsOf(width);
    return [
      {
        kernel: 'normalization/layer_norm',
        conditions: { f16: input!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, weight: weight!, bias: bias!, output },
        params: { rows, items, width, epsilon },
        workgroups: teams.workgroups(rows),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 8 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  backward({ inputs: [input, weight], outputGradients: [gradient], attributes, needs }) {
    const parameters = needs[1] || needs[2] ? apply(layerNormParameterBackwardOp, [input, gradient], attributes) : [];
    return [needs[0] ? apply(layerNormBackwardOp, [input, weight, gradient], attributes)[0] : undefined, ...parameters];
  },
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37], [70, 64]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(width), f32(width)], attributes: { epsilon: 1e-5 } }),
  },
  benchCases: [
    {
      name: 'ViT-L/14-518',
      inputs: [{ shape: [1, 1370, 1024], dtype: 'f32' }, { shape: [1024], dtype: 'f32' }, { shape: [1024], dtype: 'f32' }],
      attributes: { epsilon: 1e-5 },
    },
  ],
});

/** Gradient of `layer_norm` with respect to its input. */
export const layerNormBackwardOp = defineOp<LayerNormAttributes>({
  name: 'layer_norm_backward',
  inputNames: ['input', 'weight', 'output gradient'],
  outputs(inputs) {
    const { shape, dtype } = inputs[0]!;
    checkTypes(layerNormBackwardOp, inputs, [inputs[0], { shape: [shape.at(-1)!], dtype }, { shape, dtype }]);
    return [{ shape, dtype }];
  },
  variants: teamVariants(({ inputs: [input, weight, gradient], outputs: [output], attributes: { epsilon } }, teams) => {
    const { rows, width } = rowsAndWidth(input!);
    const { vectors, items } = itemsOf(width);
    return [
      {
        kernel: 'normalization/layer_norm_backward',
        conditions: { f16: input!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, weight: weight!, output_gradient: gradient!, input_gradient: output },
        params: { rows, items, width, epsilon },
        workgroups: teams.workgroups(rows),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 15 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37], [70, 64]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(width), f32(rows, width)], attributes: { epsilon: 1e-5 } }),
  },
  benchCases: [
    {
      name: 'ViT-L/14-518',
      inputs: [{ shape: [1, 1370, 1024], dtype: 'f32' }, { shape: [1024], dtype: 'f32' }, { shape: [1, 1370, 1024], dtype: 'f32' }],
      attributes: { epsilon: 1e-5 },
    },
  ],
});

/** Gradients of `layer_norm` with respect to weight and bias, in two stages so that many rows keep many invocations busy. */
export const layerNormParameterBackwardOp = defineOp<LayerNormAttributes>({
  name: 'layer_norm_parameter_backward',
  inputNames: ['input', 'output gradient'],
  outputs(inputs) {
    const [input] = inputs;
    checkTypes(layerNormParameterBackwardOp, inputs, [input, input]);
    const parameter: TensorType = { shape: [input!.shape.at(-1)!], dtype: input!.dtype };
    return [parameter, parameter];
  },
  variants: teamVariants(({ inputs: [input, gradient], outputs: [weightGradient, biasGradient], attributes: { epsilon }, scratch }, teams): KernelCall[] => {
    const { rows, width } = rowsAndWidth(input!);
    const { vectors, items } = itemsOf(width);
    const f16 = input!.dtype === 'f16';
    // No more chunks than one dimension of a dispatch holds.
    const chunk = Math.max(rowsPerChunk, Math.ceil(rows / 65535));
    const chunks = Math.ceil(rows / chunk);
    const statistics = scratch([rows, 2], 'f32');
    const weightPartial = scratch([chunks, width], 'f32');
    const biasPartial = scratch([chunks, width], 'f32');
    return [
      {
        kernel: 'normalization/layer_norm_statistics',
        conditions: { f16, vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, statistics },
        params: { rows, items, width, epsilon },
        workgroups: teams.workgroups(rows),
      },
      {
        kernel: 'normalization/layer_norm_parameter_partial',
        conditions: { f16, vectors },
        constants: { THREADS: columnThreads },
        bindings: { input: input!, output_gradient: gradient!, statistics, weight_partial: weightPartial, bias_partial: biasPartial },
        params: { rows, items, chunk },
        workgroups: [Math.ceil(items / columnThreads), chunks],
      },
      {
        kernel: 'normalization/layer_norm_parameter_total',
        conditions: { f16 },
        constants: { THREADS: columnThreads },
        bindings: { weight_partial: weightPartial, bias_partial: biasPartial, weight_gradient: weightGradient, bias_gradient: biasGradient },
        params: { chunks, width },
        workgroups: [Math.ceil(width / columnThreads)],
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 10 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37], [70, 64]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(rows, width)], attributes: { epsilon: 1e-5 } }),
  },
  benchCases: [
    {
      name: 'ViT-L/14-518',
      inputs: [{ shape: [1, 1370, 1024], dtype: 'f32' }, { shape: [1, 1370, 1024], dtype: 'f32' }],
      attributes: { epsilon: 1e-5 },
    },
  ],
});

/**
 * Layer normalisation over the last axis (torch.nn.functional.layer_norm).
 *
 * @param input [..., width]
 * @param weight [width]
 * @param bias [width]
 * @returns [..., width]
 */
export function layerNorm(input: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): Tensor {
  return apply(layerNormOp, [input, weight, bias], { epsilon })[0];
}
