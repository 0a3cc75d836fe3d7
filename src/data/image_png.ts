import { deflateSync, inflateSync } from 'node:zlib';
import { PNG } from 'pngjs';
import { UserError } from '../errors.ts';
import { checkImageSize } from './image_size.ts';

export const pngSignature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

/** The most bytes that image data may unpack to: what MAX_PIXELS of 8-bit RGBA take. Decoding needs several times as much. */
const MAX_UNPACKED_BYTES = 410_000_000;

/** Samples per pixel of each colour type, and the bit depths that go with it. */
const colourTypes: Readonly<Record<number, { readonly samples: number; readonly depths: readonly number[] }>> = {
  0: { samples: 1, depths: [1, 2, 4, 8, 16] },
  2: { samples: 3, depths: [8, 16] },
  3: { samples: 1, depths: [1, 2, 4, 8] },
  4: { samples: 2, depths: [8, 16] },
  6: { samples: 4, depths: [8, 16] },
};

/** First x, first y, step in x and step in y of the seven passes of an interlaced image (Adam7). */
const interlacePasses = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
] as const;

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ 0xedb88320 : remainder >>> 1;
  return remainder;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ crcTable[(crc ^ bytes[i]) & 0xff];
  return ~crc >>> 0;
}

interface Chunks {
  readonly header: Uint8Array;
  readonly palette?: Uint8Array;
  readonly data: readonly Uint8Array[];
  readonly exif?: Uint8Array;
}

/** A PNG file taken apart: the chunks that make its pixels, and its EXIF block. */
function readChunks(bytes: Uint8Array, file: string): Chunks {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let header: Uint8Array | undefined;
  let palette: Uint8Array | undefined;
  let exif: Uint8Array | undefined;
  const data: Uint8Array[] = [];
  for (let at = pngSignature.length; ; ) {
    if (at + 12 > bytes.length) throw new UserError(`${file}: the PNG file is truncated: it ends at byte ${bytes.length} without its end mark (IEND).`);
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (!/^[A-Za-z]{4}$/.test(type)) throw new UserError(`${file}: the PNG file is damaged at byte ${at}: no chunk begins there.`);
    if (length > bytes.length - at - 12) {
      throw new UserError(`${file}: the PNG file is truncated: its ${type} chunk at byte ${at} would have ${length} bytes, but the file ends at byte ${bytes.length}.`);
    }
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (!header) {
      if (type !== 'IHDR' || length !== 13) throw new UserError(`${file}: the PNG file is damaged: it does not begin with its header (IHDR).`);
      checkImageSize(view.getUint32(at + 8), view.getUint32(at + 12), file);
      header = content;
    }
    // A lower-case first letter marks chunks that a reader may skip: they do not touch the pixels.
    const critical = type[0] < 'a';
    const sound = (critical || type === 'eXIf') && crc32(bytes.subarray(at + 4, at + 8 + length)) === view.getUint32(at + 8 + length);
    if (critical && !sound) throw new UserError(`${file}: the PNG file is damaged: the checksum of its ${type} chunk at byte ${at} is wrong.`);
    if (type === 'IDAT') data.push(content);
    else if (type === 'PLTE') palette = content;
    else if (type === 'eXIf' && sound) exif = content;
    else if (type === 'IEND') break;
    else if (critical && type !== 'IHDR') throw new UserError(`${file}: the PNG file has a ${type} chunk, which standard PNG does not know. Save it again as plain PNG.`);
    at += 12 + length;
  }
  if (data.length === 0) throw new UserError(`${file}: the PNG file is damaged: it has no image data (IDAT).`);
  return { header, palette, data, exif };
}

/** Bytes of the unpacked image data that a header calls for: each row is packed to whole bytes behind its filter's byte. */
function unpackedBytes(width: number, height: number, bitsPerPixel: number, interlaced: boolean): number {
  const plane = (columns: number, rows: number): number => (columns === 0 ? 0 : rows * (1 + Math.ceil((columns * bitsPerPixel) / 8)));
  if (!interlaced) return plane(width, height);
  return interlacePasses.reduce((sum, [x, y, stepX, stepY]) => sum + plane(Math.max(0, Math.ceil((width - x) / stepX)), Math.max(0, Math.ceil((height - y) / stepY))), 0);
}

