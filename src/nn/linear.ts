import type { Activation } from '../ops/activation.ts';
import { gemm } from '../ops/gemm.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** A linear layer's tensors. */
export interface Linear {
  /** [in, out]: the transpose of PyTorch's, so that kernels read rows of it. */
  readonly weight: Tensor;
  /** [out] */
  readonly bias?: Tensor;
}

/**
 * activation(input · weight + bias + residual) (torch.nn.functional.linear and what follows it).
 *
 * @param input [..., in]
 * @param options.residual [..., out], added before the activation
 * @returns [..., out]
 */
export function linear({ weight, bias }: Linear, input: Tensor, options: { readonly activation?: Activation; readonly residual?: Tensor } = {}): Tensor {
  return gemm(input, weight, { ...options, bias });
}
