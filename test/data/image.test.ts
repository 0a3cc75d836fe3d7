import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeImage, decodeMask, readImage } from '../../src/data/image.ts';
import { listImages } from '../../src/data/image_list.ts';
import { UserError } from '../../src/errors.ts';

const fixtures = join(import.meta.dirname, '..', 'fixtures', 'images');
const fixture = (name: string): Promise<Buffer> => readFile(join(fixtures, name));

async function messageOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    assert.instance(error, UserError, (error as Error).stack);
    return (error as Error).message;
  }
  throw new Error('no error was thrown');
}

/** Decodes bad bytes and returns the message of the UserError, which must name the file. */
async function refusal(bytes: Uint8Array): Promise<string> {
  const message = await messageOf(() => decodeImage(bytes, 'folder/bad.img'));
  assert.match(message, /^folder\/bad\.img/);
  return message;
}

/** CRC-32 bit by bit, from its definition. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) for (let bit = 0; bit < 8; bit++) crc = ((crc ^ (byte >> bit)) & 1 ? 0xedb88320 : 0) ^ (crc >>> 1);
  return ~crc >>> 0;
}

function chunk(type: string, content: Uint8Array = new Uint8Array(0)): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), content]);
  const frame = Buffer.alloc(8);
  frame.writeUInt32BE(content.length);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
}

const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');

function pngHeader(width: number, height: number, depth = 8, colourType = 2, interlace = 0): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([depth, colourType, 0, 0, interlace], 8);
  return chunk('IHDR', header);
}

interface PngOptions {
  readonly width: number;
  readonly height: number;
  readonly depth?: number;
  readonly colourType?: number;
  readonly interlaced?: boolean;
  /** Sample `channel` at x, y. */
  sample(x: number, y: number, channel: number): number;
  /** Chunks before the image data. */
  readonly before?: Buffer[];
  readonly filter?: number;
}

/** The samples of a picture as PNG packs them, before compression; filter 0, 1 (left) or 2 (up). */
function packed({ width, height, depth = 8, colourType = 2, interlaced = false, sample, filter = 0 }: PngOptions): Buffer {
  const channels = [1, 0, 3, 1, 2, 0, 4][colourType];
  const passes = interlaced ? [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]] : [[0, 0, 1, 1]];
  const rows: number[] = [];
  for (const [x0, y0, stepX, stepY] of passes) {
    if (x0 >= width) continue;
    let previous: number[] = [];
    for (let y = y0; y < height; y += stepY) {
      let bits = '';
      for (let x = x0; x < width; x += stepX) for (let c = 0; c < channels; c++) bits += sample(x, y, c).toString(2).padStart(depth, '0');
      const row: number[] = [];
      for (let i = 0; i < bits.length; i += 8) row.push(Number.parseInt(bits.slice(i, i + 8).padEnd(8, '0'), 2));
      const distance = Math.max(1, (channels * depth) / 8);
      rows.push(filter, ...row.map((byte, i) => (byte - (filter === 1 ? (row[i - distance] ?? 0) : filter === 2 ? (previous[i] ?? 0) : 0)) & 0xff));
      previous = row;
    }
  }
  return Buffer.from(rows);
}

function png(options: PngOptions): Buffer {
  const { width, height, depth = 8, colourType = 2, interlaced = false, before = [] } = options;
  return Buffer.concat([signature, pngHeader(width, height, depth, colourType, interlaced ? 1 : 0), ...before, chunk('IDAT', deflateSync(packed(options))), chunk('IEND')]);
}

/** An EXIF block that says nothing but the orientation, in either byte order. */
function exifBlock(orientation: number, littleEndian: boolean): Buffer {
  const block = Buffer.alloc(26);
  block.write(littleEndian ? 'II' : 'MM', 'latin1');
  const [u16, u32] = littleEndian ? (['writeUInt16LE', 'writeUInt32LE'] as const) : (['writeUInt16BE', 'writeUInt32BE'] as const);
  block[u16](42, 2);
  block[u32](8, 4);
  block[u16](1, 8);
  block[u16](0x0112, 10);
  block[u16](3, 12);
  block[u32](1, 14);
  block[u16](orientation, 18);
  return block;
}

