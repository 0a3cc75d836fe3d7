import { concatenate } from '../../ops/concatenate.ts';
import { gemm } from '../../ops/gemm.ts';
import { repeatRows } from '../../ops/repeat_rows.ts';
import { transpose } from '../../ops/transpose.ts';
import { reshape, scope } from '../../tensor/recording.ts';
import { type Tensor, sizeOf } from '../../tensor/tensor.ts';
import type { MfpConfig } from './config.ts';

/**
 * Image-to-text prompting (eq. 1-2): the image's CNN features, projected to the text width, are fused into every token
 * embedding of the two prompts.
 *
 * @param parameter MFP's parameters
 * @param features [batch, Dc], the CNN's pooled features
 * @param tokens [2, n, Dt], token embeddings of the normal and the abnormal prompt without positions, the same for all
 *   images, or [batch × 2, n, Dt] for images of different classes
 * @returns [batch × 2, n, Dt], normal and abnormal in turn
 */
export function imageToTextPrompting(config: MfpConfig['i2tp'], parameter: (name: string) => Tensor, features: Tensor, tokens: Tensor): Tensor {
  return scope('i2tp', () => {
    const [, context, width] = tokens.shape;
    const batch = features.shape[0];
    const prompts = 2;
    const projected = gemm(features, parameter('i2tp.image_proj.weight'), { bias: parameter('i2tp.image_proj.bias') });
    const shared = tokens.shape[0] !== batch * prompts;
    const repeated = !shared ? tokens : reshape(repeatRows(reshape(tokens, [sizeOf(tokens.shape)]), batch), [batch * prompts, context, width]);
    if (config.concat === 'feature') {
      const perToken = reshape(repeatRows(projected, prompts * context), [batch * prompts, context, width]);
      return gemm(concatenate(repeated, perToken, 2), parameter('i2tp.fuse.weight'), { bias: parameter('i2tp.fuse.bias') });
    }
    // One more token, and a Linear over the token dimension back to n: tokens become the last axis for it.
    const perPrompt = reshape(repeatRows(projected, prompts), [batch * prompts, 1, width]);
    const columns = transpose(concatenate(repeated, perPrompt, 1));
    return transpose(gemm(columns, parameter('i2tp.fuse.weight'), { bias: parameter('i2tp.fuse.bias') }));
  });
}
