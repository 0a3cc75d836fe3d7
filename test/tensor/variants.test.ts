import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { UserError } from '../../src/errors.ts';
import { accumulateOp } from '../../src/ops/accumulate.ts';
import { focalLoss } from '../../src/ops/focal_loss.ts';
import { l2NormalizeBackwardOp } from '../../src/ops/l2_normalize.ts';
import { type OpCall, defineOp, foldWorkgroups } from '../../src/tensor/op.ts';
import { Program } from '../../src/tensor/program.ts';
import { apply } from '../../src/tensor/recording.ts';
import { type Tensor, emptyTensor, freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { type MeasuredChoice, type VariantPolicy, type VariantTable, configureVariants, fillWithNoise } from '../../src/tensor/variants.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

/** One addition, done by as many dispatches as asked for, each variant with its own pipeline. */
const additions = (repeats: number, threads: number) => ({
  kernels: ({ inputs: [a], outputs: [output] }: { inputs: readonly (Tensor | undefined)[]; outputs: readonly Tensor[] }) =>
    Array.from({ length: repeats }, () => ({
      kernel: 'elementwise/add',
      constants: { THREADS: threads },
      bindings: { a: a!, b: a!, output },
      params: { size: output.size, period: output.size },
      workgroups: foldWorkgroups(Math.ceil(output.size / threads)),
    })),
});

const doubleOp = defineOp<Record<string, never>>({
  name: 'double',
  inputNames: ['input'],
  outputs: ([input]) => [input!],
  variants: [
    { name: 'slow', ...additions(40, 16) },
    { name: 'slower', ...additions(80, 24) },
    { name: 'fast', ...additions(1, 40) },
    { name: 'large only', supports: ({ inputs: [a] }) => a!.size > 1e6, ...additions(1, 48) },
    { name: 'gpu', gpuOnly: true, ...additions(1, 32) },
    { name: 'plain', reference: true, ...additions(1, 64) },
  ],
  cost: () => ({ flops: 0, bytes: 0 }),
  benchCases: [],
});

let folder = '';
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'mfp-clip-variants-'));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the op once under a policy; returns the table with what it chose. */
async function choose(policy: VariantPolicy): Promise<VariantTable> {
  const gpu = await testGpu();
  const table = configureVariants(gpu, policy);
  const input = tensor(gpu, new Float32Array(640).fill(2), [640]);
  const program = await Program.record(gpu, () => apply(doubleOp, [input], {})[0]);
  await program.run();
  assert.is((await readTensor(gpu, program.outputs))[639], 4);
  program.destroy();
  freeTensor(gpu, input);
  return table;
}

const { software } = (await testGpu()).adapter;
/** What is measured: not the reference, nor the one that these inputs rule out, and on a software adapter not what is for GPUs. */
const measured = ['slow', 'slower', 'fast', ...(software ? [] : ['gpu'])];
/** Under which the op is measured. */
const key = `double|f32||${measured.join(',')}`;
/** The call of `choose`. */
const exactCall = 'double|f32[640]|{}';
const chosen = (table: VariantTable): { variant: string; reason: string } => {
  const { variant, reason } = table.chosen.get(exactCall)!;
  return { variant, reason };
};

test('without measurements the op\'s first variant runs', async () => {
  assert.equal(chosen(await choose({ mode: 'default' })), { variant: 'slow', reason: 'default' });
});

/**
 * That a table chose, and remembered, the variant with the smallest time that it measured. Which one that is depends on
 * the machine's other work, so no test says it.
 */
function assertMeasured(table: VariantTable, file: string, what: string): void {
  const { variant, milliseconds } = JSON.parse(readFileSync(file, 'utf8')).choices[key] as { variant: string; milliseconds: Record<string, number> };
  assert.equal(Object.keys(milliseconds), measured, what);
  assert.is(milliseconds[variant], Math.min(...Object.values(milliseconds)), what);
  assert.ok(milliseconds[variant] > 0, what);
  assert.equal(chosen(table), { variant, reason: 'measured' }, what);
}

