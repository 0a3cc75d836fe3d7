import { open, stat } from 'node:fs/promises';
import { extname } from 'node:path';
import exifr from 'exifr';
import { UserError } from '../errors.ts';
import { decodeJpeg } from './image_jpeg.ts';
import { decodePng, pngSignature } from './image_png.ts';

export { MAX_PIXELS } from './image_size.ts';

/** A picture in 8-bit RGB. */
export interface RgbImage {
  readonly width: number;
  readonly height: number;
  /** height × width × 3, row by row. */
  readonly pixels: Uint8Array;
}

/** Which pixels are part of a defect. */
export interface Mask {
  readonly width: number;
  readonly height: number;
  /** height × width, 1 for a defect and 0 elsewhere. */
  readonly values: Uint8Array;
  /** Pixels that were neither black, white nor a class number in the file: 0 for a clean mask, many for a photo given by mistake. */
  readonly greyPixels: number;
}

/** A mask with more levels than this does not hold class numbers. */
const MAX_CLASS_LEVELS = 32;

/** Larger files are not read: no PNG or JPEG of up to MAX_PIXELS comes near. */
const MAX_FILE_BYTES = 1024 * 1024 * 1024;

/** Formats that are recognised but not read: by their first bytes, and those of photos by the endings of their files' names, too. */
const otherFormats: readonly (readonly [pattern: RegExp, name: string, endings?: RegExp])[] = [
  [/^GIF8[79]a/, 'a GIF', /\.gif$/i],
  [/^RIFF....WEBP/s, 'a WebP', /\.webp$/i],
  [/^(II\*\0|MM\0\*|II\+\0|MM\0\+)/, 'a TIFF', /\.tiff?$/i],
  [/^BM/, 'a BMP', /\.(bmp|dib)$/i],
  [/^P[1-7]\s/, 'a PNM', /\.p[abgpn]m$/i],
  [/^....ftyp(heic|heix|heif|mif1|msf1)/s, 'a HEIC', /\.(hei[cf]|hif)$/i],
  [/^....ftypavi[fs]/s, 'an AVIF', /\.avif$/i],
  [/^(\0\0\0\x0cjP {2}|\xff\x4f\xff\x51)/, 'a JPEG 2000', /\.(jp2|j2k|jpf|jpx|j2c|jpc)$/i],
  [/^(\xff\x0a|\0\0\0\x0cJXL )/, 'a JPEG XL', /\.jxl$/i],
  [/^%PDF/, 'a PDF'],
  [/^\s*(<\?xml|<svg)/, 'an SVG or XML'],
  [/^\s*<(!doctype|html)/i, 'an HTML'],
  [/^8BPS/, 'a Photoshop', /\.ps[bd]$/i],
];

const convertIt = (format: string): string => `is ${format} file; convert it to PNG or JPEG`;

/** Names of the images that are read. */
export const imageName = /\.(png|jpe?g)$/i;

/**
 * The photos among files that are in formats that are not read, by their names alone. One that lies beside a PNG or JPEG of the same name
 * is none of them: who converted a folder may have left the originals, and nothing is missing then.
 *
 * @param files names, or paths
 * @returns by file what `decodeImage` says of its content: "is a BMP file; convert it to PNG or JPEG"
 */
export function otherPhotos(files: readonly string[]): Map<string, string> {
  const stemOf = (file: string): string => file.slice(0, file.length - extname(file).length);
  const read = new Set(files.filter((file) => imageName.test(file)).map(stemOf));
  return new Map(
    files.flatMap((file) => {
      const format = otherFormats.find(([, , endings]) => endings?.test(file));
      return format && !read.has(stemOf(file)) ? [[file, convertIt(format[1])] as const] : [];
    }),
  );
}

/**
 * Decodes a PNG or JPEG file to 8-bit RGB, upright: the EXIF orientation (of either format) is applied. The format is
 * known by the content, not by the file's name. Greyscale, palette, 16-bit and images with transparency become RGB as
 * Pillow's `convert('RGB')` makes them (transparency dropped, 16 bits cut to the upper 8).
 *
 * The header is checked before anything is decoded.
 *
 * @param bytes the whole file
 * @param file its name, for messages
 * @throws UserError naming the file and the reason: another format, no pixels, too many, truncated, damaged
 */
