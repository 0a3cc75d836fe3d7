import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type BufferSlice, type DispatchRequest, bindSequence, dispatchSpans, runSequence, timeSequence } from '../../src/gpu/commands.ts';
import { encode } from '../../src/tensor/dtype.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

const count = 96;

/** An `add` of two vectors, from the parts that every test changes one of. */
async function addition(change: { slices?: Record<string, Partial<BufferSlice> | undefined>; params?: Record<string, number>; workgroups?: [number] } = {}): Promise<{ request: DispatchRequest; output: GPUBuffer }> {
  const gpu = await testGpu();
  const slice = (name: string, fill: number): BufferSlice => {
    const buffer = gpu.memory.acquire(4 * count, name);
    gpu.write(buffer, encode(new Float32Array(count).fill(fill), 'f32'));
    return { buffer, offset: 0, size: 4 * count, dtype: 'f32', description: `f32[${count}]` };
  };
  const slices: Record<string, BufferSlice> = { a: slice('a', 1), b: slice('b', 2), output: slice('output', 0) };
  const output = slices.output.buffer;
  for (const [name, part] of Object.entries(change.slices ?? {})) {
    if (part) slices[name] = { ...slices[name], ...part };
    else delete slices[name];
  }
  const request = { kernel: 'elementwise/add', params: change.params ?? { size: count, period: count }, slices, workgroups: change.workgroups ?? ([2] as const) };
  return { request, output };
}

async function messageOf(request: DispatchRequest): Promise<string> {
  const gpu = await testGpu();
  const { message } = await errorOf(() => bindSequence(gpu, [request], 'test'));
  // Nothing of a refused sequence stays behind on the device.
  gpu.check();
  return message;
}

test('a sequence runs, and runs again on new inputs', async () => {
  const gpu = await testGpu();
  const { request, output } = await addition();
  const sequence = await bindSequence(gpu, [request], 'test');
  await runSequence(gpu, sequence, 'test');
  assert.equal(new Float32Array((await gpu.read(output, 0, 8)).buffer), Float32Array.of(3, 3));
  gpu.write(request.slices.a.buffer, encode(new Float32Array(count).fill(10), 'f32'));
  await runSequence(gpu, sequence, 'test');
  assert.equal(new Float32Array((await gpu.read(output, 4 * (count - 1), 4)).buffer), Float32Array.of(12));
});

test('more dispatches than one submission holds run in order', async () => {
  const gpu = await testGpu();
  const { request } = await addition();
  const { a, b, output } = request.slices;
  // output = a + b, then a = output + b, and so on: each dispatch needs the one before.
  const back = { ...request, slices: { a: output, b, output: a } };
  const rounds = 300;
  const sequence = await bindSequence(gpu, Array.from({ length: 2 * rounds }, (_, i) => (i % 2 ? back : request)), 'chain');
  await runSequence(gpu, sequence, 'chain');
  assert.equal(new Float32Array((await gpu.read(a.buffer, 0, 4)).buffer), Float32Array.of(1 + 2 * 2 * rounds));
});

test('equal Params are stored once', async () => {
  const gpu = await testGpu();
  const { request } = await addition();
  const sequence = await bindSequence(gpu, [request, request, { ...request, params: { size: 5, period: count } }], 'test');
  assert.is(sequence.uniforms!.size, 2 * 256);
});

test('every dispatch is timed on the GPU\'s clock, with the same result', async () => {
  const gpu = await testGpu();
  const { request, output } = await addition();
  const sequence = await bindSequence(gpu, Array.from({ length: 2100 }, () => request), 'many');
  const times = await timeSequence(gpu, sequence, 'many');
  assert.is(times.length, 2100);
  assert.ok(times.every((time) => Number.isFinite(time) && time >= 0));
  assert.ok(times.reduce((a, b) => a + b) > 0);
  assert.equal(new Float32Array((await gpu.read(output, 0, 4)).buffer), Float32Array.of(3));
});

test('a dispatch counts from the end of those before it, so that no time counts twice', () => {
  const stamps = (...times: number[]): BigUint64Array => BigUint64Array.from(times, (time) => BigInt(1000 + time));
  // One after the other; begun before the one before has ended; stamped when the first began; ended before the one before; after a pause.
  const spans = dispatchSpans(stamps(0, 2, 3, 7, 5, 12, 0, 13, 9, 10, 20, 22));
  assert.equal(spans, [[0, 2], [3, 4], [7, 5], [12, 1], [13, 0], [20, 2]].map(([start, nanoseconds]) => ({ start, nanoseconds })));
  assert.equal(dispatchSpans(stamps()), []);
});

const named = /^elementwise\/add \(.*output = f32\[96\]\): /;

test('a missing, unknown or wrongly typed binding is named with kernel and shapes', async () => {
  const missing = await messageOf((await addition({ slices: { b: undefined } })).request);
  assert.match(missing, named);
  assert.match(missing, /nothing is bound to b/);
  assert.match(await messageOf((await addition({ slices: { c: (await addition()).request.slices.a } })).request), /the kernel has no binding c/);
  assert.match(await messageOf((await addition({ slices: { a: { dtype: 'f16', description: 'f16[96]' } } })).request), /a holds f32 in the kernel, but the tensor is f16\[96\]/);
});

test('wrong Params are named', async () => {
  assert.match(await messageOf((await addition({ params: { size: 1 } })).request), /no value for Params\.period/);
  assert.match(await messageOf((await addition({ params: { size: 1, period: 1, stride: 1 } })).request), /Params have no field stride/);
  assert.match(await messageOf((await addition({ params: { size: 1.5, period: 1 } })).request), /Params\.size = 1\.5 is not a u32/);
  assert.match(await messageOf((await addition({ params: { size: -1, period: 1 } })).request), /Params\.size = -1 is not a u32/);
});

test('workgroup counts outside the adapter\'s limit are named', async () => {
  const limit = (await testGpu()).device.limits.maxComputeWorkgroupsPerDimension;
  for (const workgroups of [0, limit + 1, 1.5]) assert.match(await messageOf((await addition({ workgroups: [workgroups] })).request), new RegExp(`cannot dispatch ${workgroups} x 1 x 1 workgroups; each must be 1 to ${limit}`));
});

test('one buffer cannot be read and written in one dispatch', async () => {
  const { request } = await addition();
  assert.match(await messageOf({ ...request, slices: { ...request.slices, a: request.slices.output } }), /one buffer \(output\) is read and written/);
});

test('a slice that the adapter cannot bind is named', async () => {
  const limit = (await testGpu()).device.limits.maxStorageBufferBindingSize;
  assert.match(await messageOf((await addition({ slices: { a: { size: limit + 4 } } })).request), /a takes \d+ bytes, this adapter binds at most/);
  assert.match(await messageOf((await addition({ slices: { a: { offset: 2 } } })).request), /a starts at byte 2, this adapter wants a multiple of/);
  // What only Dawn sees: the slice is larger than its buffer.
  const beyond = await messageOf((await addition({ slices: { a: { size: 4 * count + 64 } } })).request);
  assert.match(beyond, /^test: .*elementwise\/add \(.*f32\[96\]/s);
});

test.run();