test('the variant that measured fastest is chosen and remembered', async () => {
  const file = join(folder, 'deep', 'choices.json');
  assertMeasured(await choose({ mode: 'measure', file }), file, 'no file');
  const content = JSON.parse(readFileSync(file, 'utf8'));
  assert.ok(content.adapter.length > 0 && content.dawn.length > 0);
  assert.match(content.kernels, /^[0-9a-f]{16}$/);
});

/** Of three variants two are fast and wrong: one leaves an element as it was, one adds another number to the last one. */
const wrongOp = defineOp<Record<string, never>>({
  ...doubleOp,
  name: 'double_wrongly',
  variants: [
    {
      name: 'short',
      kernels: ({ inputs: [a], outputs: [output] }) => [{ kernel: 'elementwise/add', constants: { THREADS: 64 }, bindings: { a: a!, b: a!, output }, params: { size: output.size - 1, period: output.size }, workgroups: [10] }],
    },
    { name: 'right', ...additions(40, 16) },
    {
      name: 'shifted',
      kernels: ({ inputs: [a], outputs: [output] }) => [{ kernel: 'elementwise/add', constants: { THREADS: 64 }, bindings: { a: a!, b: a!, output }, params: { size: output.size, period: 639 }, workgroups: [10] }],
    },
  ],
  preferred: () => 'right',
});

test('a variant with other results than the preferred one is never chosen, and is remembered for that', async () => {
  const gpu = await testGpu();
  const file = join(folder, 'choices.json');
  const warnings: string[] = [];
  const write = process.stderr.write;
  process.stderr.write = (text) => warnings.push(String(text)) > 0;
  try {
    const table = configureVariants(gpu, { mode: 'measure', file });
    const input = tensor(gpu, new Float32Array(640).fill(2), [640]);
    const program = await Program.record(gpu, () => apply(wrongOp, [input], {})[0]);
    program.destroy();
    freeTensor(gpu, input);
    assert.equal([...table.chosen.values()].map(({ variant, reason }) => [variant, reason]), [['right', 'measured']]);
  } finally {
    process.stderr.write = write;
  }
  const { variant, milliseconds, wrong } = JSON.parse(readFileSync(file, 'utf8')).choices['double_wrongly|f32||short,right,shifted'];
  assert.equal([variant, Object.keys(milliseconds), wrong], ['right', ['right'], ['short', 'shifted']]);
  assert.match(warnings.join(''), /double_wrongly short gives other results than right on .*double_wrongly shifted gives/s);
});

test('a variant of an op that works in place is held against the others, too', async () => {
  const gpu = await testGpu();
  const file = join(folder, 'choices.json');
  const [right, workgroups] = [accumulateOp.variants.find(({ name }) => name === 'workgroup')!, [1] as const];
  // It leaves all but the first chunk as it was, which makes it the fastest.
  const hasty = { name: 'hasty', kernels: (call: OpCall<Record<string, never>>) => right.kernels(call).map((kernel) => ({ ...kernel, workgroups })) };
  const op = defineOp<Record<string, never>>({ ...accumulateOp, name: 'accumulate_hastily', variants: [right, hasty], preferred: () => right.name });
  const write = process.stderr.write;
  process.stderr.write = () => true;
  try {
    const table = configureVariants(gpu, { mode: 'measure', file });
    const [sum, gradient] = [0, 1].map((value) => tensor(gpu, new Float32Array(1 << 18).fill(value), [1 << 18]));
    const program = await Program.record(gpu, () => {
      apply(op, [sum, gradient], {});
      return sum;
    });
    await program.run();
    assert.ok((await readTensor(gpu, sum)).every((value) => value === 1));
    assert.equal(table.measurements.map(({ variant, wrong }) => [variant, wrong]), [['workgroup', ['hasty']]]);
    program.destroy();
    for (const used of [sum, gradient]) freeTensor(gpu, used);
  } finally {
    process.stderr.write = write;
  }
});

test('a loss of probabilities is measured on probabilities', async () => {
  const gpu = await testGpu();
  const [probability, label] = [0, 1].map(() => emptyTensor(gpu, [1, 37, 37]));
  [probability, label].forEach((input, i) => fillWithNoise(gpu, input, i));
  const program = await Program.record(gpu, () => focalLoss(probability, label));
  await program.run();
  assert.ok(Number.isFinite((await readTensor(gpu, program.outputs))[0]));
  program.destroy();
  for (const input of [probability, label]) freeTensor(gpu, input);
});

