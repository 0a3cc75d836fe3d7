import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { fusionStudies } from '../../../src/bench/fusion/studies.ts';
import { type FusionStudy, checkStudy, runStudy } from '../../../src/bench/fusion/study.ts';
import { headProduct, interpolate, power, softmax, squareRoot } from '../../../src/bench/fusion/steps.ts';
import { UserError } from '../../../src/errors.ts';
import { neighbourhoodPool } from '../../../src/ops/neighbourhood_pool.ts';
import { configureVariants } from '../../../src/tensor/variants.ts';
import { command, scratchFolder } from '../../support/command.ts';
import { errorOf } from '../../support/errors.ts';
import { assertClose, evaluate, randomInput, randomValues, testGpu } from '../../support/gpu.ts';
import { assertGradients } from '../../support/gradients.ts';

/** Small sizes of every study: odd where it allows that, and multiples of four. */
const sizes: Readonly<Record<string, readonly (readonly number[])[]>> = {
  attention: [[37, 3, 24], [40, 2, 16]],
  gemm_activation: [[5, 35, 67], [36, 16, 64]],
  gemm_residual: [[5, 35, 67], [36, 16, 64]],
  // With few patches the slices in which GPUs sum up the gradient of the weight are more than what the chain lays out.
  patch_embedding: [[2, 15, 3, 37], [1, 64, 4, 32]],
  cosine_softmax: [[41, 67], [36, 64]],
  neighbourhood_pool: [[2, 5, 13], [1, 8, 16]],
  upsample_mean: [[2, 3, 5, 17], [1, 4, 4, 32]],
  focal_loss: [[3, 37], [1, 64]],
  dice_loss: [[3, 37], [1, 64]],
  adam: [[517], [4096]],
};

test('every study has small sizes here', () => {
  assert.equal(Object.keys(sizes).sort(), [...fusionStudies.keys()].sort());
  for (const { cases, sizeNames } of fusionStudies.values()) for (const given of cases) assert.is(given.sizes.length, sizeNames.length);
});

// runStudy throws where the kernel and the chain differ by more than DESIGN allows.
for (const study of fusionStudies.values()) {
  for (const given of sizes[study.name]) {
    for (const dtype of study.types) {
      for (const backward of study.backward ? [false, true] : [false]) {
        test(`${study.name} ${given.join('x')} ${dtype} ${backward ? 'backward' : 'forward'}: kernel and chain agree, and the chain does more`, async () => {
          const gpu = await testGpu();
          if (dtype === 'f16' && !gpu.f16) return;
          configureVariants(gpu, { mode: 'default' });
          const { fused, unfused, pass, rounds } = await runStudy(gpu, study, { name: 'small', sizes: given }, dtype, backward, { runs: 1 });
          assert.is(pass, backward ? (gpu.timestamps ? 'backward' : 'forward + backward') : 'forward');
          assert.is(rounds, 5);
          assert.ok(unfused.dispatches > fused.dispatches, `${unfused.dispatches} dispatches of the chain, ${fused.dispatches} of the kernel`);
          assert.ok(unfused.bytes > fused.bytes, `${unfused.bytes} bytes of the chain, ${fused.bytes} of the kernel`);
          assert.ok(fused.milliseconds > 0 && unfused.milliseconds > 0);
        });
      }
    }
  }
}

test('workgroup variants of the chains agree, too', async () => {
  const gpu = await testGpu();
  const teams = ['unary', 'unary_backward', 'binary', 'row_sum', 'softmax', 'softmax_backward'];
  configureVariants(gpu, { mode: 'default', forced: { head_product: 'tiled', ...Object.fromEntries(teams.map((op) => [op, 'workgroup'])) } });
  for (const name of ['attention', 'focal_loss', 'dice_loss', 'cosine_softmax']) {
    const study = fusionStudies.get(name)!;
    await runStudy(gpu, study, { name: 'small', sizes: sizes[name][0] }, 'f32', true, { runs: 1 });
  }
});

test('bytes and dispatches are those of the steps', async () => {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default' });
  const { fused, unfused } = await runStudy(gpu, fusionStudies.get('adam')!, { name: 'small', sizes: [1000] }, 'f32', false, { runs: 1 });
  // Four tensors read and three written, and constants and scale; the chain: five steps of three tensors, three of two.
  assert.is(fused.dispatches, 1);
  assert.is(fused.bytes, 4 * (7 * 1000 + 9));
  assert.is(unfused.dispatches, 8);
  assert.is(unfused.bytes, 4 * 1000 * (5 * 3 + 3 * 2));
  assert.is(fused.memoryBytes, 0);
});