/** A JPEG segment. */
function segment(marker: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([0xff, marker, (content.length + 2) >> 8, (content.length + 2) & 0xff]), content]);
}

for (const name of ['photo.jpg', 'progressive.jpg', 'grey.jpg', 'cmyk.jpg', 'palette.png', 'alpha.png']) {
  test(`${name} has the pixels that Pillow decodes`, async () => {
    const { width, height, pixels } = await readImage(join(fixtures, name));
    assert.equal([width, height], [37, 21]);
    assert.equal(Buffer.from(pixels), await fixture(name.replace(/\..*/, '.rgb')));
  });
}

const sample = (x: number, y: number, channel: number): number => (x * 31 + y * 57 + channel * 101 + x * y) % 65536;

for (const interlaced of [false, true]) {
  for (const [colourType, depths] of [[0, [1, 2, 4, 8, 16]], [2, [8, 16]], [3, [1, 2, 4, 8]], [4, [8, 16]], [6, [8, 16]]] as const) {
    for (const depth of depths) {
      test(`PNG colour type ${colourType}, ${depth} bits${interlaced ? ', interlaced' : ''}`, async () => {
        const levels = 2 ** depth;
        const palette = Buffer.from(Array.from({ length: levels * 3 }, (_, i) => (i * 37) % 256)).subarray(0, 768);
        const options = { depth, colourType, interlaced, sample: (x: number, y: number, c: number) => (depth === 16 ? sample(x, y, c) * 17 : sample(x, y, c)) % levels };
        for (const [width, height, filter] of [[1, 1, 0], [13, 11, 0], [13, 11, 1], [17, 9, 2], [3, 2, 0]]) {
          const decoded = await decodeImage(png({ ...options, width, height, filter, before: colourType === 3 ? [chunk('PLTE', palette)] : [] }), 'x.png');
          assert.equal([decoded.width, decoded.height], [width, height]);
          const expected: number[] = [];
          for (let y = 0; y < height; y++) {
            for (let x = 0; x < width; x++) {
              for (let c = 0; c < 3; c++) {
                const value = options.sample(x, y, colourType === 2 || colourType === 6 ? c : 0);
                expected.push(colourType === 3 ? palette[3 * value + c] : depth === 16 ? value >> 8 : (value * 255) / (levels - 1));
              }
            }
          }
          assert.equal([...decoded.pixels], expected, `${width}×${height}, filter ${filter}`);
        }
      });
    }
  }
}

test('transparency of a single colour or of palette entries does not touch the pixels', async () => {
  const grey = await decodeImage(png({ width: 3, height: 1, colourType: 0, sample: (x) => x * 50, before: [chunk('tRNS', Uint8Array.of(0, 50))] }), 'x.png');
  assert.equal([...grey.pixels], [0, 0, 0, 50, 50, 50, 100, 100, 100]);
  const rgb = await decodeImage(png({ width: 2, height: 1, sample: (x, _y, c) => x * 50 + c, before: [chunk('tRNS', Uint8Array.of(0, 50, 0, 51, 0, 52))] }), 'x.png');
  assert.equal([...rgb.pixels], [0, 1, 2, 50, 51, 52]);
});

test('all EXIF orientations of JPEG and PNG come out upright, as Pillow turns them', async () => {
  const jpeg = await fixture('photo.jpg');
  const pixels = await fixture('photo.rgb');
  const golden = await fixture('orientations.rgb');
  for (let orientation = 1; orientation <= 8; orientation++) {
    const expected = golden.subarray((orientation - 1) * pixels.length, orientation * pixels.length);
    for (const littleEndian of [true, false]) {
      const exif = exifBlock(orientation, littleEndian);
      const withExif = Buffer.concat([jpeg.subarray(0, 2), segment(0xe1, Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), exif])), jpeg.subarray(2)]);
      const pngWithExif = png({ width: 37, height: 21, sample: (x, y, c) => pixels[(y * 37 + x) * 3 + c], before: [chunk('eXIf', exif)] });
      for (const bytes of [withExif, pngWithExif]) {
        const image = await decodeImage(bytes, 'turned');
        assert.equal([image.width, image.height], orientation < 5 ? [37, 21] : [21, 37]);
        assert.equal(Buffer.from(image.pixels), expected, `orientation ${orientation}`);
      }
    }
  }
});

