import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Gpu } from '../../src/gpu/device.ts';
import { add } from '../../src/ops/add.ts';
import { focalLoss } from '../../src/ops/focal_loss.ts';
import { layerNorm } from '../../src/ops/layer_norm.ts';
import { defineOp } from '../../src/tensor/op.ts';
import { Program } from '../../src/tensor/program.ts';
import { apply, reshape, scope } from '../../src/tensor/recording.ts';
import { type Tensor, emptyTensor, freeTensor, readTensor, tensor, writeTensor } from '../../src/tensor/tensor.ts';
import { errorOf } from '../support/errors.ts';
import { randomValues, testGpu } from '../support/gpu.ts';

async function vector(values: number[], label = 'input'): Promise<Tensor> {
  return tensor(await testGpu(), values, [values.length], 'f32', label);
}

test('a program is replayed on new inputs without recording again', async () => {
  const gpu = await testGpu();
  const a = await vector([1, 2, 3]);
  const b = await vector([10, 20, 30]);
  let recorded = 0;
  const program = await Program.record(gpu, () => {
    recorded++;
    return add(a, b);
  });
  await program.run();
  assert.equal([...(await readTensor(gpu, program.outputs))], [11, 22, 33]);
  writeTensor(gpu, a, [5, 5, 5]);
  await program.run();
  assert.equal([...(await readTensor(gpu, program.outputs))], [15, 25, 35]);
  assert.is(recorded, 1);
  program.destroy();
});

test('outputs keep their structure, and an input can be an output', async () => {
  const gpu = await testGpu();
  const a = await vector([1, 2]);
  const program = await Program.record(gpu, () => ({ sum: add(a, a), list: [add(add(a, a), a), undefined], same: a }));
  await program.run();
  assert.equal([...(await readTensor(gpu, program.outputs.sum))], [2, 4]);
  assert.equal([...(await readTensor(gpu, program.outputs.list[0]!))], [3, 6]);
  assert.is(program.outputs.same, a);
  program.destroy();
  // What was persistent stays.
  assert.equal([...(await readTensor(gpu, a))], [1, 2]);
});

test('intermediates share memory, and the pool gets it back', async () => {
  const gpu = await Gpu.open();
  const input = tensor(gpu, randomValues(4096), [4096]);
  const before = gpu.memory.allocated;
  const program = await Program.record(gpu, () => {
    let x = input;
    for (let i = 0; i < 20; i++) x = add(x, input);
    return x;
  });
  assert.is(program.dispatches, 20);
  assert.is(program.memory.slots.length, 2);
  assert.is(program.memory.bytes, 2 * 4 * 4096);
  assert.is(gpu.memory.allocated, before + program.memory.bytes);
  assert.is(gpu.memory.peak, gpu.memory.allocated);
  program.destroy();
  program.destroy();
  gpu.memory.trim();
  assert.is(gpu.memory.allocated, before);
  gpu.close();
});

test('a budget too small for a program says what it was for, and leaves nothing behind', async () => {
  const gpu = await Gpu.open({ memoryBudget: 100_000 });
  const input = emptyTensor(gpu, [16, 1024]);
  const before = gpu.memory.allocated;
  const error = await errorOf(() => Program.record(gpu, () => add(add(input, input), input), { label: 'image tower' }));
  assert.match(error.message, /out of the memory budget at image tower memory/);
  gpu.memory.trim();
  assert.is(gpu.memory.allocated, before);
  gpu.close();
});

test('an op whose result nobody needs is left out', async () => {
  const gpu = await testGpu();
  const a = await vector([1, 2]);
  const program = await Program.record(gpu, () => {
    add(add(a, a), a);
    return add(a, a);
  });
  assert.is(program.dispatches, 1);
  program.destroy();
});

test('with poison, what a kernel leaves unwritten is NaN in every run', async () => {
  const gpu = await testGpu();
  // An op that forgets the second half of its output.
  const forgetful = defineOp<Record<string, never>>({
    name: 'forgetful',
    inputNames: ['input'],
    outputs: ([input]) => [input!],
    variants: [
      {
        name: 'half',
        kernels: ({ inputs: [input], outputs: [output] }) => [
          { kernel: 'elementwise/add', bindings: { a: input!, b: input!, output }, params: { size: output.size / 2, period: output.size }, workgroups: [1] },
        ],
      },
    ],
    cost: () => ({ flops: 0, bytes: 0 }),
    benchCases: [],
  });
  const input = await vector([1, 2, 3, 4]);
  const program = await Program.record(gpu, () => apply(forgetful, [input], {})[0], { poison: true });
  for (let run = 0; run < 2; run++) {
    await program.run();
    assert.equal([...(await readTensor(gpu, program.outputs))], [2, 4, NaN, NaN]);
    gpu.write(program.outputs.storage.buffer!, new Uint8Array(16));
  }
  program.destroy();
});