test('a chain that computes something else is refused', async () => {
  const gpu = await testGpu();
  configureVariants(gpu, { mode: 'default' });
  const pool = fusionStudies.get('neighbourhood_pool')!;
  const wrong: FusionStudy = {
    ...pool,
    sides(...given) {
      const { fused, unfused } = pool.sides(...given);
      return { fused: { ...fused, build: (tokens) => [neighbourhoodPool(tokens, { rows: 5, columns: 5, size: 5 })] }, unfused };
    },
  };
  assert.match((await errorOf(() => runStudy(gpu, wrong, { name: 'small', sizes: [1, 5, 8] }, 'f32', false, { runs: 1 }))).message, /^the kernel and the chain differ by .* of the largest value, allowed are 0\.0001$/);
});

test('sizes that cannot be run are known without a device or a number', async () => {
  for (const [name, given, message] of [
    ['patch_embedding', [1, 500, 14, 64], /^patch_embedding: image must be .* multiples of the patch size 14/],
    ['patch_embedding', [1, 5, 14, 64], /^there is no tensor \[0, 64\]|multiples of the patch size 14/],
    ['attention', [5, 3, 7], /^attention: qkv must be .* head size of 16 to 128/],
    ['attention', [6000, 1, 64], /^a tensor \[1, 1, 6000, 6000\] of the chain does not fit into the 134217728 bytes that this adapter binds at once$/],
    ['attention', [0, 1, 64], /^there is no tensor \[1, 0, 192\]$/],
    ['adam', [100000000], /^a tensor \[100000000\] does not fit/],
    ['gemm_activation', [1000000, 1000000, 4], /^a tensor \[1000000, 1000000\] does not fit/],
  ] as const) {
    const error = await errorOf(() => checkStudy(fusionStudies.get(name)!, given, 'f32', 'forward', 1 << 27));
    assert.instance(error, UserError, name);
    assert.match(error.message, message, name);
  }
  for (const study of fusionStudies.values()) for (const given of [...sizes[study.name], ...study.cases.map((one) => one.sizes)]) checkStudy(study, given, 'f32', study.backward ? 'backward' : 'forward', 1 << 27);
  // Half the bytes in f16.
  checkStudy(fusionStudies.get('attention')!, [6000, 1, 64], 'f16', 'forward', 1 << 27);
});

test('head products agree with float64 for every layout', async () => {
  const [batch, heads, m, n, k] = [2, 3, 37, 21, 13];
  const reference = (left: ArrayLike<number>, right: ArrayLike<number>, leftAt: (b: number, h: number, i: number, d: number) => number, rightAt: (b: number, h: number, d: number, j: number) => number): Float64Array => {
    const output = new Float64Array(batch * heads * m * n);
    for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) for (let d = 0; d < k; d++) output[((b * heads + h) * m + i) * n + j] += 0.5 * left[leftAt(b, h, i, d)] * right[rightAt(b, h, d, j)];
    return output;
  };
  for (const variant of ['tiled', 'subgroup']) {
    const left = randomInput([batch, m, heads * k], 1);
    const keys = randomInput([batch, n, heads * k], 2);
    const [scores] = await evaluate([left, keys], (a, b) => headProduct(a, b, { heads, transposeRight: true, scale: 0.5 }), { head_product: variant });
    const side = (rows: number, columns: number) => (b: number, h: number, row: number, column: number): number => (b * rows + row) * heads * columns + h * columns + column;
    assertClose(scores, reference(left.values, keys.values, side(m, k), (b, h, d, j) => side(n, k)(b, h, j, d)), 1e-6, variant);
    const apart = randomInput([batch, heads, m, k], 3);
    const values = randomInput([batch, k, heads * n], 4);
    const [mixed] = await evaluate([apart, values], (a, b) => headProduct(a, b, { heads, sideBySide: true, scale: 0.5 }), { head_product: variant });
    const expected = reference(apart.values, values.values, (b, h, i, d) => ((b * heads + h) * m + i) * k + d, side(k, n));
    const arranged = new Float64Array(expected.length);
    for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) arranged[side(m, n)(b, h, i, j)] = expected[((b * heads + h) * m + i) * n + j];
    assertClose(mixed, arranged, 1e-6, variant);
  }
});

test('gradients of steps', async () => {
  const positive = { values: randomValues(37, 5).map((value) => Math.abs(value) + 0.5), shape: [37] };
  await assertGradients([positive], (x) => squareRoot(x));
  await assertGradients([positive], (x) => power(x, 1.5));
  await assertGradients([randomInput([3, 19], 6)], (x) => softmax(x));
  await assertGradients([randomInput([19, 3], 7)], (x) => softmax(x), { elements: 57 });
  assert.match((await errorOf(() => assertGradients([randomInput([5], 1), randomInput([5], 2)], (x, y) => interpolate(x, y, 0.5)))).message, /interpolate .* has no gradient/);
});

