import { UserError } from '../errors.ts';

/** The most pixels that an image may have. A header that claims more is refused before anything is decoded. */
export const MAX_PIXELS = 100_000_000;

/**
 * Checks the size that an image's header claims.
 *
 * @throws UserError naming the file when a side is zero or the image has more than MAX_PIXELS
 */
export function checkImageSize(width: number, height: number, file: string): void {
  if (width === 0 || height === 0) throw new UserError(`${file}: the image has no pixels (its header says ${width}×${height}).`);
  if (width * height > MAX_PIXELS) {
    throw new UserError(`${file}: the image is ${width}×${height}, more than ${MAX_PIXELS / 1e6} megapixels. Make it smaller first.`);
  }
}
