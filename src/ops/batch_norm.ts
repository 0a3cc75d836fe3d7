import { type KernelCall, type OpCall, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { cast } from './cast.ts';
import { checkTypes, single } from './types.ts';

interface BatchNormAttributes {
  readonly epsilon: number;
}

/** Positions that one invocation of the first stage adds up: more where a dispatch would have too many workgroups. */
const chunkOf = (positions: number): number => Math.max(128, Math.ceil(positions / 65535));

/** The two stages of a sum over all positions of each channel. */
function sumOverPositions<A>(call: OpCall<A>, input: Tensor, total: Tensor, factor: number, what: { readonly mean?: Tensor; readonly variance?: Tensor; readonly gradient?: Tensor; readonly epsilon?: number }): KernelCall[] {
  const channels = input.shape.at(-1)!;
  const positions = input.size / channels;
  const chunk = chunkOf(positions);
  const chunks = Math.ceil(positions / chunk);
  const partial = call.scratch([chunks, channels], 'f32');
  const columns = Math.ceil(channels / 64);
  return [
    {
      kernel: 'normalization/batch_norm_sums',
      conditions: { f16: input.dtype === 'f16', centred: what.mean !== undefined && what.gradient === undefined, gradient: what.gradient !== undefined },
      bindings: { input, partial, ...(what.mean && { mean: what.mean }), ...(what.variance && { variance: what.variance }), ...(what.gradient && { output_gradient: what.gradient }) },
      params: { positions, channels, chunk, epsilon: what.epsilon ?? 0 },
      workgroups: [columns, chunks],
    },
    { kernel: 'normalization/batch_norm_total', bindings: { partial, total }, params: { channels, chunks, factor }, workgroups: [columns] },
  ];
}

export const batchNormOp = defineOp<BatchNormAttributes>({
  name: 'batch_norm',
  inputNames: ['input', 'weight', 'bias'],
  outputs(inputs) {
    const [input, weight, bias] = inputs;
    const channels = input!.shape.at(-1);
    for (const parameter of [weight, bias]) {
      if (parameter!.shape.length !== 1 || parameter!.shape[0] !== channels || parameter!.dtype !== input!.dtype) {
        throw shapeError(batchNormOp, inputs, "weight and bias must be [channels] of the input's last axis and type");
      }
    }
    return [
      { shape: input!.shape, dtype: input!.dtype },
      { shape: [channels!], dtype: 'f32' },
      { shape: [channels!], dtype: 'f32' },
    ];
  },
  variants: [
    {
      name: 'two stages',
      kernels(call) {
        const { inputs: [input, weight, bias], outputs: [output, mean, variance], attributes: { epsilon } } = call;
        const channels = input!.shape.at(-1)!;
        const share = channels / input!.size;
        return [
          ...sumOverPositions(call, input!, mean, share, {}),
          ...sumOverPositions(call, input!, variance, share, { mean }),
          {
            kernel: 'normalization/batch_norm',
            conditions: { f16: input!.dtype === 'f16' },
            bindings: { input: input!, weight: weight!, bias: bias!, mean, variance, output },
            params: { size: output.size, channels, epsilon },
            workgroups: foldWorkgroups(Math.ceil(output.size / 64)),
          },
        ];
      },
    },
  ],
  cost: (inputs, outputs) => ({ flops: 8 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward({ inputs: [input, weight, bias], outputs: [, mean, variance], outputGradients: [gradient], attributes, needs }) {
    const [inputGradient, weightGradient, biasGradient] = apply(batchNormBackwardOp, [input, gradient, weight, mean, variance], attributes);
    const like = (value: Tensor, model: Tensor): Tensor => cast(value, model.dtype as 'f32' | 'f16');
    return [inputGradient, needs[1] ? like(weightGradient, weight!) : undefined, needs[2] ? like(biasGradient, bias!) : undefined];
  },
  sizes: {
    names: ['positions', 'channels'],
    small: [[70, 5]],
    case: (positions, channels) => ({ inputs: [f32(positions, channels), f32(channels), f32(channels)], attributes: { epsilon: 1e-5 } }),
  },
  benchCases: [{ name: 'ResNet-50-224 stem', inputs: [{ shape: [8, 112, 112, 64], dtype: 'f32' }, { shape: [64], dtype: 'f32' }, { shape: [64], dtype: 'f32' }], attributes: { epsilon: 1e-5 } }],
});

/** Gradients of `batch_norm`: of the input, and in f32 of weight and bias. */
export const batchNormBackwardOp = defineOp<BatchNormAttributes>({
  name: 'batch_norm_backward',
  inputNames: ['input', 'output gradient', 'weight', 'mean', 'variance'],
  outputs(inputs) {
    const { shape, dtype } = inputs[0]!;
    const channels = shape.at(-1)!;
    const statistics = f32(channels);
    checkTypes(batchNormBackwardOp, inputs, [inputs[0], { shape, dtype }, { shape: [channels], dtype }, statistics, statistics]);
    return [{ shape, dtype }, statistics, statistics];
  },
  variants: [
    {
      name: 'two stages',
      kernels(call) {
        const { inputs: [input, gradient, weight, mean, variance], outputs: [inputGradient, weightGradient, biasGradient], attributes: { epsilon } } = call;
        const channels = input!.shape.at(-1)!;
        return [
          ...sumOverPositions(call, gradient!, biasGradient, 1, {}),
          ...sumOverPositions(call, input!, weightGradient, 1, { mean: mean!, variance: variance!, gradient: gradient!, epsilon }),
          {
            kernel: 'normalization/batch_norm_backward',
            conditions: { f16: input!.dtype === 'f16' },
            bindings: { input: input!, output_gradient: gradient!, weight: weight!, mean: mean!, variance: variance!, weight_gradient: weightGradient, bias_gradient: biasGradient, input_gradient: inputGradient },
            params: { size: input!.size, channels, epsilon, share: channels / input!.size },
            workgroups: foldWorkgroups(Math.ceil(input!.size / 64)),
          },
        ];
      },
    },
  ],
  cost: (inputs, outputs) => ({ flops: 14 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['positions', 'channels'],
    small: [[70, 5]],
    case: (positions, channels) => ({
      inputs: [f32(positions, channels), f32(positions, channels), f32(channels), single(channels), single(channels)],
      attributes: { epsilon: 1e-5 },
    }),
  },
  benchCases: [
    {
      name: 'ResNet-50-224 stem',
      inputs: [{ shape: [8, 112, 112, 64], dtype: 'f32' }, { shape: [8, 112, 112, 64], dtype: 'f32' }, { shape: [64], dtype: 'f32' }, single(64), single(64)],
      attributes: { epsilon: 1e-5 },
    },
  ],
});

/**
 * Batch normalisation with the batch's own statistics (torch.nn.functional.batch_norm, training = true), channels last.
 *
 * @param input [..., channels]; all axes before the last are one population
 * @param weight [channels]
 * @param bias [channels]
 * @returns output of the input's shape, and for running statistics mean and biased variance, f32[channels]; no gradient
 *   flows through the latter two
 */
export function batchNorm(input: Tensor, weight: Tensor, bias: Tensor, epsilon = 1e-5): { readonly output: Tensor; readonly mean: Tensor; readonly variance: Tensor } {
  const [output, mean, variance] = apply(batchNormOp, [input, weight, bias], { epsilon });
  return { output, mean, variance };
}
