import { type KernelCall, type OpCall, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { type Teams, itemsOf, preferredTeams, teamVariants } from './teams.ts';
import { checkTypes, single } from './types.ts';

/** Items of a row that one team of the first stage reduces: a 518 × 518 map makes 132 chunks. */
const chunk = 512;

/** The two stages that reduce each row to one number: its maximum, or with `maximum` given, how often that occurs. */
function reduceRows(input: Tensor, output: Tensor, maximum: Tensor | undefined, teams: Teams, scratch: OpCall<Record<string, never>>['scratch']): KernelCall[] {
  const rows = input.shape[0];
  const { vectors, items } = itemsOf(input.size / rows);
  const chunks = Math.ceil(items / chunk);
  const stage = (from: Tensor, to: Tensor, conditions: Record<string, boolean>, bindings: Record<string, Tensor>, params: { items: number; chunk: number; chunks: number }): KernelCall => ({
    kernel: 'map/maximum',
    conditions: { ...conditions, ...teams.conditions },
    constants: teams.constants,
    bindings: { input: from, output: to, ...bindings },
    params: { rows, ...params },
    workgroups: teams.workgroups(rows * params.chunks),
  });
  const partial = chunks === 1 ? output : scratch([rows, chunks], 'f32');
  const first = stage(input, partial, { f16: input.dtype === 'f16', vectors, ties: maximum !== undefined }, maximum ? { maximum } : {}, { items, chunk, chunks });
  if (chunks === 1) return [first];
  const rest = itemsOf(chunks);
  return [first, stage(partial, output, { vectors: rest.vectors, total: maximum !== undefined }, {}, { items: rest.items, chunk: rest.items, chunks: 1 })];
}

export const maximumOp = defineOp<Record<string, never>>({
  name: 'maximum',
  inputNames: ['input'],
  outputs(inputs) {
    const [input] = inputs;
    if (input!.shape.length < 2) throw shapeError(maximumOp, inputs, 'input must be [batch, ...]');
    return [{ shape: [input!.shape[0]], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [input], outputs: [output], scratch }, teams) => reduceRows(input!, output, undefined, teams, scratch)),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([input]) => `${sizeClass(sizeOf(input!.shape))}`,
  backward: ({ inputs: [input], outputs: [maximum], outputGradients: [gradient] }) => apply(maximumBackwardOp, [gradient, input, maximum], {}),
  sizes: {
    names: ['batch', 'height', 'width'],
    small: [[2, 5, 7], [1, 36, 40]],
    case: (batch, height, width) => ({ inputs: [f32(batch, height, width)], attributes: {} }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 score', inputs: [{ shape: [1, 518, 518], dtype: 'f32' }], attributes: {} },
    { name: 'ViT-L/14-518 score of 8 images', inputs: [{ shape: [8, 518, 518], dtype: 'f32' }], attributes: {} },
  ],
});

/** Gradient of `maximum`: counts the elements that are the largest, then gives each the same part. */
export const maximumBackwardOp = defineOp<Record<string, never>>({
  name: 'maximum_backward',
  inputNames: ['output gradient', 'input', 'maximum'],
  outputs(inputs) {
    const [, input] = inputs;
    const [maximum] = maximumOp.outputs([input], {});
    checkTypes(maximumBackwardOp, inputs, [maximum, input, maximum]);
    return [{ shape: input!.shape, dtype: input!.dtype }];
  },
  variants: teamVariants(({ inputs: [gradient, input, maximum], outputs: [output], scratch }, teams) => {
    const rows = input!.shape[0];
    const ties = scratch([rows], 'f32');
    const { vectors, items } = itemsOf(input!.size / rows);
    return [
      ...reduceRows(input!, ties, maximum!, teams, scratch),
      {
        kernel: 'map/maximum_backward',
        conditions: { f16: input!.dtype === 'f16', vectors },
        bindings: { input: input!, maximum: maximum!, ties, output_gradient: gradient!, input_gradient: output },
        params: { items },
        workgroups: [...foldWorkgroups(Math.ceil(items / 64)), rows],
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 2 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass: ([, input]) => `${sizeClass(sizeOf(input!.shape))}`,
  sizes: {
    names: ['batch', 'height', 'width'],
    small: [[2, 5, 7], [1, 36, 40]],
    case: (batch, height, width) => ({ inputs: [single(batch), f32(batch, height, width), single(batch)], attributes: {} }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 score', inputs: [single(1), f32(1, 518, 518), single(1)], attributes: {} },
  ],
});

/**
 * The largest element of each first index: the score of each anomaly map (torch.amax over all axes but the first). Its
 * gradient goes in equal parts to all elements that are the largest. Elements must not be NaN.
 *
 * @param input [batch, ...]
 * @returns f32 [batch]
 */
export function maximum(input: Tensor): Tensor {
  return apply(maximumOp, [input], {})[0];
}
