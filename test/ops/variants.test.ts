// Holds the variants of every op against each other, at the first of the small sizes that the op names: a new variant is tested
// by being in its op's list. Binds every benchmark case in f32 and f16, in all its variants, without running it. `npx tsx test/ops/variants.test.ts gemm attention` takes these ops alone, but at all of the sizes
// and with 16-bit storage, too; for all ops at once a software adapter would compile for minutes.
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { inType, variantsFor } from '../../src/bench/bench.ts';
import { allOps } from '../../src/bench/registry.ts';
import type { BenchCase, Op } from '../../src/tensor/op.ts';
import { Program } from '../../src/tensor/program.ts';
import { apply } from '../../src/tensor/recording.ts';
import { emptyTensor, freeTensor, readTensor, sizeOf, tensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { assertClose, randomValues, testGpu } from '../support/gpu.ts';

/** Outputs of one variant, and its inputs afterwards: some ops work in place. */
async function run(op: Op<unknown>, { inputs, attributes }: BenchCase<unknown>, variant: string): Promise<Float32Array[]> {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default', forced: { [op.name]: variant } });
  const tensors = inputs.map((input, i) => {
    if (!input) return undefined;
    const integers = input.dtype === 'u32' || input.dtype === 'u8';
    // Between 0 and 1: a probability, a length or a scale makes sense of it, too.
    const values = input.values?.() ?? (integers ? new Uint32Array(sizeOf(input.shape)) : randomValues(sizeOf(input.shape), i + 1).map((value) => 0.02 + 0.96 / (1 + Math.exp(-value))));
    return tensor(gpu, values, input.shape, input.dtype, op.inputNames[i]);
  });
  const program = await Program.record(gpu, () => apply(op, tensors, attributes), { poison: true, label: `${op.name} ${variant}` });
  try {
    await program.run();
    const results: Float32Array[] = [];
    for (const result of [...program.outputs, ...tensors]) if (result) results.push(Float32Array.from(await readTensor(gpu, result)));
    return results;
  } finally {
    program.destroy();
    for (const input of tensors) if (input) freeTensor(gpu, input);
  }
}

const wanted = process.argv.slice(2);
for (const op of (await allOps()).values()) {
  if (op.variants.length < 2 || (wanted.length && !wanted.includes(op.name))) continue;
  test(`${op.name}: ${op.variants.map(({ name }) => name).join(', ')} give the same`, async () => {
    const gpu = await testGpu();
    for (const dtype of wanted.length ? (['f32', 'f16'] as const) : (['f32'] as const)) {
      for (const sizes of wanted.length ? op.sizes!.small : op.sizes!.small.slice(0, 1)) {
        const given = inType({ name: sizes.join('x'), ...op.sizes!.case(...sizes) }, dtype);
        const variants = given ? variantsFor(gpu, op, given) : [];
        // The readable first rung, or what stands last, is what the op's own test holds against float64.
        const reference = variants.find((name) => op.variants.some((variant) => variant.name === name && variant.reference)) ?? variants.at(-1);
        const expected = variants.length > 1 ? await run(op, given!, reference!) : [];
        for (const variant of variants.filter((name) => name !== reference)) {
          const actual = await run(op, given!, variant);
          expected.forEach((values, i) => assertClose(actual[i], values, dtype === 'f16' ? 2e-3 : 1e-5, `${op.name} ${given!.name} ${dtype}: ${variant} beside ${reference}, result ${i + 1}`));
        }
      }
    }
  });
}

/** Ops without cases in f16: losses, the optimizer and the evaluation are f32 in every precision, and `cast` is between the two. */
const singleOps = [
  'accumulate',
  'adam',
  'binary_cross_entropy',
  'binary_cross_entropy_backward',
  'cast',
  'cross_entropy',
  'cross_entropy_backward',
  'dice_loss',
  'dice_loss_backward',
  'exponential_scale',
  'exponential_scale_parameter_backward',
  'focal_loss',
  'focal_loss_backward',
  'gradient_scale',
  'score_histogram',
  'sum_squares',
];

for (const dtype of ['f32', 'f16'] as const) {
  test(`every benchmark case that an op takes in ${dtype} binds, in all its variants`, async () => {
    const gpu = await testGpu();
    if (dtype === 'f16' && !gpu.f16) return;
    for (const op of (await allOps()).values()) {
      if (wanted.length && !wanted.includes(op.name)) continue;
      for (const benchCase of op.benchCases) {
        const given = inType(benchCase, dtype);
        const variants = given ? variantsFor(gpu, op, given) : [];
        // A case that the shape rule refuses is left out of the benchmark without a word.
        assert.is(variants.length > 0, dtype === 'f32' || !singleOps.includes(op.name), `${op.name} ${benchCase.name} ${dtype}: ${variants.length} variants`);
        const tensors = variants.length ? given!.inputs.map((input, i) => input && emptyTensor(gpu, input.shape, input.dtype, op.inputNames[i])) : [];
        try {
          for (const variant of variants) {
            configureVariants(gpu, { mode: 'default', forced: { [op.name]: variant } });
            (await Program.record(gpu, () => apply(op, tensors, given!.attributes), { label: `${op.name} ${benchCase.name} ${dtype} ${variant}` })).destroy();
          }
        } finally {
          for (const input of tensors) if (input) freeTensor(gpu, input);
        }
      }
    }
  });
}

test.run();
