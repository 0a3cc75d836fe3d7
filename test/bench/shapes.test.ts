import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { allOps } from '../../src/bench/registry.ts';
import { casesOfShapes } from '../../src/bench/shapes.ts';
import { UserError } from '../../src/errors.ts';
import { errorOf } from '../support/errors.ts';

const ops = await allOps();
const shapesOf = (name: string, text: string, largest = 1 << 27) => casesOfShapes(ops.get(name)!, text, largest);

test('numbers become cases that are named by them', () => {
  const cases = shapesOf('gemm', '1370x1024x1024, 77×768 x 3072');
  assert.equal(cases.map(({ name }) => name), ['1370x1024x1024', '77x768x3072']);
  assert.equal(cases[1].inputs.map((input) => input!.shape), [[77, 768], [768, 3072]]);
  const [attention] = shapesOf('attention_backward', '2x37x3x24');
  assert.equal(attention.inputs.map((input) => input!.shape), [[2, 37, 216], [2, 37, 72], [2, 3, 37], [2, 37, 72]]);
});

test('every op takes sizes, and its shape rule takes the case that it makes of the small ones', () => {
  assert.ok(ops.size > 50);
  for (const [name, op] of ops) {
    assert.ok(op.sizes, `${name} has no sizes`);
    for (const small of op.sizes!.small) {
      assert.is(small.length, op.sizes!.names.length, name);
      const [made] = casesOfShapes(op, small.join('x'), 1 << 21);
      const { flops, bytes } = op.cost(made.inputs, op.outputs(made.inputs, made.attributes), made.attributes);
      assert.ok(flops >= 0 && bytes > 0, `${name} ${made.name}: ${flops} FLOP, ${bytes} bytes`);
    }
  }
});

test('a wrong shape is answered with what the numbers mean for this op', async () => {
  for (const [op, text, message] of [
    ['gemm', '77x768', /^--shapes 77x768: 2 numbers are given, not 3\. gemm takes rows x depth x columns, for example /],
    ['gemm', '8x8x8,4', /^--shapes 4: one number is given, not 3/],
    ['layer_norm', '3x-4', /^--shapes 3x-4: sizes must be whole numbers with x between them\. layer_norm takes rows x width/],
    ['layer_norm', '3x4,', /^--shapes : sizes must be whole numbers/],
    ['layer_norm', '3x1e3', /whole numbers/],
    ['layer_norm', '0x4', /there is no tensor \[0, 4\]/],
    ['attention', '1x37x2x12', /attention: qkv must be .* head size of 16 to 128 .*attention takes batch x tokens x heads x head size/],
    ['convolution', '1x7x5x6x9x1x0', /convolution: the window must fit into the image/],
    ['patch_embedding', '1x16x5x8', /patch_embedding: image must be .* multiples of the patch size 5/],
    ['max_pool_backward', '1x7x5x9x1x0', /max_pool: the window 9 must fit into the padded input; .*max_pool_backward takes batch x side x channels x window/],
    ['gemm', '100000x100000x1', /a tensor \[100000, 100000\] does not fit into the 134217728 bytes/],
  ] as const) {
    const error = await errorOf(() => shapesOf(op, text));
    assert.instance(error, UserError, `${op} ${text}`);
    assert.match(error.message, message, `${op} ${text}`);
  }
});

test.run();
