import { mkdir, mkdtemp, readFile, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { openCheckpoint, openSafetensors, openSafetensorsFolder, writeSafetensors } from '../../src/io/safetensors.ts';
import { fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';

let folder: string;
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'safetensors-'));
});
test.after(() => rm(folder, { recursive: true, force: true }));

/** The bytes of a file with any header text and data, well-formed or not. */
function fileBytes(header: string | Uint8Array, dataBytes: number | Uint8Array = 0, headerLength?: bigint): Buffer {
  const json = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerLength ?? BigInt(json.length));
  return Buffer.concat([length, json, typeof dataBytes === 'number' ? Buffer.alloc(dataBytes) : dataBytes]);
}

/** Opens bad bytes and returns the message of the UserError, which must name the file. */
async function refusal(bytes: Uint8Array): Promise<string> {
  const file = join(folder, 'bad.safetensors');
  await writeFile(file, bytes);
  return messageOf(() => openCheckpoint(file), 'bad.safetensors');
}

async function messageOf(action: () => Promise<unknown>, mentions: string): Promise<string> {
  try {
    await action();
  } catch (error) {
    assert.instance(error, UserError);
    const { message } = error as Error;
    assert.ok(message.includes(mentions), `"${message}" does not name ${mentions}`);
    return message;
  }
  throw new Error('no error was thrown');
}

const entry = (dtype: unknown, shape: unknown, offsets: unknown): Record<string, unknown> => ({ dtype, shape, data_offsets: offsets });

test('what is written is read back, whole and by rows, in f32 and f16', async () => {
  const file = join(folder, 'written.safetensors');
  const values = Float32Array.from({ length: 5 * 7 }, (_, i) => Math.sin(i) * 3);
  await writeSafetensors(
    file,
    [
      { name: 'half', dtype: 'F16', shape: [5, 7], data: values },
      { name: 'single', dtype: 'F32', shape: [5, 7], data: values },
      { name: 'scalar', dtype: 'F32', shape: [], data: Float32Array.of(4.5) },
      { name: 'empty', dtype: 'F32', shape: [0, 3], data: new Float32Array(0) },
      { name: 'ids', dtype: 'I64', shape: [2], data: new Uint8Array(BigInt64Array.of(-3n, 77n).buffer) },
    ],
    { format: 'pt', note: 'ä "quoted"' },
  );
  const checkpoint = await openCheckpoint(file);
  assert.equal(checkpoint.metadata, { format: 'pt', note: 'ä "quoted"' });
  assert.equal([...checkpoint.tensors.keys()].sort(), ['empty', 'half', 'ids', 'scalar', 'single']);
  assert.equal(checkpoint.entry('half').shape, [5, 7]);
  assert.equal(await checkpoint.readFloat32('single'), values);
  assert.equal(await checkpoint.readFloat32('half'), values.map((value) => fromFloat16Bits(toFloat16Bits(value))));
  assert.equal([...(await checkpoint.readFloat32('scalar'))], [4.5]);
  assert.equal((await checkpoint.readFloat32('empty')).length, 0);
  assert.equal([...(await checkpoint.readFloat32('ids'))], [-3, 77]);
  const expected = [3, 4, 0, 0, 0, 3].flatMap((row) => [...values.subarray(row * 7, row * 7 + 7)]);
  assert.equal([...(await checkpoint.readFloat32Rows('single', [3, 4, 0, 0, 0, 3]))], expected);
  assert.equal([...(await checkpoint.readFloat32Rows('half', [4]))], [...values.subarray(28)].map((value) => fromFloat16Bits(toFloat16Bits(value))));
  const message = await messageOf(() => checkpoint.readFloat32Rows('single', [5]), 'written.safetensors');
  assert.match(message, /"single" \[5, 7\] has no row 5/);
  assert.match(await messageOf(() => checkpoint.read('nothing'), 'written.safetensors'), /tensor "nothing" is missing/);
  await checkpoint.close();
});

