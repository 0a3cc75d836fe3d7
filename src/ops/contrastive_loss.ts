import { scope } from '../tensor/recording.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { concatenate } from './concatenate.ts';
import { crossEntropy } from './cross_entropy.ts';
import { exponentialScale } from './exponential_scale.ts';
import { gemm } from './gemm.ts';
import { transpose } from './transpose.ts';

/**
 * CLIP's symmetric contrastive loss (InfoNCE): the cross-entropy of every image against all texts of the batch and of
 * every text against all images, where image i belongs to text i; mean of both (Radford et al. 2021, figure 3).
 *
 * @param image f32[batch, width], rows of unit length (`l2Normalize`)
 * @param text f32[batch, width], rows of unit length
 * @param logScale f32[1]: logarithm of the factor on the similarities
 * @returns f32[1]
 */
export function contrastiveLoss(image: Tensor, text: Tensor, logScale: Tensor): Tensor {
  return scope('contrastive_loss', () => {
    const logits = exponentialScale(gemm(image, text, { transposeB: true }), logScale);
    // One mean over the rows of both matrices is the mean of their two means.
    return crossEntropy(concatenate(logits, transpose(logits), 0));
  });
}
