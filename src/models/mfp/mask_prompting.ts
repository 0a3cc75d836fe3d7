import { concatenate } from '../../ops/concatenate.ts';
import { gemm } from '../../ops/gemm.ts';
import { maskMultiply } from '../../ops/mask_multiply.ts';
import { slice } from '../../ops/slice.ts';
import { detach, scope } from '../../tensor/recording.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { type ImageTower, embedImage } from '../clip/image_tower.ts';
import type { MfpConfig } from './config.ts';

/**
 * Mask prompting (eq. 14-17): the patch embeddings of the image and of the image under its own coarse map are fused;
 * the class token stays as it was.
 *
 * @param image [batch, 3, size, size], normalised
 * @param embedded [batch, 1 + patches, Dv], the image's embedding in the first pass
 * @param mask [batch, size, size], the coarse map
 * @returns [batch, 1 + patches, Dv], the second pass's embedding
 */
export function maskPrompting(config: MfpConfig['mp'], parameter: (name: string) => Tensor, tower: ImageTower, image: Tensor, embedded: Tensor, mask: Tensor): Tensor {
  return scope('mp', () => {
    const masked = embedImage(tower, maskMultiply(image, config.detach ? detach(mask) : mask));
    const patches = embedded.shape[1] - 1;
    const pairs = concatenate(slice(embedded, 1, 1, patches), slice(masked, 1, 1, patches), 2);
    const fused = gemm(pairs, parameter('mp.fuse.weight'), { bias: parameter('mp.fuse.bias') });
    return concatenate(slice(embedded, 1, 0, 1), fused, 1);
  });
}