test('no variant of a gradient is called wrong for the rounding of what cancels', async () => {
  const gpu = await testGpu();
  const table = configureVariants(gpu, { mode: 'measure', file: join(folder, 'cancelling.json') });
  const [rows, width] = [16, 96];
  const input = tensor(gpu, Float32Array.from({ length: rows * width }, (_, i) => Math.sin(i)), [rows, width]);
  // Of a row's own direction, the gradient of its length 1 is nothing.
  const program = await Program.record(gpu, () => apply(l2NormalizeBackwardOp, [input, input], { epsilon: 1e-12 })[0]);
  program.destroy();
  freeTensor(gpu, input);
  assert.is(table.chosen.size, 1);
  const [choice] = Object.values(JSON.parse(readFileSync(join(folder, 'cancelling.json'), 'utf8')).choices as Record<string, MeasuredChoice>);
  assert.ok(Object.keys(choice.milliseconds).length > 1, 'variants were held against each other');
  assert.is(choice.wrong, undefined);
});

test('a remembered choice is used without measuring', async () => {
  const file = join(folder, 'choices.json');
  const text = JSON.stringify({ choices: { [key]: { variant: 'slower', milliseconds: {} } } });
  writeFileSync(file, text);
  assert.equal(chosen(await choose({ mode: 'measure', file })), { variant: 'slower', reason: 'measured' });
  assert.is(readFileSync(file, 'utf8'), text);
  // Where nothing may be measured, the file counts for nothing.
  assert.is(chosen(await choose({ mode: 'default', file })).variant, 'slow');
});

test('a damaged file is measured and written anew', async () => {
  for (const damage of ['{"choices": {"double', '', 'null', '[]', '{"choices": 7}', `{"choices": {"${key}": null}}`, `{"choices": {"${key}": {"variant": 3}}}`]) {
    const file = join(folder, 'choices.json');
    writeFileSync(file, damage);
    assertMeasured(await choose({ mode: 'measure', file }), file, damage);
  }
});

test('a remembered variant that the op no longer has is measured anew', async () => {
  const file = join(folder, 'choices.json');
  writeFileSync(file, JSON.stringify({ choices: { [key]: { variant: 'removed', milliseconds: {} } } }));
  assertMeasured(await choose({ mode: 'measure', file }), file, 'removed');
});

test('calls of one shape class that allow other variants are measured apart, and keep their choices', async () => {
  const file = join(folder, 'choices.json');
  const wider = `${key},wide`;
  const gpu = await testGpu();
  const wideOp = defineOp<Record<string, never>>({
    ...doubleOp,
    variants: [...doubleOp.variants, { name: 'wide', supports: ({ inputs: [a] }) => a!.size % 4 === 0, ...additions(1, 32) }],
  });
  const run = async (): Promise<string[]> => {
    const table = configureVariants(gpu, { mode: 'measure', file });
    const inputs = [641, 640].map((size) => tensor(gpu, new Float32Array(size), [size]));
    const program = await Program.record(gpu, () => inputs.map((input) => apply(wideOp, [input], {})[0]));
    program.destroy();
    for (const input of inputs) freeTensor(gpu, input);
    return [...table.chosen.values()].map(({ variant }) => variant);
  };
  // A choice from before the op had its new variant stands where that cannot run; where it can, it gets its turn.
  writeFileSync(file, JSON.stringify({ choices: { [key]: { variant: 'slower', milliseconds: {} } } }));
  const first = await run();
  assert.is(first[0], 'slower');
  const { choices } = JSON.parse(readFileSync(file, 'utf8'));
  assert.equal(Object.keys(choices), [key, wider]);
  assert.equal(Object.keys(choices[wider].milliseconds), ['slow', 'slower', 'fast', 'wide']);
  assert.equal(await run(), first);
});

