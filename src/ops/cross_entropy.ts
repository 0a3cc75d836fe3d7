import { type KernelCall, type TensorType, bytesOfTypes, defineOp, f32, shapeError, sizeClass } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { itemsOf, preferredTeams, teamVariants } from './teams.ts';
import { type OpNames, checkTypes } from './types.ts';

/** The types of logits and targets, the same for the loss and its gradient. @throws Error of the op's shape rule */
function checkLogits(op: OpNames, inputs: readonly (TensorType | undefined)[], logits: TensorType, target: TensorType | undefined): void {
  if (logits.dtype !== 'f32' || logits.shape.length !== 2 || (target && (target.dtype !== 'u32' || target.shape.join() !== `${logits.shape[0]}`))) {
    throw shapeError(op, inputs, 'logits must be f32[rows, classes] and target u32[rows] or absent');
  }
}

function shapeClass([logits]: readonly (TensorType | undefined)[]): string {
  return logits!.shape.map(sizeClass).join('x');
}

export const crossEntropyOp = defineOp<Record<string, never>>({
  name: 'cross_entropy',
  inputNames: ['logits', 'target'],
  outputs(inputs) {
    const [logits, target] = inputs;
    checkLogits(crossEntropyOp, inputs, logits!, target);
    return [{ shape: [1], dtype: 'f32' }, { shape: [logits!.shape[0], 2], dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [logits, target], outputs: [output, statistics], scratch }, teams): KernelCall[] => {
    const [rows, classes] = logits!.shape;
    const { vectors, items } = itemsOf(classes);
    const partial = scratch([rows], 'f32');
    return [
      {
        kernel: 'loss/cross_entropy',
        conditions: { vectors, diagonal: !target, ...teams.conditions },
        constants: teams.constants,
        bindings: { logits: logits!, statistics, partial, ...(target && { label: target }) },
        params: { rows, items, classes },
        workgroups: teams.workgroups(rows),
      },
      {
        kernel: 'loss/total',
        conditions: teams.conditions,
        constants: teams.constants,
        bindings: { partial, output },
        params: { count: rows, factor: 1 / rows },
        workgroups: [1],
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 4 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  backward: ({ inputs: [logits, target], outputs: [, statistics], outputGradients: [gradient] }) => [
    apply(crossEntropyBackwardOp, [logits, statistics, gradient, target], {})[0],
    undefined,
  ],
  sizes: {
    names: ['rows', 'classes'],
    small: [[3, 37], [70, 64]],
    case: (rows, classes) => ({ inputs: [f32(rows, classes), { shape: [rows], dtype: 'u32' }], attributes: {} }),
  },
  benchCases: [
    { name: 'contrastive batch of 256', inputs: [{ shape: [512, 256], dtype: 'f32' }, undefined], attributes: {} },
    { name: '1000 classes', inputs: [{ shape: [64, 1000], dtype: 'f32' }, { shape: [64], dtype: 'u32' }], attributes: {} },
  ],
});

/** Gradient of `cross_entropy` with respect to the logits. */
export const crossEntropyBackwardOp = defineOp<Record<string, never>>({
  name: 'cross_entropy_backward',
  inputNames: ['logits', 'statistics', 'loss gradient', 'target'],
  outputs(inputs) {
    const [logits, , , target] = inputs;
    checkLogits(crossEntropyBackwardOp, inputs, logits!, target);
    checkTypes(crossEntropyBackwardOp, inputs, [undefined, f32(logits!.shape[0], 2), f32(1)]);
    return [{ shape: logits!.shape, dtype: 'f32' }];
  },
  variants: teamVariants(({ inputs: [logits, statistics, gradient, target], outputs: [output] }, teams) => {
    const [rows, classes] = logits!.shape;
    const { vectors, items } = itemsOf(classes);
    return [
      {
        kernel: 'loss/cross_entropy_backward',
        conditions: { vectors, diagonal: !target, ...teams.conditions },
        constants: teams.constants,
        bindings: { logits: logits!, statistics: statistics!, loss_gradient: gradient!, logits_gradient: output, ...(target && { label: target }) },
        params: { rows, items, classes },
        workgroups: teams.workgroups(rows),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 4 * sizeOf(inputs[0]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  sizes: {
    names: ['rows', 'classes'],
    small: [[3, 37], [70, 64]],
    case: (rows, classes) => ({ inputs: [f32(rows, classes), f32(rows, 2), f32(1), { shape: [rows], dtype: 'u32' }], attributes: {} }),
  },
  benchCases: [
    { name: 'contrastive batch of 256', inputs: [{ shape: [512, 256], dtype: 'f32' }, { shape: [512, 2], dtype: 'f32' }, { shape: [1], dtype: 'f32' }, undefined], attributes: {} },
    { name: '1000 classes', inputs: [{ shape: [64, 1000], dtype: 'f32' }, { shape: [64, 2], dtype: 'f32' }, { shape: [1], dtype: 'f32' }, { shape: [64], dtype: 'u32' }], attributes: {} },
  ],
});

/**
 * Cross-entropy of logits, mean over the rows (torch.nn.functional.cross_entropy); the softmax is never written.
 *
 * @param logits f32[rows, classes]
 * @param target u32[rows], each below classes; without it the target of row r is r % classes, as a batch of pairs has it
 * @returns f32[1]
 */
export function crossEntropy(logits: Tensor, target?: Tensor): Tensor {
  return apply(crossEntropyOp, [logits, target], {})[0];
}