test('a destroyed program neither runs nor shows others\' memory', async () => {
  const gpu = await testGpu();
  const a = await vector([1, 2]);
  const program = await Program.record(gpu, () => add(a, a), { label: 'short' });
  program.destroy();
  assert.match((await errorOf(() => program.run())).message, /short was destroyed/);
  assert.match((await errorOf(() => program.time())).message, /short was destroyed/);
  assert.match((await errorOf(() => readTensor(gpu, program.outputs))).message, /has no memory/);
});

test('an input that was freed is named', async () => {
  const gpu = await testGpu();
  const a = await vector([1, 2], 'visual projection');
  freeTensor(gpu, a);
  assert.match((await errorOf(() => Program.record(gpu, () => add(a, a)))).message, /visual projection f32\[2\] has no memory/);
});

test('an intermediate of another program is refused as input', async () => {
  const gpu = await testGpu();
  const a = await vector([1, 2]);
  const first = await Program.record(gpu, () => add(a, a));
  assert.match((await errorOf(() => Program.record(gpu, () => add(first.outputs, a)))).message, /add: add f32\[2\] is read before anything writes it/);
  first.destroy();
});

test('ops outside a recording, and recordings with await, are refused', async () => {
  const gpu = await testGpu();
  const a = await vector([1, 2]);
  assert.match((await errorOf(() => add(a, a))).message, /inside Program\.record/);
  assert.match((await errorOf(() => Program.record(gpu, (async () => add(a, a)) as never))).message, /without await/);
});

test('a wrong shape names op, operands, shapes and place in the model', async () => {
  const gpu = await testGpu();
  const input = emptyTensor(gpu, [2, 8]);
  const parameter = emptyTensor(gpu, [7]);
  const error = await errorOf(() => Program.record(gpu, () => scope('vision', () => scope('layer 3', () => layerNorm(input, parameter, parameter)))));
  assert.match(error.message, /^in vision\/layer 3: layer_norm: .*input f32\[2, 8\], weight f32\[7\], bias f32\[7\]/);
  assert.match((await errorOf(() => reshape(input, [3, 5]))).message, /reshape: \[2, 8\] has 16 elements, \[3, 5\] has 15/);
});

test('an operand without elements is named', async () => {
  const gpu = await testGpu();
  const nothing = emptyTensor(gpu, [0, 3], 'f32', 'no rows');
  const error = await errorOf(() => Program.record(gpu, () => add(nothing, nothing)));
  assert.match(error.message, /add: every axis must have at least one element; got a f32\[0, 3\]/);
});

test('a profile says for each dispatch where it stands and how long it took', async () => {
  const gpu = await testGpu();
  // No multiple of four: one variant alone takes it.
  const a = await vector([1, 2, 3, 4, 5]);
  const program = await Program.record(gpu, () => scope('vision', () => add(scope('layer 0', () => add(a, a)), a)));
  const times = await program.time();
  assert.equal(
    times.map(({ op, scope: place, variant, kernel }) => [op, place, variant, kernel]),
    [
      ['add', 'vision/layer 0', 'elementwise', 'elementwise/add'],
      ['add', 'vision', 'elementwise', 'elementwise/add'],
    ],
  );
  assert.ok(times.every(({ nanoseconds }) => nanoseconds >= 0));
  assert.is(times[0].start, 0);
  assert.ok(times[1].start >= 0);
  // The first sum lives until the second one, which is returned, is made of it.
  assert.equal(times.map(({ aliveBytes }) => aliveBytes), [20, 40]);
  assert.match(program.describe()[0], /^vision\/layer 0\/add \(elementwise\): elementwise\/add \(a = f32\[5\], b = f32\[5\], output = f32\[5\]\) x 1x1$/);
  program.destroy();
});

test('the ops of a program state their kernels and cost, scratch memory written and read included', async () => {
  const gpu = await testGpu();
  const [p, m] = [1, 2].map((seed) => tensor(gpu, randomValues(1037, seed), [1037]));
  const program = await Program.record(gpu, () => scope('losses', () => focalLoss(add(p, m), m)), { label: 'loss' });
  const [sum, loss] = program.ops;
  assert.equal(sum, { op: 'add', scope: 'losses', variant: 'elementwise', kernels: ['elementwise/add'], cost: { flops: 1037, bytes: 3 * 4 * 1037 } });
  assert.equal([loss.op, loss.kernels.length, program.ops.length, program.dispatches], ['focal_loss', 2, 2, 3]);
  // Two maps and the loss; 1037 elements make five chunks, whose sums are written and read.
  assert.is(loss.cost.bytes, 4 * (2 * 1037 + 1 + 2 * 5));
  program.destroy();
});

test('two runs give the same bits', async () => {
  const gpu = await testGpu();
  const x = tensor(gpu, randomValues(37 * 129, 3), [37, 129]);
  const w = tensor(gpu, randomValues(129, 4), [129]);
  const program = await Program.record(gpu, () => layerNorm(x, w, w));
  await program.run();
  const first = await readTensor(gpu, program.outputs);
  await program.run();
  assert.equal(await readTensor(gpu, program.outputs), first);
  program.destroy();
});

test.run();