/** A chunk as the file has it. */
function chunk(type: string, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(12 + content.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let i = 0; i < 4; i++) bytes[4 + i] = type.charCodeAt(i);
  bytes.set(content, 8);
  view.setUint32(8 + content.length, crc32(bytes.subarray(4, 8 + content.length)));
  return bytes;
}

/**
 * Decodes a PNG file of any kind to 8-bit RGB as Pillow's `convert('RGB')` does: transparency is dropped, not blended;
 * 16-bit samples keep their upper byte (as Pillow and OpenCV read 16-bit RGB; greyscale the same way).
 *
 * The container, checksums, sizes and the length of the unpacked data are checked here, against the header, before pngjs
 * sees any of it: it then gets a file with nothing in it but a header, a palette and data of the right length. On a
 * damaged data stream its own unpacking need not end, and for an interlaced image it has no bound.
 *
 * @returns pixels: width × height × 3, and the EXIF block (TIFF bytes) when there is one
 * @throws UserError naming the file and what is wrong
 */
export function decodePng(bytes: Uint8Array, file: string): { width: number; height: number; pixels: Uint8Array; exif?: Uint8Array } {
  const { header, palette, data, exif } = readChunks(bytes, file);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colourType, compression, filter, interlace] = header.subarray(8);
  const kind = colourTypes[colourType];
  if (!kind?.depths.includes(depth)) throw new UserError(`${file}: the PNG file is damaged: its header names colour type ${colourType} with ${depth} bits, which do not go together.`);
  if (compression !== 0 || filter !== 0 || interlace > 1) throw new UserError(`${file}: the PNG file is damaged: its header names methods that PNG does not have.`);
  if (colourType === 3 && (!palette || palette.length === 0 || palette.length % 3 !== 0 || palette.length > 768)) {
    throw new UserError(`${file}: the PNG file is damaged: ${palette ? `its palette has ${palette.length} bytes` : 'it has no palette (PLTE)'}.`);
  }

  const expected = unpackedBytes(width, height, kind.samples * depth, interlace === 1);
  if (expected > MAX_UNPACKED_BYTES) {
    throw new UserError(`${file}: the image is ${width}×${height} with ${kind.samples * depth} bits per pixel, ${Math.round(expected / 1e6)} MB unpacked; ${MAX_UNPACKED_BYTES / 1e6} MB is the most. Save it with 8 bits per sample.`);
  }
  let unpacked: Uint8Array;
  try {
    unpacked = inflateSync(Buffer.concat(data), { maxOutputLength: expected, chunkSize: Math.max(64, Math.min(expected, 1 << 20)) });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') throw new UserError(`${file}: the PNG file is damaged: its data unpacks to more than the ${expected} bytes that ${width}×${height} takes.`);
    throw new UserError(`${file}: the PNG file is truncated or damaged: its data cannot be unpacked (${message}).`);
  }
  if (unpacked.length !== expected) {
    throw new UserError(`${file}: the PNG file is truncated or damaged: its data unpacks to ${unpacked.length} bytes, but ${width}×${height} takes ${expected}.`);
  }

  const plain = Buffer.concat([
    pngSignature,
    chunk('IHDR', header),
    ...(palette ? [chunk('PLTE', palette)] : []),
    chunk('IDAT', deflateSync(unpacked, { level: 0 })),
    chunk('IEND', new Uint8Array(0)),
  ]);
  let rgba: Uint8Array | Uint16Array;
  try {
    // Without rescaling, 16-bit samples come whole; smaller ones have to be scaled to 8 bits.
    rgba = PNG.sync.read(plain, { checkCRC: false, skipRescale: depth === 16 }).data;
  } catch (error) {
    throw new UserError(`${file}: the PNG file is damaged: ${(error as Error).message}.`);
  }
  const pixels = new Uint8Array(width * height * 3);
  const shift = depth === 16 ? 8 : 0;
  for (let from = 0, to = 0; to < pixels.length; from += 4, to += 3) {
    pixels[to] = rgba[from] >> shift;
    pixels[to + 1] = rgba[from + 1] >> shift;
    pixels[to + 2] = rgba[from + 2] >> shift;
  }
  return { width, height, pixels, exif };
}