test('a damaged or senseless EXIF block leaves the image as it is stored', async () => {
  const jpeg = await fixture('photo.jpg');
  const expected = await fixture('photo.rgb');
  const circle = exifBlock(6, true);
  circle.writeUInt32LE(0, 4); // The directory begins at the block's own header.
  for (const exif of [exifBlock(0, true), exifBlock(9, true), exifBlock(6, true).subarray(0, 12), Buffer.from('II*\0\xff\xff\xff\xff', 'latin1'), Buffer.alloc(0), circle, Buffer.alloc(60000, 0x4d)]) {
    const withExif = Buffer.concat([jpeg.subarray(0, 2), segment(0xe1, Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), exif])), jpeg.subarray(2)]);
    assert.equal(Buffer.from((await decodeImage(withExif, 'x.jpg')).pixels), expected);
  }
});

test('what is not PNG or JPEG is named by its content, whatever the file is called', async () => {
  const cases: [string, RegExp][] = [
    ['', /the file is empty/],
    ['GIF89a....', /is a GIF file; convert it to PNG or JPEG/],
    ['RIFF\x10\0\0\0WEBPVP8 ', /is a WebP file; convert it to PNG or JPEG/],
    ['II*\0\x08\0\0\0', /is a TIFF file/],
    ['MM\0*\0\0\0\x08', /is a TIFF file/],
    ['BM\x36\0\0\0', /is a BMP file/],
    ['P5\n8 6\n255\n', /is a PNM file/],
    ['\0\0\0\x18ftypheic', /is a HEIC file/],
    ['\0\0\0\x18ftypavif', /is an AVIF file/],
    ['<!DOCTYPE html>', /is an HTML file/],
    ['hello', /neither PNG nor JPEG/],
    ['\x89PNG\n', /neither PNG nor JPEG/],
  ];
  for (const [start, expected] of cases) assert.match(await refusal(Buffer.from(start, 'latin1')), expected);
});

test('sizes of zero, and of more than 100 megapixels, are refused by the header alone', async () => {
  const jpegOf = (width: number, height: number): Buffer =>
    Buffer.concat([Buffer.from([0xff, 0xd8]), segment(0xc0, Buffer.from([8, height >> 8, height & 255, width >> 8, width & 255, 1, 1, 0x11, 0]))]);
  for (const [width, height, expected] of [
    [0, 5, /no pixels \(its header says 0×5\)/],
    [5, 0, /no pixels \(its header says 5×0\)/],
    [30000, 30000, /30000×30000, more than 100 megapixels/],
    [10001, 10000, /10001×10000, more than 100 megapixels/],
  ] as const) {
    const before = process.memoryUsage();
    assert.match(await refusal(Buffer.concat([signature, pngHeader(width, height), chunk('IDAT'), chunk('IEND')])), expected);
    assert.match(await refusal(jpegOf(width, height)), expected);
    const after = process.memoryUsage();
    assert.ok(after.arrayBuffers - before.arrayBuffers + after.external - before.external < 4e6, 'memory was allocated');
  }
  assert.match(await refusal(Buffer.concat([signature, pngHeader(10000, 10000, 16, 6), chunk('IDAT'), chunk('IEND')])), /10000×10000 with 64 bits per pixel, 800 MB unpacked/);
  assert.match(await refusal(Buffer.concat([signature, pngHeader(2 ** 31 - 1, 2 ** 31 - 1)])), /2147483647×2147483647/);
});

test('every truncation of a PNG or JPEG is an error that says so', async () => {
  for (const name of ['photo.jpg', 'progressive.jpg', 'palette.png', 'alpha.png']) {
    const whole = await fixture(name);
    for (let length = 1; length < whole.length; length++) {
      assert.match(await refusal(whole.subarray(0, length)), length < (name.endsWith('png') ? 8 : 2) ? /neither PNG nor JPEG/ : /truncated/, `${name} cut at ${length}`);
    }
  }
});

