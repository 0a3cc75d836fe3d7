import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { UserError } from '../errors.ts';
import { checkImageSize } from './image_size.ts';

/**
 * The most scans that a progressive image may have. Encoders write about ten; each one costs a pass over all
 * coefficients, so that a small file with thousands of empty ones would keep the decoder busy for hours.
 */
const MAX_SCANS = 100;

/** Memory above which a decoder is not kept for the next image: WebAssembly memory never shrinks. */
const MAX_KEPT_MEMORY = 256 * 1024 * 1024;

/** Pixel formats and colour spaces of the TurboJPEG interface. */
const PIXELS_RGB = 0;
const PIXELS_CMYK = 11;
const SPACE_CMYK = 3;

interface JpegHeader {
  readonly width: number;
  readonly height: number;
  /** Position after the end-of-image mark. */
  readonly end: number;
  /** The EXIF block, as TIFF bytes. */
  readonly exif?: Uint8Array;
}

/** Walks over the segments of a JPEG file, up to its end mark, without decoding anything. */
function readSegments(bytes: Uint8Array, file: string): JpegHeader {
  const truncated = (): UserError => new UserError(`${file}: the JPEG file is truncated: it ends at byte ${bytes.length} without its end mark.`);
  let size: { width: number; height: number } | undefined;
  let exif: Uint8Array | undefined;
  let scans = 0;
  for (let at = 2; ; ) {
    // Fill bytes and stray bytes may stand before a marker; decoders skip them.
    while (at < bytes.length && bytes[at] !== 0xff) at++;
    while (at < bytes.length && bytes[at] === 0xff) at++;
    if (at >= bytes.length) throw truncated();
    const marker = bytes[at++];
    if (marker === 0xd9) {
      if (!size || scans === 0) throw new UserError(`${file}: the JPEG file is damaged: it ends without an image.`);
      return { ...size, end: at, exif };
    }
    // Stuffed zeros, restart marks and stray starts have no length.
    if (marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8)) continue;
    if (at + 2 > bytes.length) throw truncated();
    const length = (bytes[at] << 8) | bytes[at + 1];
    if (length < 2) throw new UserError(`${file}: the JPEG file is damaged at byte ${at}: a segment of ${length} bytes.`);
    if (at + length > bytes.length) throw truncated();
    const content = bytes.subarray(at + 2, at + length);
    if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      if (content.length < 6) throw new UserError(`${file}: the JPEG file is damaged at byte ${at}: its frame header is too short.`);
      const height = (content[1] << 8) | content[2];
      const width = (content[3] << 8) | content[4];
      checkImageSize(width, height, file);
      if (content[0] !== 8) throw new UserError(`${file}: the JPEG image has ${content[0]} bits per sample; only 8 can be read. Save it with 8, or as PNG.`);
      size = { width, height };
    } else if (marker === 0xda) {
      if (++scans > MAX_SCANS) throw new UserError(`${file}: the JPEG image has more than ${MAX_SCANS} scans, which no encoder writes. Save it again.`);
    } else if (marker === 0xe1 && !exif && Buffer.from(content.subarray(0, 6)).toString('latin1') === 'Exif\0\0') {
      exif = content.subarray(6);
    }
    at += length;
  }
}

/** What of the WebAssembly interface is used here: its types come with the browser's, which this project has no use for. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: Record<string, Record<string, (...parameters: number[]) => number>>) => { readonly exports: unknown };
};

/** The functions of TurboJPEG that the package's WebAssembly module exports. */
interface Turbo {
  readonly memory: { readonly buffer: ArrayBuffer };
  malloc(bytes: number): number;
  free(pointer: number): void;
  tjInitDecompress(): number;
  tjDestroy(decoder: number): number;
  tjDecompressHeader3(decoder: number, input: number, bytes: number, width: number, height: number, subsampling: number, space: number): number;
  tjDecompress2(decoder: number, input: number, bytes: number, output: number, width: number, pitch: number, height: number, format: number, flags: number): number;
}

let compiled: object | undefined;
let idle: { turbo: Turbo; messageAt: number } | undefined;

/** libjpeg leaves an error by longjmp: from WebAssembly, as an exception. */
function leave(): never {
  throw new Error('longjmp');
}

/**
 * A decoder: the one of the image before, or a new one. The package's own wrapper is not used: it has one instance for
 * the whole process, which leaks what a failed decoding had allocated, it takes libjpeg's warnings for failures, and it
 * drops libjpeg's message. The module is the package's.
 */