test('the command prints a table, says that results were compared, and writes JSON', async () => {
  const file = join(scratchFolder(), 'fusion.json');
  const { code, output, errors } = await command(['bench', 'fusion', 'dice_loss', '--shapes', '2x37', '--seconds', '0.01', '--variants', 'default', '--json', file]);
  assert.is(code, 0, errors);
  assert.match(output, /\| dice_loss \| 2x37 \| f32 +\| forward +\|/);
  assert.match(output, /\| dice_loss \| 2x37 \| f32 +\| (forward \+ )?backward +\|/);
  assert.match(output, /In every case kernel and chain gave the same results/);
  const { results, failures, clock } = JSON.parse(readFileSync(file, 'utf8'));
  assert.equal(failures, []);
  assert.ok(clock === 'gpu' || clock === 'wall');
  assert.equal(results.map(({ study, pass, sizes: given }: { study: string; pass: string; sizes: number[] }) => [study, pass, given]), [['dice_loss', 'forward', [2, 37]], ['dice_loss', clock === 'gpu' ? 'backward' : 'forward + backward', [2, 37]]]);
});

test('a case that fails is named, and those that were finished are printed and written', async () => {
  const file = join(scratchFolder(), 'fusion.json');
  const { code, output, errors } = await command(['bench', 'fusion', 'dice_loss', '--shapes', '1x16,1x500,1x20', '--pass', 'forward', '--seconds', '0.01', '--variants', 'default', '--memory-budget', '500kB', '--json', file]);
  assert.is(code, 1, errors);
  assert.match(output, /^\| dice_loss \| 1x16 \|/m);
  assert.match(output, /^\| dice_loss \| 1x20 \|/m);
  assert.match(output, /In each of these cases kernel and chain gave the same results/);
  assert.match(output, /^Not compared: dice_loss 1x500 f32 forward: out of the memory budget at /m);
  assert.not.match(output + errors, /\n\s+at /);
  const { results, failures } = JSON.parse(readFileSync(file, 'utf8'));
  assert.equal(results.map((result: { case: string }) => result.case), ['1x16', '1x20']);
  const [{ reason, ...failure }] = failures;
  assert.equal(failure, { study: 'dice_loss', case: '1x500', sizes: [1, 500], dtype: 'f32', pass: 'forward' });
  assert.match(reason, /^out of the memory budget/);
});

test('sizes are explained', async () => {
  const all = await command(['bench', 'fusion', '--shapes', 'help']);
  assert.is(all.code, 0, all.errors);
  assert.match(all.output, /^ {2}attention +tokens x heads x head size, for example 257x16x64$/m);
  assert.match(all.output, /^ {2}adam +elements, for example 2097152$/m);
});

const folder = scratchFolder();
for (const [what, args, expected] of [
  ['an unknown study', ['flash'], /there is no fusion study "flash"\. There are: attention, /],
  ['sizes without a study', ['--shapes', '3x4'], /--shapes: name the one study/],
  ['too few sizes', ['attention', '--shapes', '3x4'], /^mfp-clip: --shapes 3x4: 2 numbers are given, not 3\. attention takes tokens x heads x head size, for example 257x16x64\.$/m],
  ['sizes that are no numbers', ['attention', '--shapes', '3x4xa'], /^mfp-clip: --shapes 3x4xa: sizes must be whole numbers with x between them\. attention takes tokens x heads x head size/m],
  ['a size with an exponent', ['patch_embedding', '--shapes', '1x1e1x1x16'], /^mfp-clip: --shapes 1x1e1x1x16: sizes must be whole numbers/m],
  ['sizes that do not go together', ['patch_embedding', '--shapes', '1x500x14x64'], /^mfp-clip: --shapes 1x500x14x64: patch_embedding: .*multiples of the patch size 14.*\. patch_embedding takes batch x side x patch x width, for example 1x518x14x1024\.$/m],
  ['sizes beyond all adapters', ['gemm_activation', '--shapes', '16x16x16,1000000x1000000x4'], /^mfp-clip: --shapes 1000000x1000000x4: a tensor \[1000000, 1000000\] does not fit/m],
  ['another pass', ['attention', '--pass', 'sideways'], /Allowed choices are forward, backward, both/],
  ['no case left', ['attention', '--case', 'nothing'], /no case is left/],
] as const) {
  test(`${what} is one clear error`, async () => {
    const unwritten = join(folder, `${what}.json`);
    const { code, errors } = await command(['bench', 'fusion', ...args, '--json', unwritten]);
    assert.is(code, 1);
    assert.match(errors, expected);
    assert.not.match(errors, /\n\s+at /);
    assert.not(existsSync(unwritten));
  });
}

test.run();
