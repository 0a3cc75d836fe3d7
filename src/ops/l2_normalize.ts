import { type TensorType, bytesOfTypes, defineOp, f32, sizeClass, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { itemsOf, preferredTeams, teamVariants } from './teams.ts';
import { checkTypes } from './types.ts';

interface L2NormalizeAttributes {
  readonly epsilon: number;
}

function rowsAndWidth({ shape }: TensorType): { rows: number; width: number } {
  const width = shape.at(-1)!;
  return { rows: sizeOf(shape) / width, width };
}

function shapeClass([input]: readonly (TensorType | undefined)[]): string {
  const { rows, width } = rowsAndWidth(input!);
  return `${sizeClass(rows)}x${sizeClass(width)}`;
}

export const l2NormalizeOp = defineOp<L2NormalizeAttributes>({
  name: 'l2_normalize',
  inputNames: ['input'],
  outputs(inputs) {
    const { shape, dtype } = inputs[0]!;
    if (shape.length < 1) throw shapeError(l2NormalizeOp, inputs, 'input must be [..., width]');
    return [{ shape, dtype }];
  },
  variants: teamVariants(({ inputs: [input], outputs: [output], attributes: { epsilon } }, teams) => {
    const { rows, width } = rowsAndWidth(input!);
    const { vectors, items } = itemsOf(width);
    return [
      {
        kernel: 'normalization/l2_normalize',
        conditions: { f16: input!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, output },
        params: { rows, items, epsilon },
        workgroups: teams.workgroups(rows),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 3 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  backward: ({ inputs: [input], outputGradients: [gradient], attributes }) => apply(l2NormalizeBackwardOp, [input, gradient], attributes),
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37], [70, 64]],
    case: (rows, width) => ({ inputs: [f32(rows, width)], attributes: { epsilon: 1e-12 } }),
  },
  benchCases: [{ name: 'ViT-L/14-518 patches', inputs: [{ shape: [1, 1369, 768], dtype: 'f32' }], attributes: { epsilon: 1e-12 } }],
});

/** Gradient of `l2_normalize`. */
export const l2NormalizeBackwardOp = defineOp<L2NormalizeAttributes>({
  name: 'l2_normalize_backward',
  inputNames: ['input', 'output gradient'],
  outputs(inputs, attributes) {
    const [input] = inputs;
    checkTypes(l2NormalizeBackwardOp, inputs, [input, ...l2NormalizeOp.outputs([input], attributes)]);
    return [{ shape: input!.shape, dtype: input!.dtype }];
  },
  variants: teamVariants(({ inputs: [input, gradient], outputs: [output], attributes: { epsilon } }, teams) => {
    const { rows, width } = rowsAndWidth(input!);
    const { vectors, items } = itemsOf(width);
    return [
      {
        kernel: 'normalization/l2_normalize_backward',
        conditions: { f16: input!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { input: input!, output_gradient: gradient!, input_gradient: output },
        params: { rows, items, epsilon },
        workgroups: teams.workgroups(rows),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: 7 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  shapeClass,
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 37], [70, 64]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(rows, width)], attributes: { epsilon: 1e-12 } }),
  },
  benchCases: [
    { name: 'ViT-L/14-518 patches', inputs: [{ shape: [1, 1369, 768], dtype: 'f32' }, { shape: [1, 1369, 768], dtype: 'f32' }], attributes: { epsilon: 1e-12 } },
  ],
});

/**
 * Rows scaled to unit length: input / max(|input|, epsilon) (torch.nn.functional.normalize over the last axis).
 *
 * @param input [..., width]
 * @returns [..., width]
 */
export function l2Normalize(input: Tensor, epsilon = 1e-12): Tensor {
  return apply(l2NormalizeOp, [input], { epsilon })[0];
}
