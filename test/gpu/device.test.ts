import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { Gpu, listAdapters, openGpuCount } from '../../src/gpu/device.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

const storage = (): number => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

test('the adapter\'s own limits are requested, not WebGPU\'s small defaults', async () => {
  const { device } = await testGpu();
  assert.ok(device.limits.maxBufferSize >= 1 << 28);
  assert.ok(device.limits.maxComputeWorkgroupStorageSize >= 16384);
});

test('adapters are listed by the names that --adapter takes', async () => {
  const names = await listAdapters();
  assert.ok(names.length >= 1);
  const gpu = await Gpu.open({ adapter: names[0] });
  assert.ok(gpu.key.length > 0);
  gpu.close();
});

test('an adapter that is not there: the error lists those that are', async () => {
  const error = await errorOf(() => Gpu.open({ adapter: 'Voodoo 2' }));
  assert.instance(error, UserError);
  assert.match(error.message, /no adapter has "Voodoo 2" in its name\. Available: \S+/);
  assert.match(error.message, /--adapter/);
});

test('the adapter can be named in the environment', async () => {
  process.env.MFP_CLIP_ADAPTER = 'Voodoo 3';
  try {
    assert.match((await errorOf(() => Gpu.open())).message, /Voodoo 3/);
  } finally {
    delete process.env.MFP_CLIP_ADAPTER;
  }
});

test('bytes come back as they were written, in any count', async () => {
  const gpu = await testGpu();
  const buffer = gpu.device.createBuffer({ size: 64, usage: storage() });
  const bytes = Uint8Array.from({ length: 13 }, (_, i) => 7 * i + 1);
  gpu.write(buffer, bytes, 16);
  assert.equal(await gpu.read(buffer, 16, 13), bytes);
  buffer.destroy();
});

test('what Dawn objects to is thrown with the name of the work', async () => {
  const gpu = await testGpu();
  const error = await errorOf(() => gpu.guarded(() => 'gemm/tiled (a = f32[3, 4])', () => gpu.device.createBuffer({ label: 'odd', size: 16, usage: 0 })));
  assert.match(error.message, /^gemm\/tiled \(a = f32\[3, 4\]\): /);
  assert.match(error.message, /odd/);
  // The device goes on after it.
  await gpu.guarded(() => 'next', () => gpu.device.createBuffer({ size: 16, usage: storage() }).destroy());
});

test('an error that nothing was waiting for stops the next call', async () => {
  const gpu = await Gpu.open();
  gpu.device.createBuffer({ label: 'unguarded', size: 16, usage: 0 });
  const error = await errorOf(() => gpu.guarded(() => 'next', () => new Promise((resolve) => setTimeout(resolve, 1))).then(() => gpu.check()));
  assert.match(error.message, /GPUValidationError.*unguarded/s);
  gpu.close();
});

test('an exception inside guarded work comes out as it is, and no error scope stays open', async () => {
  const gpu = await testGpu();
  const error = await errorOf(() =>
    gpu.guarded(() => 'work', () => {
      throw new RangeError('own');
    }),
  );
  assert.instance(error, RangeError);
  assert.is((await errorOf(() => gpu.device.popErrorScope())).name, 'OperationError');
});

test('a lost device is an error of every later call', async () => {
  const gpu = await Gpu.open();
  const buffer = gpu.memory.acquire(16, 'some');
  gpu.device.destroy();
  await gpu.device.lost;
  for (const work of [() => gpu.check(), () => gpu.read(buffer, 0, 16), () => gpu.guarded(() => 'work', () => {})]) {
    assert.match((await errorOf(work)).message, /device was lost \(destroyed\)/);
  }
  gpu.close();
});

test('a closed Gpu lets go of Dawn and refuses work', async () => {
  const before = openGpuCount();
  const gpu = await Gpu.open();
  assert.is(openGpuCount(), before + 1);
  gpu.close();
  gpu.close();
  assert.is(openGpuCount(), before);
  assert.match((await errorOf(() => gpu.guarded(() => 'work', () => {}))).message, /closed/);
});

test('two devices work side by side', async () => {
  const [a, b] = await Promise.all([Gpu.open(), Gpu.open()]);
  for (const [gpu, value] of [[a, 1], [b, 2]] as const) gpu.write(gpu.memory.acquire(16, 'own'), Uint8Array.of(value, value, value, value));
  const buffer = b.memory.acquire(16, 'b');
  b.write(buffer, Uint8Array.of(9, 8, 7, 6));
  a.close();
  assert.equal(await b.read(buffer, 0, 4), Uint8Array.of(9, 8, 7, 6));
  b.close();
});

test.run();