test('image data that ends early inside a whole file is an error', async () => {
  const options = { width: 20, height: 20, sample: (x: number, y: number, c: number) => sample(x, y, c) % 256 };
  const data = deflateSync(packed(options));
  const withData = (bytes: Uint8Array): Buffer => Buffer.concat([signature, pngHeader(20, 20), chunk('IDAT', bytes), chunk('IEND')]);
  assert.match(await refusal(withData(data.subarray(0, data.length / 2))), /truncated or damaged: its data cannot be unpacked/);
  assert.match(await refusal(withData(deflateSync(packed({ ...options, height: 19 })))), /unpacks to 1159 bytes, but 20×20 takes 1220/);
  assert.match(await refusal(withData(new Uint8Array(0))), /cannot be unpacked/);
  const jpeg = await fixture('photo.jpg');
  const cut = Buffer.concat([jpeg.subarray(0, jpeg.length - 150), jpeg.subarray(jpeg.length - 2)]);
  assert.match(await refusal(cut), /the JPEG file is damaged: Corrupt JPEG data: premature end of data segment/);
});

test('a PNG that unpacks to more than its header says is refused, plain and interlaced, without unpacking it all', async () => {
  const bomb = deflateSync(Buffer.alloc(200_000_000));
  for (const interlace of [0, 1]) {
    const before = performance.now();
    assert.match(await refusal(Buffer.concat([signature, pngHeader(4, 4, 8, 2, interlace), chunk('IDAT', bomb), chunk('IEND')])), /unpacks to more than the \d+ bytes that 4×4 takes/);
    assert.ok(performance.now() - before < 1000);
  }
});

test('a JPEG with thousands of scans is refused before it is decoded', async () => {
  const jpeg = await fixture('progressive.jpg');
  const scan = segment(0xda, Buffer.from([1, 1, 0, 0, 0, 0]));
  assert.match(await refusal(Buffer.concat([jpeg.subarray(0, -2), ...Array.from({ length: 5000 }, () => scan), jpeg.subarray(-2)])), /more than 100 scans/);
});

test('damage to a PNG is named with the chunk', async () => {
  const whole = png({ width: 5, height: 5, colourType: 3, sample: (x) => x % 2, before: [chunk('PLTE', Uint8Array.of(1, 2, 3, 4, 5, 6))] });
  const damaged = Buffer.from(whole);
  damaged[whole.indexOf('IDAT') + 6] ^= 1;
  assert.match(await refusal(damaged), /checksum of its IDAT chunk at byte \d+ is wrong/);
  const parts = (...chunks: Buffer[]): Buffer => Buffer.concat([signature, ...chunks]);
  const data = chunk('IDAT', deflateSync(packed({ width: 5, height: 5, colourType: 3, sample: () => 7 })));
  assert.match(await refusal(parts(data)), /does not begin with its header/);
  assert.match(await refusal(parts(pngHeader(5, 5), chunk('IEND'))), /no image data/);
  assert.match(await refusal(parts(pngHeader(5, 5, 8, 3), data, chunk('IEND'))), /no palette/);
  assert.match(await refusal(parts(pngHeader(5, 5, 8, 3), chunk('PLTE', Uint8Array.of(1, 2)), data, chunk('IEND'))), /palette has 2 bytes/);
  assert.match(await refusal(parts(pngHeader(5, 5, 8, 3), chunk('PLTE', Uint8Array.of(1, 2, 3)), data, chunk('IEND'))), /index 7 not in palette/);
  assert.match(await refusal(parts(pngHeader(5, 5, 3, 2), data, chunk('IEND'))), /colour type 2 with 3 bits/);
  assert.match(await refusal(parts(pngHeader(5, 5, 8, 5), data, chunk('IEND'))), /colour type 5/);
  assert.match(await refusal(parts(pngHeader(5, 5, 8, 2, 2), data, chunk('IEND'))), /methods that PNG does not have/);
  assert.match(await refusal(parts(pngHeader(5, 5), chunk('CgBI'), data, chunk('IEND'))), /CgBI chunk/);
  assert.match(await refusal(parts(pngHeader(1, 1, 8, 0), chunk('IDAT', deflateSync(Uint8Array.of(9, 1))), chunk('IEND'))), /Unrecognised filter type/);
  assert.match(await refusal(parts(pngHeader(5, 5), Buffer.from('\0\0\0\x04\x01\x02\x03\x04abcdefgh', 'latin1'))), /damaged at byte 33/);
  // What a reader may skip, and what follows the end, may be wrong.
  const text = chunk('tEXt', Buffer.from('Comment\0x'));
  text[text.length - 1] ^= 1;
  const fine = await decodeImage(Buffer.concat([parts(pngHeader(1, 1, 8, 0), text, chunk('IDAT', deflateSync(Uint8Array.of(0, 9))), chunk('IEND')), Buffer.from('rest')]), 'x.png');
  assert.equal([...fine.pixels], [9, 9, 9]);
});