test('every convertible type becomes f32', async () => {
  const bf16 = Uint16Array.of(0x3f80, 0xc040, 0x7f80, 0x0001);
  const cases: [string, Uint8Array, number[]][] = [
    ['BF16', new Uint8Array(bf16.buffer), [1, -3, Number.POSITIVE_INFINITY, 2 ** -133]],
    ['F16', new Uint8Array(Uint16Array.of(0x3c00, 0xfc00, 0x0001, 0x8000).buffer), [1, Number.NEGATIVE_INFINITY, 2 ** -24, -0]],
    ['F64', new Uint8Array(Float64Array.of(0.1, -1e300).buffer), [Math.fround(0.1), Number.NEGATIVE_INFINITY]],
    ['U8', Uint8Array.of(0, 255), [0, 255]],
    ['I8', Uint8Array.of(255, 127), [-1, 127]],
    ['BOOL', Uint8Array.of(1, 0), [1, 0]],
    ['U16', new Uint8Array(Uint16Array.of(65535).buffer), [65535]],
    ['I16', new Uint8Array(Int16Array.of(-5).buffer), [-5]],
    ['U32', new Uint8Array(Uint32Array.of(2 ** 31).buffer), [2 ** 31]],
    ['I32', new Uint8Array(Int32Array.of(-7).buffer), [-7]],
    ['U64', new Uint8Array(BigUint64Array.of(2n ** 63n).buffer), [2 ** 63]],
  ];
  for (const [dtype, data, expected] of cases) {
    const file = join(folder, 'types.safetensors');
    await writeFile(file, fileBytes(JSON.stringify({ x: entry(dtype, [expected.length], [0, data.length]) }), data));
    const checkpoint = await openSafetensors(file);
    assert.equal([...(await checkpoint.readFloat32('x'))], expected, dtype);
    assert.equal([...(await checkpoint.read('x'))], [...data], dtype);
    await checkpoint.close();
  }
  await writeFile(join(folder, 'types.safetensors'), fileBytes(JSON.stringify({ x: entry('F8_E4M3', [2], [0, 2]) }), 2));
  const checkpoint = await openSafetensors(join(folder, 'types.safetensors'));
  assert.match(await messageOf(() => checkpoint.readFloat32('x'), 'types.safetensors'), /tensor "x" is F8_E4M3/);
  await checkpoint.close();
});

test('f16 conversion crosses the borders of its chunks', async () => {
  const count = (1 << 21) + 5;
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = (i % 2039) - 1000;
  const file = join(folder, 'chunks.safetensors');
  await writeSafetensors(file, [{ name: 'x', dtype: 'F16', shape: [count], data: values }]);
  const checkpoint = await openSafetensors(file);
  const read = await checkpoint.readFloat32('x');
  assert.ok(read.every((value, i) => value === values[i]));
  await checkpoint.close();
});

test('the bytes of a written file do not depend on the order of tensors and metadata, and data is aligned', async () => {
  const tensors = [
    { name: 'b', dtype: 'F16', shape: [3], data: Float32Array.of(1, 2, 3) },
    { name: 'a', dtype: 'F16', shape: [1], data: Float32Array.of(1) },
    { name: 'z', dtype: 'F32', shape: [3], data: Float32Array.of(4, 5, 6) },
  ] as const;
  await writeSafetensors(join(folder, 'one'), tensors, { k: '1', a: '2' });
  await writeSafetensors(join(folder, 'two'), [...tensors].reverse(), { a: '2', k: '1' });
  const bytes = await readFile(join(folder, 'one'));
  assert.equal(bytes, await readFile(join(folder, 'two')));
  assert.is(bytes.readBigUInt64LE() % 8n, 0n);
  const checkpoint = await openSafetensors(join(folder, 'one'));
  assert.equal([...checkpoint.tensors.keys()], ['z', 'a', 'b']);
  for (const { offset, dtype } of checkpoint.tensors.values()) assert.is(offset % (dtype === 'F32' ? 4 : 2), 0);
  await checkpoint.close();
});