export async function decodeImage(bytes: Uint8Array, file: string): Promise<RgbImage> {
  if (bytes.length === 0) throw new UserError(`${file}: the file is empty.`);
  const isPng = pngSignature.every((byte, i) => bytes[i] === byte);
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  if (!isPng && !isJpeg) {
    const start = Buffer.from(bytes.subarray(0, 64)).toString('latin1');
    const other = otherFormats.find(([pattern]) => pattern.test(start));
    throw new UserError(other ? `${file} ${convertIt(other[1])}.` : `${file} is not an image that can be read: neither PNG nor JPEG.`);
  }
  const { exif, ...image } = isPng ? decodePng(bytes, file) : decodeJpeg(bytes, file);
  return turnUpright(image, exif ? await orientationOf(exif) : 1);
}

/** The EXIF orientation, 1 to 8; 1 (upright) when the block has none or is damaged, as in every image viewer. */
async function orientationOf(exif: Uint8Array): Promise<number> {
  try {
    const orientation = await exifr.orientation(Buffer.from(exif));
    return Number.isInteger(orientation) && orientation! >= 1 && orientation! <= 8 ? orientation! : 1;
  } catch {
    return 1;
  }
}

/** Turns and mirrors a picture that was stored with an EXIF orientation (1 to 8) so that it stands upright. */
function turnUpright({ width, height, pixels }: RgbImage, orientation: number): RgbImage {
  if (orientation === 1) return { width, height, pixels };
  const [right, down] = [3, 3 * width];
  const [atRight, atBottom] = [right * (width - 1), down * (height - 1)];
  // Where the upright picture's first pixel is stored, and the steps in storage for one pixel to its right and below.
  const [first, stepX, stepY] = [
    [0, right, down],
    [atRight, -right, down],
    [atRight + atBottom, -right, -down],
    [atBottom, right, -down],
    [0, down, right],
    [atBottom, -down, right],
    [atRight + atBottom, -down, -right],
    [atRight, down, -right],
  ][orientation - 1];
  const [columns, rows] = orientation >= 5 ? [height, width] : [width, height];
  const upright = new Uint8Array(pixels.length);
  let to = 0;
  for (let y = 0; y < rows; y++) {
    for (let x = 0, from = first + y * stepY; x < columns; x++, from += stepX, to += 3) {
      upright[to] = pixels[from];
      upright[to + 1] = pixels[from + 1];
      upright[to + 2] = pixels[from + 2];
    }
  }
  return { width: columns, height: rows, pixels: upright };
}

/**
 * Decodes a defect mask: a pixel belongs to a defect when it is brighter than one half (above 127, in its brightest
 * channel). A mask with nothing that bright holds class numbers instead, as VisA's do (1, 2, ... for kinds of defects):
 * there every pixel that is not black belongs to a defect.
 *
 * @throws UserError as decodeImage does
 */
export async function decodeMask(bytes: Uint8Array, file: string): Promise<Mask> {
  const { width, height, pixels } = await decodeImage(bytes, file);
  const values = new Uint8Array(width * height);
  const counts = new Uint32Array(256);
  for (let i = 0; i < values.length; i++) {
    values[i] = Math.max(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]);
    counts[values[i]]++;
  }
  const dark = counts.subarray(128).every((count) => count === 0);
  const classNumbers = dark && counts.filter((count) => count > 0).length <= MAX_CLASS_LEVELS;
  const greyPixels = classNumbers ? 0 : values.length - counts[0] - counts[255];
  const threshold = dark ? 0 : 127;
  for (let i = 0; i < values.length; i++) values[i] = values[i] > threshold ? 1 : 0;
  return { width, height, values, greyPixels };
}

/** The bytes of a file that should be an image. */
async function readBytes(file: string): Promise<Uint8Array> {
  try {
    const status = await stat(file);
    if (!status.isFile()) throw new Error('it is not a file');
    if (status.size > MAX_FILE_BYTES) throw new Error(`it has ${status.size} bytes, more than any image that can be read`);
    const handle = await open(file, 'r');
    try {
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${(error as Error).message}.`);
  }
}

/** Reads and decodes an image file. @throws UserError as decodeImage does, or when the file cannot be read */
export async function readImage(file: string): Promise<RgbImage> {
  return decodeImage(await readBytes(file), file);
}

/** Reads and decodes a mask file. @throws UserError as decodeMask does, or when the file cannot be read */
export async function readMask(file: string): Promise<Mask> {
  return decodeMask(await readBytes(file), file);
}