test('kinds of JPEG that cannot be read, and damaged ones, are named; decoding goes on afterwards', async () => {
  const jpeg = await fixture('photo.jpg');
  const frame = jpeg.indexOf(Buffer.from([0xff, 0xc0]));
  const changed = (at: number, ...bytes: number[]): Buffer => {
    const copy = Buffer.from(jpeg);
    copy.set(bytes, at);
    return copy;
  };
  const bad: [Buffer, RegExp][] = [
    [changed(frame + 4, 12), /12 bits per sample/],
    [changed(frame + 1, 0xc3), /cannot be decoded: Unsupported JPEG process: SOF type 0xc3/],
    [changed(jpeg.indexOf(Buffer.from([0xff, 0xdb])) + 1, 0xfe), /cannot be decoded: Quantization table 0x00 was not defined/],
    [changed(jpeg.indexOf(Buffer.from([0xff, 0xc4])) + 5, 255, 255), /cannot be decoded: Bogus Huffman table definition/],
    [Buffer.from([0xff, 0xd8, 0xff, 0xd9]), /ends without an image/],
    [Buffer.concat([jpeg.subarray(0, 2), Buffer.from([0xff, 0xfe, 0, 1]), jpeg.subarray(2)]), /a segment of 1 bytes/],
  ];
  const good = await fixture('photo.rgb');
  for (let round = 0; round < 20; round++) {
    const [bytes, expected] = bad[round % bad.length];
    assert.match(await refusal(bytes), expected);
    assert.equal(Buffer.from((await decodeImage(jpeg, 'x.jpg')).pixels), good);
  }
});

test('harmless stray bytes in a JPEG are skipped, as in other readers', async () => {
  const jpeg = await fixture('photo.jpg');
  const good = await fixture('photo.rgb');
  for (const bytes of [
    Buffer.concat([jpeg.subarray(0, -2), Buffer.alloc(7), jpeg.subarray(-2), Buffer.from('after the end')]),
    Buffer.concat([jpeg.subarray(0, 20), Buffer.from([0, 0]), jpeg.subarray(20)]),
    Buffer.concat([jpeg.subarray(0, 20), Buffer.from([0xff, 0xff]), jpeg.subarray(20)]),
  ]) {
    assert.equal(Buffer.from((await decodeImage(bytes, 'x.jpg')).pixels), good);
  }
});

test('random damage gives an image or a clear error, never another failure', async () => {
  let state = 12345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (const name of ['photo.jpg', 'progressive.jpg', 'cmyk.jpg', 'palette.png', 'alpha.png']) {
    const whole = await fixture(name);
    let refused = 0;
    for (let round = 0; round < 150; round++) {
      const bytes = Buffer.from(whole);
      for (let change = random(3); change >= 0; change--) bytes[8 + random(bytes.length - 8)] = random(256);
      try {
        const { width, height, pixels } = await decodeImage(bytes, 'x');
        assert.is(pixels.length, width * height * 3);
      } catch (error) {
        assert.instance(error, UserError, (error as Error).stack);
        refused++;
      }
    }
    assert.ok(refused > 20, `${name}: only ${refused} damaged files were refused`);
  }
});

