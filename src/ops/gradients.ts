import { backward } from '../tensor/autograd.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { add } from './add.ts';

/**
 * Records the backward pass of everything that `seeds` depend on (torch.autograd.backward).
 *
 * @param seeds tensors to start from, each with the gradient of the total loss with respect to it (same size)
 * @returns gives the gradient of a tensor, or undefined where none flows
 */
export function gradients(seeds: readonly { readonly tensor: Tensor; readonly gradient: Tensor }[]): (of: Tensor) => Tensor | undefined {
  return backward(seeds, add);
}