test('what another process wrote meanwhile is kept, and goes before one\'s own measurement', async () => {
  const gpu = await testGpu();
  const file = join(folder, 'choices.json');
  const table = configureVariants(gpu, { mode: 'measure', file });
  writeFileSync(file, JSON.stringify({ choices: { [key]: { variant: 'slower', milliseconds: {} }, 'gemm|f32|': { variant: 'tiled', milliseconds: {} } } }));
  const input = tensor(gpu, new Float32Array(16), [16]);
  const program = await Program.record(gpu, () => apply(doubleOp, [input], {})[0]);
  assert.is(table.chosen.get('double|f32[16]|{}')!.variant, 'slower');
  assert.is(JSON.parse(readFileSync(file, 'utf8')).choices['gemm|f32|'].variant, 'tiled');
  program.destroy();
});

test('a measurement that cannot be remembered is not used', async () => {
  // A file where the folder should be: not even root can write below it.
  writeFileSync(join(folder, 'occupied'), '');
  const file = join(folder, 'occupied', 'choices.json');
  assert.equal(chosen(await choose({ mode: 'measure', file })), { variant: 'slow', reason: 'default' });
  assert.not(existsSync(file));
});

test('a forced variant goes before everything, reference variants and those for GPUs included', async () => {
  const file = join(folder, 'choices.json');
  for (const forced of ['slower', 'gpu', 'plain']) {
    assert.equal(chosen(await choose({ mode: 'measure', file, forced: { double: forced }, pinned: { [exactCall]: 'slow' } })), { variant: forced, reason: 'forced' });
  }
  assert.not(existsSync(file));
  // Forced, but not for these inputs: others stand in.
  assert.is(chosen(await choose({ mode: 'default', forced: { double: 'large only' } })).variant, 'slow');
});

test('a forced variant that does not exist: the error lists those that do', async () => {
  const error = await errorOf(() => choose({ mode: 'default', forced: { double: 'warp' } }));
  assert.instance(error, UserError);
  assert.match(error.message, /--variant double=warp: double has the variants slow, slower, fast/);
});

test('a pinned choice of an earlier run goes before measurements', async () => {
  const file = join(folder, 'choices.json');
  assert.equal(chosen(await choose({ mode: 'measure', file, pinned: { [exactCall]: 'slower' } })), { variant: 'slower', reason: 'pinned' });
  assert.not(existsSync(file));
});

test('calls of one shape class keep each its own variant when they are pinned', async () => {
  const gpu = await testGpu();
  // As gemm has it: what is best depends on more than the class tells.
  const pickyOp = defineOp<{ readonly even: boolean }>({
    name: 'picky',
    inputNames: ['input'],
    outputs: ([a]) => [a!],
    variants: [{ name: 'slow', ...additions(2, 16) }, { name: 'fast', ...additions(1, 40) }],
    preferred: ({ attributes }) => (attributes.even ? 'slow' : 'fast'),
    cost: () => ({ flops: 0, bytes: 0 }),
    benchCases: [],
  });
  const input = tensor(gpu, new Float32Array(16), [16]);
  const choices = async (policy: VariantPolicy, order: readonly boolean[]): Promise<Readonly<Record<string, string>>> => {
    const table = configureVariants(gpu, policy);
    const program = await Program.record(gpu, () => order.map((even) => apply(pickyOp, [input], { even })[0]));
    program.destroy();
    return table.chosenNames;
  };
  const first = await choices({ mode: 'default' }, [true, false]);
  assert.equal(first, { 'picky|f32[16]|{"even":false}': 'fast', 'picky|f32[16]|{"even":true}': 'slow' });
  // Pinned ones that this run has not met are kept, in the same order.
  assert.is(JSON.stringify(await choices({ mode: 'default', pinned: first }, [false])), JSON.stringify(first));
  assert.equal(await choices({ mode: 'default', pinned: first }, [true, false]), first);
  freeTensor(gpu, input);
});

test('measuring gives its memory back', async () => {
  const gpu = await testGpu();
  gpu.memory.trim();
  const before = gpu.memory.allocated;
  await choose({ mode: 'measure', file: join(folder, 'choices.json') });
  gpu.memory.trim();
  assert.is(gpu.memory.allocated, before);
});

test.run();