test('masks: above one half is a defect; a mask of class numbers has a defect wherever it is not black', async () => {
  const mask = (values: number[], colourType = 0): Promise<Awaited<ReturnType<typeof decodeMask>>> =>
    decodeMask(png({ width: values.length, height: 1, colourType, sample: (x) => values[x] }), 'mask.png');
  const grey = await mask([0, 127, 128, 255]);
  assert.equal([...grey.values], [0, 0, 1, 1]);
  assert.is(grey.greyPixels, 2);
  const classes = await mask([0, 1, 2, 0, 7]);
  assert.equal([...classes.values], [0, 1, 1, 0, 1]);
  assert.is(classes.greyPixels, 0);
  assert.is((await mask(Array.from({ length: 100 }, (_, i) => i))).greyPixels, 99, 'a dark photo is no mask');
  const empty = await mask([0, 0]);
  assert.equal([...empty.values], [0, 0]);
  const colour = await decodeMask(png({ width: 2, height: 1, sample: (x, _y, c) => (x === 1 && c === 2 ? 200 : 0) }), 'mask.png');
  assert.equal([...colour.values], [0, 1]);
  assert.match(await messageOf(() => decodeMask(Buffer.from('GIF89a'), 'folder/mask.png')), /folder\/mask\.png is a GIF/);
});

test('unreadable files are named', async () => {
  assert.match(await messageOf(() => readImage(join(fixtures, 'missing.png'))), /cannot read .*missing\.png: ENOENT/);
  assert.match(await messageOf(() => readImage(fixtures)), /cannot read .*images: it is not a file/);
});

test('images are listed from files, folders and globs: sorted, once each, links followed without end', async () => {
  const root = await mkdtemp(join(tmpdir(), 'images-'));
  const at = (...parts: string[]): string => join(root, ...parts);
  try {
    await mkdir(at('part', 'deep'), { recursive: true });
    await mkdir(at('empty'));
    for (const name of ['b.PNG', 'a.jpg', 'notes.txt', '.hidden.png', join('part', 'c.jpeg'), join('part', 'deep', 'd.png'), 'odd[1].png', 'noextension']) await writeFile(at(name), '');
    await symlink(root, at('part', 'deep', 'loop'));
    await symlink(at('a.jpg'), at('part', 'again.jpg'));
    await symlink(at('nowhere'), at('dangling.png'));

    const everything = [at('a.jpg'), at('b.PNG'), at('odd[1].png'), at('part', 'c.jpeg'), at('part', 'deep', 'd.png')];
    assert.equal(await listImages([root]), everything);
    assert.equal(await listImages([at('odd[1].png'), root, root, at('part')]), [at('odd[1].png'), at('a.jpg'), at('b.PNG'), at('part', 'c.jpeg'), at('part', 'deep', 'd.png')]);
    assert.equal(await listImages([at('part')]), [at('part', 'again.jpg'), at('part', 'c.jpeg'), at('part', 'deep', 'd.png'), at('part', 'deep', 'loop', 'b.PNG'), at('part', 'deep', 'loop', 'odd[1].png')]);
    assert.equal(await listImages([at('noextension'), at('odd[1].png')]), [at('noextension'), at('odd[1].png')]);
    assert.equal(await listImages([at('*.{jpg,PNG}')]), [at('a.jpg'), at('b.PNG')]);
    assert.equal((await listImages([`${root}/**/*.{png,jpeg}`])).filter((file) => !file.includes('loop')), [at('odd[1].png'), at('part', 'c.jpeg'), at('part', 'deep', 'd.png')]);
    assert.match(await messageOf(() => listImages([at('empty')])), /empty has no PNG or JPEG files/);
    assert.match(await messageOf(() => listImages([at('*.txt')])), /no PNG or JPEG file matches .*\*\.txt/);
    assert.match(await messageOf(() => listImages([at('a.jpg'), at('gone.png'), at('x*')])), /there is no file or folder .*gone\.png; no PNG or JPEG file matches .*x\*/);
    assert.match(await messageOf(() => listImages([])), /no images were named/);

    // A photo that cannot be read is for its reader to name, unless it was converted.
    await mkdir(at('scans'));
    for (const name of ['1.bmp', '2.TIFF', '2.png', '3.heic', 'labels.json', 'report.pdf']) await writeFile(at('scans', name), '');
    const scans = [at('scans', '1.bmp'), at('scans', '2.png'), at('scans', '3.heic')];
    assert.equal(await listImages([at('scans')]), scans);
    assert.equal(await listImages([at('scans', '*')]), scans);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
});

test.run();