test('a value too large for f16, and a folder that cannot be written, leave nothing behind', async () => {
  const target = join(folder, 'overflow');
  await mkdir(target);
  const big = { name: 'big', dtype: 'F16', shape: [2], data: Float32Array.of(1, 70000) } as const;
  assert.match(await messageOf(() => writeSafetensors(join(target, 'x.safetensors'), [big]), 'x.safetensors'), /tensor "big": element 1 is 70000/);
  assert.equal(await readdir(target), []);
  await writeFile(join(target, 'file'), '');
  await messageOf(() => writeSafetensors(join(target, 'file', 'x.safetensors'), []), 'x.safetensors');
  assert.equal(await readdir(target), ['file']);
});

test('names that JavaScript objects treat in a special way are only names', async () => {
  const file = join(folder, 'names.safetensors');
  await writeFile(file, fileBytes('{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"1":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', Uint8Array.of(7, 8)));
  const checkpoint = await openSafetensors(file);
  assert.equal([...(await checkpoint.readFloat32('__proto__'))], [7]);
  assert.equal([...(await checkpoint.readFloat32('1'))], [8]);
  await checkpoint.close();
});

test('a file that is truncated or not safetensors is refused', async () => {
  assert.match(await refusal(new Uint8Array(0)), /0 bytes are too few/);
  assert.match(await refusal(Buffer.from('1234567')), /7 bytes are too few/);
  const whole = fileBytes(JSON.stringify({ 'visual.proj': entry('F32', [4], [0, 16]) }), 16);
  assert.match(await refusal(whole.subarray(0, 20)), /the header would have \d+ bytes, but only 12 follow its length\. The file is truncated/);
  assert.match(await refusal(whole.subarray(0, whole.length - 1)), /tensor "visual.proj": its data ends at byte 16, but the file has only 15 bytes of data/);
  assert.match(await refusal(Buffer.concat([whole, Buffer.alloc(3)])), /3 bytes after the last tensor belong to no tensor/);
  assert.match(await refusal(Buffer.from('PK\x03\x04 a zip from torch.save')), /looks like a PyTorch file/);
  assert.match(await refusal(Buffer.from('version https://git-lfs.github.com/spec/v1\n')), /Git LFS pointer/);
});

test('a header larger than the file or than the format allows is refused before it is allocated', async () => {
  assert.match(await refusal(fileBytes('{}', 0, 2n ** 64n - 1n)), /18446744073709551615 bytes, more than the 100000000/);
  assert.match(await refusal(fileBytes('{}', 0, 100_000_001n)), /more than the 100000000/);
  const before = process.memoryUsage().arrayBuffers;
  assert.match(await refusal(fileBytes('{}', 0, 99_000_000n)), /the header would have 99000000 bytes, but only 2 follow/);
  assert.ok(process.memoryUsage().arrayBuffers - before < 1_000_000);
});

test('a header that is not a JSON object of tensors is refused', async () => {
  assert.match(await refusal(fileBytes('{"x": ')), /not JSON/);
  assert.match(await refusal(fileBytes('{"x\\q": 1}')), /not JSON/);
  assert.match(await refusal(fileBytes(Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d))), /not UTF-8/);
  assert.match(await refusal(fileBytes('[1, 2]')), /is \[1,2\], not a JSON object/);
  assert.match(await refusal(fileBytes('null')), /is null, not a JSON object/);
  assert.match(await refusal(fileBytes(`{"x":${'['.repeat(1_000_000)}`)), /nested deeper/);
  assert.match(await refusal(fileBytes('{"__metadata__": {"steps": 3}}')), /"steps" in __metadata__ is 3, not a string/);
  assert.match(await refusal(fileBytes('{"__metadata__": ["pt"]}')), /__metadata__ is \["pt"\]/);
});

