import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { readNpy, writeNpy } from '../../src/io/npy.ts';

let folder: string;
test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'npy-'));
});
test.after(() => rm(folder, { recursive: true, force: true }));

/** A file with any header text. */
function npy(header: string, data: Uint8Array = new Uint8Array(0), version = 1): Buffer {
  const length = Buffer.alloc(version === 1 ? 2 : 4);
  if (version === 1) length.writeUInt16LE(header.length);
  else length.writeUInt32LE(header.length);
  return Buffer.concat([Buffer.from(`\x93NUMPY${String.fromCharCode(version, 0)}`, 'latin1'), length, Buffer.from(header, 'latin1'), data]);
}

async function refusal(bytes: Uint8Array): Promise<string> {
  const file = join(folder, 'bad.npy');
  await writeFile(file, bytes);
  try {
    await readNpy(file);
  } catch (error) {
    assert.instance(error, UserError);
    assert.match((error as Error).message, /bad\.npy/);
    return (error as Error).message;
  }
  throw new Error('no error was thrown');
}

test('the bytes are those that numpy.save writes', async () => {
  const file = join(folder, 'map.npy');
  await writeNpy(file, Float32Array.of(1, -2.5, 3, 4, 5, 6), [2, 3]);
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".padEnd(117, ' ');
  assert.equal(await readFile(file), npy(`${header}\n`, new Uint8Array(Float32Array.of(1, -2.5, 3, 4, 5, 6).buffer)));
});

test('arrays of any rank are read back', async () => {
  for (const shape of [[], [1], [5], [2, 3], [0, 4], [2, 1, 3, 2]]) {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i / 3);
    const file = join(folder, 'shape.npy');
    await writeNpy(file, data, shape);
    assert.equal(await readNpy(file), { shape, data });
  }
  await writeFile(join(folder, 'two.npy'), npy("{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}\n", new Uint8Array(8), 2));
  assert.equal(await readNpy(join(folder, 'two.npy')), { shape: [2], data: new Float32Array(2) });
});

test('files that are truncated, damaged or of another type are refused', async () => {
  const header = (type: string, shape: string, order = 'False'): string => `{'descr': '${type}', 'fortran_order': ${order}, 'shape': (${shape}), }\n`;
  const whole = npy(header('<f4', '3,'), new Uint8Array(12));
  for (const length of [0, 9, 30]) assert.match(await refusal(whole.subarray(0, length)), /truncated/);
  assert.match(await refusal(whole.subarray(0, -1)), /shape \(3\) takes 12 bytes, but 11 follow/);
  assert.match(await refusal(Buffer.from('PK\x03\x04 not an array')), /not a NumPy array file/);
  assert.match(await refusal(npy(header('<f8', '1,'), new Uint8Array(8))), /holds <f8; only/);
  assert.match(await refusal(npy(header('<f4', '1, 1', 'True'), new Uint8Array(4))), /column order/);
  assert.match(await refusal(npy(header('<f4', '99999999999, 99999999999'), new Uint8Array(4))), /99999999999, 99999999999/);
  assert.match(await refusal(npy('{}')), /cannot be understood/);
  assert.match(await refusal(npy('', new Uint8Array(0), 9)), /version 9/);
});

test('a file that cannot be written leaves nothing behind', async () => {
  await writeFile(join(folder, 'plain'), '');
  const before = await readdir(folder);
  try {
    await writeNpy(join(folder, 'plain', 'x.npy'), new Float32Array(1), [1]);
    throw new Error('no error was thrown');
  } catch (error) {
    assert.instance(error, UserError);
    assert.match((error as Error).message, /x\.npy/);
  }
  assert.equal(await readdir(folder), before);
});

test.run();
