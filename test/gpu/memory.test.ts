import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { Gpu } from '../../src/gpu/device.ts';
import { MemoryPool, formatBytes } from '../../src/gpu/memory.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

/** A pool of its own on the shared device, so that other tensors do not count. */
async function poolOf(budget?: number): Promise<MemoryPool> {
  return new MemoryPool((await testGpu()).device, budget);
}

test('a buffer has at least the size asked for and is counted', async () => {
  const pool = await poolOf();
  const first = pool.acquire(1, 'one byte');
  const second = pool.acquire(1000, 'a thousand');
  assert.ok(first.size >= 1 && first.size % 16 === 0);
  assert.ok(second.size >= 1000);
  assert.is(pool.allocated, first.size + second.size);
  assert.is(pool.peak, pool.allocated);
});

test('a released buffer is used again under the new name, best fit first', async () => {
  const pool = await poolOf();
  const large = pool.acquire(1200, 'large');
  const fitting = pool.acquire(1040, 'fitting');
  pool.release(large);
  pool.release(fitting);
  const again = pool.acquire(1024, 'again');
  assert.is(again, fitting);
  assert.is(again.label, 'again');
  assert.is(pool.acquire(1024, 'once more'), large);
  assert.is(pool.peak, large.size + fitting.size);
});

test('a buffer is not used again for much less than it holds', async () => {
  const pool = await poolOf();
  const large = pool.acquire(4096, 'large');
  pool.release(large);
  assert.is.not(pool.acquire(1024, 'small'), large);
  assert.is(pool.allocated, 4096 + 1024);
});

test('trim gives unused buffers back, the peak stays', async () => {
  const pool = await poolOf();
  const kept = pool.acquire(512, 'kept');
  pool.release(pool.acquire(4096, 'unused'));
  pool.trim();
  assert.is(pool.allocated, kept.size);
  assert.is(pool.peak, 512 + 4096);
});

test('sizes that are asked for once do not pile up', async () => {
  const pool = await poolOf();
  const kept = pool.acquire(16e6, 'kept');
  for (let megabytes = 20; megabytes < 100; megabytes *= 1.3) pool.release(pool.acquire(1e6 * Math.round(megabytes), `${megabytes} MB`));
  // 352 MB in all; what waits is no more than what is in use with the largest of them, when that is asked for.
  assert.ok(pool.peak <= kept.size + (kept.size + 97e6) + 97e6, `${pool.peak} bytes`);
  pool.trim();
  assert.is(pool.allocated, kept.size);
});

test('pooled buffers make room before the budget is refused', async () => {
  const pool = await poolOf(5000);
  pool.release(pool.acquire(4096, 'unused'));
  const small = pool.acquire(1024, 'small');
  assert.is(pool.allocated, small.size);
});

test('the budget holds, and its error says what wanted how much', async () => {
  const pool = await poolOf(2048);
  pool.acquire(1024, 'first');
  const error = await errorOf(() => pool.acquire(1040, 'weights of layer 3'));
  assert.instance(error, UserError);
  assert.match(error.message, /weights of layer 3/);
  assert.match(error.message, /1\.0 kB in use \+ 1\.0 kB wanted > 2\.0 kB/);
  assert.match(error.message, /--memory-budget/);
  assert.is(pool.allocated, 1024);
  pool.acquire(1024, 'exactly the rest');
});

test('a buffer beyond the adapter\'s limit is refused before it is made', async () => {
  const pool = await poolOf();
  const limit = (await testGpu()).device.limits.maxBufferSize;
  const error = await errorOf(() => pool.acquire(limit + 16, 'position table'));
  assert.instance(error, UserError);
  assert.match(error.message, /position table needs one buffer of/);
  assert.is(pool.allocated, 0);
});

test('a buffer given back twice is an error, not shared by two owners', async () => {
  const pool = await poolOf();
  const buffer = pool.acquire(64, 'twice');
  pool.release(buffer);
  assert.match((await errorOf(() => pool.release(buffer))).message, /twice was given back/);
});

test('memory that the driver refuses is reported once and never handed out again', async () => {
  await testGpu();
  // No driver here runs out of memory before the machine does, so its answer is acted.
  let refuse = true;
  const device = {
    limits: { maxBufferSize: 1 << 20 },
    pushErrorScope: () => {},
    popErrorScope: async () => (refuse ? { message: 'VK_ERROR_OUT_OF_DEVICE_MEMORY' } : null),
    createBuffer: ({ size, label }: GPUBufferDescriptor) => ({ size, label, destroy: () => {} }),
  } as unknown as GPUDevice;
  const pool = new MemoryPool(device);
  const refused = pool.acquire(4096, 'patch tokens');
  await new Promise(setImmediate);
  const failure = pool.takeFailure();
  assert.instance(failure, UserError);
  assert.match(failure!.message, /no memory for patch tokens: 0 B in use \+ 4\.1 kB wanted \(VK_ERROR_OUT_OF_DEVICE_MEMORY\)/);
  assert.is(pool.takeFailure(), undefined);
  pool.release(refused);
  assert.is(pool.allocated, 0);
  refuse = false;
  assert.is.not(pool.acquire(4096, 'next'), refused);
});

test('a Gpu opened with a budget keeps it', async () => {
  const gpu = await Gpu.open({ memoryBudget: 1000 });
  assert.match((await errorOf(() => gpu.memory.acquire(1008, 'too much'))).message, /out of the memory budget at too much/);
  gpu.close();
});

test('byte counts read like those of other tools', () => {
  assert.equal([999, 1000, 151_000_000, 2_500_000_000].map(formatBytes), ['999 B', '1.0 kB', '151.0 MB', '2.50 GB']);
});

test.run();