test('a tensor whose entry makes no sense is refused by name', async () => {
  const one = (value: unknown, dataBytes = 16): Promise<string> => refusal(fileBytes(JSON.stringify({ 'text.w': value }), dataBytes));
  assert.match(await one(7), /tensor "text.w": its entry is 7/);
  assert.match(await one(entry('F33', [4], [0, 16])), /tensor "text.w": unknown dtype "F33"; known are .*F32/);
  assert.match(await one(entry('toString', [4], [0, 16])), /unknown dtype "toString"/);
  assert.match(await one(entry(undefined, [4], [0, 16])), /unknown dtype nothing/);
  assert.match(await one(entry('F32', [-4], [0, 16])), /tensor "text.w": its shape is \[-4\]/);
  assert.match(await one(entry('F32', [1.5], [0, 6])), /its shape is \[1.5\]/);
  assert.match(await one(entry('F32', ['4'], [0, 16])), /its shape is \["4"\]/);
  assert.match(await one(entry('F32', 4, [0, 16])), /its shape is 4/);
  assert.match(await one(entry('F32', [2 ** 30, 2 ** 30], [0, 16])), /tensor "text.w": its shape \[1073741824, 1073741824\] is too large/);
  assert.match(await one(entry('F32', [2 ** 40, 2 ** 40, 0], [0, 0])), /too large/);
  assert.match(await one(entry('F32', [4], [0])), /data_offsets are \[0\]/);
  assert.match(await one(entry('F32', [4], [-16, 0])), /data_offsets are \[-16,0\]/);
  assert.match(await one(entry('F32', [4], [0.5, 16.5])), /data_offsets are \[0.5,16.5\]/);
  assert.match(await one(entry('F32', [4], [16, 0])), /ends at 0, before it begins at 16/);
  assert.match(await one(entry('F32', [4], [0, 2 ** 52])), /ends at byte 4503599627370496, but the file has only 16/);
  assert.match(await one(entry('F32', [5], [0, 16])), /tensor "text.w": F32 \[5\] takes 20 bytes, but its data_offsets span 16/);
  assert.match(await one(entry('F16', [4], [0, 16])), /F16 \[4\] takes 8 bytes, but its data_offsets span 16/);
  assert.match(await refusal(fileBytes('{"x":{"dtype":"F32","shape":[1e400],"data_offsets":[0,16]}}', 16)), /tensor "x": its shape/);
});

test('tensors that overlap, leave gaps or stand twice are refused by name', async () => {
  const two = (a: [number, number], b: [number, number], dataBytes = 32): Promise<string> =>
    refusal(fileBytes(JSON.stringify({ a: entry('U8', [a[1] - a[0]], a), b: entry('U8', [b[1] - b[0]], b) }), dataBytes));
  assert.match(await two([0, 16], [12, 32]), /tensor "b": its data at 12 overlaps that of "a", which ends at 16/);
  assert.match(await two([0, 32], [8, 16]), /tensor "b": its data at 8 overlaps/);
  assert.match(await two([0, 16], [20, 32]), /tensor "b": 4 bytes before its data at 20/);
  assert.match(await two([4, 16], [16, 32]), /tensor "a": 4 bytes before its data at 4/);
  const twice = '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
  assert.match(await refusal(fileBytes(twice, 1)), /"a" stands twice/);
  assert.match(await refusal(fileBytes('{"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}}', 1)), /"dtype" stands twice/);
});

test('tensors may lie in another order than the header names them', async () => {
  const file = join(folder, 'order.safetensors');
  await writeFile(file, fileBytes(`${JSON.stringify({ late: entry('U8', [1], [1, 2]), early: entry('U8', [1], [0, 1]) })}   `, Uint8Array.of(5, 6)));
  const checkpoint = await openSafetensors(file);
  assert.equal([...(await checkpoint.read('late'))], [6]);
  assert.equal([...(await checkpoint.read('early'))], [5]);
  await checkpoint.close();
});

