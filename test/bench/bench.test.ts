import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { benchCase, inType, variantsFor } from '../../src/bench/bench.ts';
import { allOps } from '../../src/bench/registry.ts';
import { isSingle, single } from '../../src/ops/types.ts';
import { type BenchCase, f32 } from '../../src/tensor/op.ts';
import { errorOf } from '../support/errors.ts';
import { testGpu } from '../support/gpu.ts';

const ops = await allOps();

/** The first of an op's small cases. */
function smallCase(name: string): BenchCase<unknown> {
  const { sizes } = ops.get(name)!;
  return { name: 'small', ...sizes!.case(...sizes!.small[0]) };
}

test('a case turns to f16 but for its single inputs, those of integers and the ones that are absent', () => {
  const given: BenchCase<unknown> = { name: 'a', inputs: [f32(2, 3), single(3), { shape: [2], dtype: 'u32' }, undefined], attributes: { dtype: 'f32', rows: 2 } };
  assert.is(inType(given, 'f32'), given);
  const turned = inType(given, 'f16')!;
  assert.equal(turned.inputs.map((input) => input?.dtype), ['f16', 'f32', 'u32', undefined]);
  assert.equal(turned.attributes, { dtype: 'f16', rows: 2 });
  assert.is(inType({ ...given, inputs: [single(3)], attributes: {} }, 'f16'), undefined);
  assert.equal(inType({ ...given, inputs: [single(3)] }, 'f16')!.attributes, { dtype: 'f16', rows: 2 });
});

test('the cases of op files are in f32, and their names leave the type to the column beside', () => {
  for (const { name, benchCases } of ops.values()) {
    for (const { name: given, inputs } of benchCases) {
      assert.not.match(given, /\bf(16|32)\b/, name);
      assert.not.ok(inputs.some((input) => input?.dtype === 'f16'), `${name}, ${given} is f16 by itself`);
    }
  }
});

test('a timed case says its type, where single inputs come first and where the result alone has one, too', async () => {
  const gpu = await testGpu();
  for (const name of ['cosine_softmax_backward_text', 'maximum_backward', 'upsample_mean_backward', 'image_resize', 'add']) {
    for (const type of gpu.f16 ? (['f32', 'f16'] as const) : (['f32'] as const)) {
      const given = inType(smallCase(name), type)!;
      const [variant] = variantsFor(gpu, ops.get(name)!, given);
      const { dtype } = await benchCase(gpu, ops.get(name)!, given, variant, { runs: 1, leastRuns: 1 });
      assert.is(dtype, type, name);
    }
  }
});

test('the shape rule of every gradient refuses an operand of another element type or with an axis too many', async () => {
  const gradients = [...ops.values()].filter(({ name }) => name.includes('backward'));
  assert.ok(gradients.length > 20);
  for (const { name, outputs } of gradients) {
    const { inputs, attributes } = smallCase(name);
    // Where precision turns one operand alone, either type of that one is right.
    const turned = inputs.filter((input) => input?.dtype === 'f32' && !isSingle(input));
    for (const [i, input] of inputs.entries()) {
      const attempt = (instead: unknown): Promise<Error> => errorOf(() => outputs(inputs.with(i, instead as typeof input), attributes));
      const wrong = [{ ...input!, shape: [3, ...input!.shape] }, ...(turned.length === 1 && turned[0] === input ? [] : [{ ...input!, dtype: input!.dtype === 'f32' ? 'f16' : 'f32' }])];
      for (const instead of wrong) {
        const error = await attempt(instead).catch(() => assert.unreachable(`${name} takes ${instead.dtype}[${instead.shape.join(', ')}] as operand ${i + 1}`));
        assert.match((error as Error).message, /^\w+: .*; got /, name);
      }
    }
  }
});

test('gradients refuse sizes that the op itself refuses, and operands that are absent', async () => {
  for (const [name, numbers, message] of [
    ['neighbourhood_pool_backward', [1, 5, 5, 8, 4], /^neighbourhood_pool_backward: the neighbourhood must be an odd number of patches wide, not 4; got output gradient f32\[1, 25, 8\]/],
    ['slice_backward', [5, 37, 9], /^slice: cannot take 9 from 0 along axis 0/],
    ['max_pool_backward', [1, 7, 5, 3, 2, 3], /^max_pool: the padding 3 must be at most half of the window 3/],
    ['resize_position_backward', [3, 0, 37], /^resize_position: position must be \[1 \+ 3 x 3, width\], to be fitted to 0 x 0/],
    ['patch_embedding_backward_weight', [1, 16, 5, 8], /^patch_embedding_backward_weight: image must be .* multiples of the patch size 5/],
    ['convolution_backward_weight', [1, 7, 5, 6, 3, 0, 0], /^convolution: stride must be a whole number from 1/],
  ] as const) {
    const { sizes, outputs } = ops.get(name)!;
    const { inputs, attributes } = sizes!.case(...numbers);
    assert.match((await errorOf(() => outputs(inputs, attributes))).message, message);
  }
  const { outputs } = ops.get('dice_loss_backward')!;
  assert.match((await errorOf(() => outputs([f32(2, 5), undefined, f32(1)], {}))).message, /^dice_loss_backward: sums must be f32\[2, 2\]; got mask f32\[2, 5\], sums absent, loss gradient f32\[1\]/);
});

test.run();