function takeDecoder(): { turbo: Turbo; messageAt: number } {
  if (idle) {
    const taken = idle;
    idle = undefined;
    return taken;
  }
  compiled ??= new WebAssembly.Module(readFileSync(createRequire(import.meta.url).resolve('@cwasm/jpeg-turbo/jpeg-turbo.wasm')));
  const { exports } = new WebAssembly.Instance(compiled, {
    env: { setjmp: () => 0, longjmp: leave },
    wasi_snapshot_preview1: { environ_sizes_get: () => 0, environ_get: leave, proc_exit: leave, fd_close: leave, fd_seek: leave, fd_write: leave },
  });
  const turbo = exports as Turbo;
  // TurboJPEG formats its messages over this initial text, the last one in its data; the function that returns them is
  // not exported.
  return { turbo, messageAt: Buffer.from(turbo.memory.buffer).lastIndexOf('No error\0') };
}

/** libjpeg's last message. */
function lastMessage(turbo: Turbo, at: number): string {
  const text = at < 0 ? '' : Buffer.from(turbo.memory.buffer, at, 200).toString('latin1').split('\0')[0];
  return text || 'the decoder gives no reason';
}

/**
 * Decodes a JPEG file to 8-bit RGB with libjpeg-turbo: baseline and progressive, greyscale, YCbCr, RGB, and CMYK as Pillow
 * converts it. The same decoder with the same settings as in Pillow (accurate integer transform, smooth chroma
 * upsampling), so that the pixels are the same.
 *
 * @returns pixels: width × height × 3, and the EXIF block (TIFF bytes) when there is one
 * @throws UserError naming the file and what is wrong: truncated, damaged, or a kind of JPEG that cannot be read
 */
export function decodeJpeg(bytes: Uint8Array, file: string): { width: number; height: number; pixels: Uint8Array; exif?: Uint8Array } {
  const { width, height, end, exif } = readSegments(bytes, file);
  const { turbo, messageAt } = takeDecoder();
  const allocated: number[] = [];
  const allocate = (size: number): number => {
    const pointer = turbo.malloc(size);
    if (pointer === 0) throw new UserError(`${file}: not enough memory to decode ${width}×${height} pixels.`);
    allocated.push(pointer);
    return pointer;
  };
  // Warnings come as a failed status: stray bytes between segments are harmless, everything else means lost pixels.
  const check = (status: number): void => {
    if (status === 0) return;
    const message = lastMessage(turbo, messageAt);
    if (!/extraneous bytes before marker|unknown JFIF revision|Unknown Adobe color transform/.test(message)) throw new UserError(`${file}: the JPEG file is damaged: ${message}.`);
  };
  if (messageAt >= 0) new Uint8Array(turbo.memory.buffer)[messageAt] = 0;
  try {
    const input = allocate(end);
    new Uint8Array(turbo.memory.buffer, input, end).set(bytes.subarray(0, end));
    const found = allocate(16);
    const decoder = turbo.tjInitDecompress();
    if (decoder === 0) throw new UserError(`${file}: not enough memory to decode it.`);
    check(turbo.tjDecompressHeader3(decoder, input, end, found, found + 4, found + 8, found + 12));
    const [foundWidth, foundHeight, , space] = new Uint32Array(turbo.memory.buffer, found, 4);
    if (foundWidth !== width || foundHeight !== height) throw new UserError(`${file}: the JPEG file is damaged: it has two headers that differ.`);
    const cmyk = space >= SPACE_CMYK;
    const pitch = width * (cmyk ? 4 : 3);
    const output = allocate(pitch * height);
    check(turbo.tjDecompress2(decoder, input, end, output, width, pitch, height, cmyk ? PIXELS_CMYK : PIXELS_RGB, 0));
    const decoded = new Uint8Array(turbo.memory.buffer, output, pitch * height);
    const pixels = cmyk ? rgbFromInvertedCmyk(decoded) : decoded.slice();
    turbo.tjDestroy(decoder);
    for (const pointer of allocated) turbo.free(pointer);
    if (turbo.memory.buffer.byteLength <= MAX_KEPT_MEMORY) idle = { turbo, messageAt };
    return { width, height, pixels, exif };
  } catch (error) {
    // The decoder is not kept: an error leaves it in the middle of its work.
    if (error instanceof UserError) throw error;
    throw new UserError(`${file}: the JPEG file cannot be decoded: ${lastMessage(turbo, messageAt)}.`);
  }
}

/** CMYK as Adobe writes it in JPEG, 255 for no ink, to RGB by Pillow's formula and rounding. */
function rgbFromInvertedCmyk(cmyk: Uint8Array): Uint8Array {
  const pixels = new Uint8Array((cmyk.length / 4) * 3);
  for (let from = 0, to = 0; from < cmyk.length; from += 4, to += 3) {
    const light = cmyk[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const product = (255 - cmyk[from + channel]) * light + 128;
      pixels[to + channel] = light - (((product >> 8) + product) >> 8);
    }
  }
  return pixels;
}