test('a file that shrinks after it was opened is an error, not zeros', async () => {
  const file = join(folder, 'shrinks.safetensors');
  await writeSafetensors(file, [{ name: 'x', dtype: 'F32', shape: [64], data: new Float32Array(64).fill(1) }]);
  const checkpoint = await openSafetensors(file);
  await truncate(file, checkpoint.entry('x').offset + 100);
  assert.match(await messageOf(() => checkpoint.readFloat32('x'), 'shrinks.safetensors'), /sooner than when it was opened/);
  await checkpoint.close();
});

test('a sharded checkpoint is read through its index', async () => {
  const sharded = join(folder, 'sharded');
  await mkdir(sharded);
  await writeSafetensors(join(sharded, 'model-00001-of-00002.safetensors'), [{ name: 'a', dtype: 'F32', shape: [2, 1], data: Float32Array.of(1, 2) }], { format: 'pt' });
  await writeSafetensors(join(sharded, 'model-00002-of-00002.safetensors'), [{ name: 'b', dtype: 'F16', shape: [1], data: Float32Array.of(3) }]);
  const index = join(sharded, 'model.safetensors.index.json');
  const map = { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' };
  await writeFile(index, JSON.stringify({ metadata: { total_size: 10 }, weight_map: map }));
  for (const path of [sharded, index]) {
    const checkpoint = await openCheckpoint(path);
    assert.equal([...(await checkpoint.readFloat32('a'))], [1, 2]);
    assert.equal([...(await checkpoint.readFloat32('b'))], [3]);
    assert.equal([...(await checkpoint.readFloat32Rows('a', [1]))], [2]);
    assert.match(checkpoint.entry('b').file, /00002-of-00002/);
    assert.equal(checkpoint.metadata, { format: 'pt' });
    await checkpoint.close();
  }
  const refusalOf = async (content: string): Promise<string> => {
    await writeFile(index, content);
    return messageOf(() => openSafetensorsFolder(sharded), 'model');
  };
  assert.match(await refusalOf('{'), /index\.json: it is not JSON/);
  assert.match(await refusalOf('{"weight_map": {}}'), /"weight_map" is missing/);
  assert.match(await refusalOf('{"weight_map": {"a": 1}}'), /tensor "a": its file 1/);
  assert.match(await refusalOf('{"weight_map": {"a": "x", "a": "y"}}'), /"a" stands twice/);
  assert.match(await refusalOf(JSON.stringify({ weight_map: { ...map, c: map.a } })), /tensor "c" is not in model-00001-of-00002\.safetensors/);
  assert.match(await refusalOf(JSON.stringify({ weight_map: { a: 'model-00003-of-00002.safetensors' } })), /cannot read .*model-00003-of-00002\.safetensors/);
  await writeSafetensors(join(folder, 'outside.safetensors'), [{ name: 'a', dtype: 'F32', shape: [1], data: Float32Array.of(1) }]);
  await symlink(folder, join(sharded, 'link'));
  for (const escape of ['../outside.safetensors', join(folder, 'outside.safetensors'), 'x/../../outside.safetensors', '..\\outside.safetensors', 'link/outside.safetensors', '']) {
    assert.match(await refusalOf(JSON.stringify({ weight_map: { a: escape } })), /is not the name of a file in this folder/, escape);
  }
});

test('a folder without a checkpoint says what was looked for', async () => {
  const empty = join(folder, 'empty');
  await mkdir(empty);
  assert.match(await messageOf(() => openCheckpoint(empty), empty), /looked for model\.safetensors and model\.safetensors\.index\.json/);
  await writeFile(join(empty, 'pytorch_model.bin'), '');
  assert.match(await messageOf(() => openCheckpoint(empty), empty), /PyTorch files/);
  assert.match(await messageOf(() => openCheckpoint(join(folder, 'missing')), 'missing'), /cannot read/);
  await mkdir(join(empty, 'model.safetensors'));
  assert.match(await messageOf(() => openCheckpoint(empty), 'model.safetensors'), /not a file/);
});

test.run();
