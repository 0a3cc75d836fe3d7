import { type Variant, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';

/** Pointwise activations, and 'none'. QuickGELU is CLIP's x·sigmoid(1.702 x); LeakyReLU has PyTorch's default slope, 0.01. */
export type Activation = 'none' | 'quick_gelu' | 'leaky_relu' | 'relu';

/** The numbers of the activations in kernels/common/activation.wgsl. */
export const activationKinds: Readonly<Record<Activation, number>> = { none: 0, quick_gelu: 1, leaky_relu: 2, relu: 3 };

interface ActivationAttributes {
  readonly kind: Activation;
}

/**
 * @param vectors path of the kernel that takes four elements at a time
 * @param elementwise path of the kernel that takes one
 * @param bindings the kernel's names of the inputs, in order, then of the output
 */
function variants(vectors: string, elementwise: string, bindings: readonly string[]): Variant<ActivationAttributes>[] {
  const variant = (path: string, width: number): Variant<ActivationAttributes>['kernels'] => ({ inputs, outputs: [output], attributes: { kind } }) => [
    {
      kernel: path,
      conditions: { f16: output.dtype === 'f16' },
      bindings: Object.fromEntries(bindings.map((name, i) => [name, inputs[i] ?? output])),
      params: { size: output.size / width, kind: activationKinds[kind] },
      workgroups: foldWorkgroups(Math.ceil(output.size / width / 64)),
    },
  ];
  return [
    { name: 'vectors', purpose: 'four elements per invocation', supports: ({ outputs: [output] }) => output.size % 4 === 0, kernels: variant(vectors, 4) },
    { name: 'elementwise', purpose: 'one element per invocation: any size', kernels: variant(elementwise, 1) },
  ];
}

export const activationOp = defineOp<ActivationAttributes>({
  name: 'activation',
  inputNames: ['input'],
  outputs: ([input]) => [{ shape: input!.shape, dtype: input!.dtype }],
  variants: variants('elementwise/activation_vectors', 'elementwise/activation', ['input', 'output']),
  cost: (inputs, outputs) => ({ flops: 6 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  backward: ({ inputs: [input], outputGradients: [gradient], attributes }) => apply(activationBackwardOp, [input, gradient], attributes),
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 36], [3, 37]],
    case: (rows, width) => ({ inputs: [f32(rows, width)], attributes: { kind: 'quick_gelu' } }),
  },
  benchCases: [{ name: 'ViT-L/14-518 mlp', inputs: [{ shape: [1, 1370, 4096], dtype: 'f32' }], attributes: { kind: 'quick_gelu' } }],
});

/** Gradient of `activate`: the output's gradient times the derivative at the input. */
export const activationBackwardOp = defineOp<ActivationAttributes>({
  name: 'activation_backward',
  inputNames: ['input', 'output gradient'],
  outputs(inputs) {
    const [input, gradient] = inputs;
    if (input!.dtype !== gradient!.dtype || sizeOf(input!.shape) !== sizeOf(gradient!.shape)) {
      throw shapeError(activationBackwardOp, inputs, "the output gradient must have the input's type and size");
    }
    return [{ shape: input!.shape, dtype: input!.dtype }];
  },
  variants: variants('elementwise/activation_backward_vectors', 'elementwise/activation_backward', ['input', 'output_gradient', 'input_gradient']),
  cost: (inputs, outputs) => ({ flops: 9 * sizeOf(outputs[0].shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['rows', 'width'],
    small: [[3, 36], [3, 37]],
    case: (rows, width) => ({ inputs: [f32(rows, width), f32(rows, width)], attributes: { kind: 'quick_gelu' } }),
  },
  benchCases: [
    {
      name: 'ViT-L/14-518 mlp',
      inputs: [{ shape: [1, 1370, 4096], dtype: 'f32' }, { shape: [1, 1370, 4096], dtype: 'f32' }],
      attributes: { kind: 'quick_gelu' },
    },
  ],
});

/**
 * An activation of every element: x·sigmoid(1.702 x) (QuickGELU, as in OpenAI's CLIP), torch.nn.functional.leaky_relu with
 * its default slope, or relu. 'none' returns the input itself.
 */
export function activate(input: Tensor, kind: Activation): Tensor {
  return kind === 'none' ? input : apply(activationOp, [input], { kind })[0];
}
