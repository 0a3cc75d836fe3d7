import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { attention, attentionBackwardOp, attentionOp } from '../../src/ops/attention.ts';
import { matrixUnits } from '../../src/ops/subgroup_matrix.ts';
import { decode, encode } from '../../src/tensor/dtype.ts';
import { apply } from '../../src/tensor/recording.ts';
import { variantsOf } from '../../src/tensor/variants.ts';
import { errorOf } from '../support/errors.ts';
import { type TestInput, assertClose, evaluate, randomInput, testGpu } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

interface Case {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly head: number;
  readonly causal: boolean;
  readonly dtype: 'f32' | 'f16';
}

/** float64 reference of torch.nn.functional.scaled_dot_product_attention and of its gradient. */
function reference(
  qkv: ArrayLike<number>,
  gradient: ArrayLike<number>,
  { batch, tokens, heads, head, causal }: Case,
): { output: Float64Array; logSumExp: Float64Array; qkvGradient: Float64Array } {
  const width = heads * head;
  const output = new Float64Array(batch * tokens * width);
  const logSumExp = new Float64Array(batch * heads * tokens);
  const qkvGradient = new Float64Array(qkv.length);
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const at = (part: number, token: number): number => ((b * tokens + token) * 3 + part) * width + h * head;
      const product = (x: ArrayLike<number>, i: number, y: ArrayLike<number>, j: number): number => {
        let sum = 0;
        for (let d = 0; d < head; d++) sum += x[i + d] * y[j + d];
        return sum;
      };
      for (let i = 0; i < tokens; i++) {
        const keys = causal ? i + 1 : tokens;
        const scores = Float64Array.from({ length: keys }, (_, j) => product(qkv, at(0, i), qkv, at(1, j)) / Math.sqrt(head));
        const maximum = scores.reduce((a, c) => Math.max(a, c));
        const sum = scores.reduce((a, c) => a + Math.exp(c - maximum), 0);
        const p = scores.map((score) => Math.exp(score - maximum) / sum);
        const row = (b * tokens + i) * width + h * head;
        logSumExp[(b * heads + h) * tokens + i] = maximum + Math.log(sum);
        for (let j = 0; j < keys; j++) for (let d = 0; d < head; d++) output[row + d] += p[j] * qkv[at(2, j) + d];
        const slopes = Float64Array.from({ length: keys }, (_, j) => product(gradient, row, qkv, at(2, j)));
        const mean = slopes.reduce((a, slope, j) => a + p[j] * slope, 0);
        for (let j = 0; j < keys; j++) {
          const ds = (p[j] * (slopes[j] - mean)) / Math.sqrt(head);
          for (let d = 0; d < head; d++) {
            qkvGradient[at(0, i) + d] += ds * qkv[at(1, j) + d];
            qkvGradient[at(1, j) + d] += ds * qkv[at(0, i) + d];
            qkvGradient[at(2, j) + d] += p[j] * gradient[row + d];
          }
        }
      }
    }
  }
  return { output, logSumExp, qkvGradient };
}

/** The values as the device has them, so that the reference starts from the same numbers. */
function stored({ values, dtype }: TestInput): ArrayLike<number> {
  return decode(encode(values, dtype ?? 'f32'), dtype ?? 'f32');
}

const tolerances = { f32: 1e-5, f16: 2e-3 } as const;

/** Runs both passes of a case with one variant (where it has no gradients, those of the default one) and compares output, log_sum_exp and gradient with the reference. */
async function check(variant: string, wanted: Case, { scale = 1, tolerance = tolerances[wanted.dtype] } = {}): Promise<void> {
  const { batch, tokens, heads, head, causal, dtype } = wanted;
  const qkv = randomInput([batch, tokens, 3 * heads * head], tokens, scale, dtype);
  const gradient = randomInput([batch, tokens, heads * head], tokens + 1, 1, dtype);
  const expected = reference(stored(qkv), stored(gradient), wanted);
  const attributes = { heads, causal };
  const [output, logSumExp, qkvGradient] = await evaluate(
    [qkv, gradient],
    (x, g) => {
      const [o, l] = apply(attentionOp, [x], attributes);
      return [o, l, ...apply(attentionBackwardOp, [x, o, l, g], attributes)];
    },
    { attention: variant, ...(attentionBackwardOp.variants.some(({ name }) => name === variant) && { attention_backward: variant }) },
  );
  assertClose(output, expected.output, tolerance, 'output');
  // f32 in any case, and the reference starts from the stored numbers.
  assertClose(logSumExp, expected.logSumExp, 1e-5, 'log_sum_exp');
  assertClose(qkvGradient, expected.qkvGradient, tolerance, 'gradient');
}

/**
 * Token counts are one, odd, and one past the tiles (4 to 64 rows); head sizes give every tile shape of the tiled kernels.
 * Head size and element type make a new pipeline, which a software adapter compiles for seconds, so there are few of those.
 */
const cases: Readonly<Record<string, readonly Case[]>> = {
  plain: [
    { batch: 1, tokens: 1, heads: 1, head: 16, causal: false, dtype: 'f32' },
    { batch: 2, tokens: 7, heads: 3, head: 80, causal: true, dtype: 'f32' },
    { batch: 2, tokens: 33, heads: 2, head: 64, causal: false, dtype: 'f32' },
    { batch: 1, tokens: 65, heads: 1, head: 128, causal: true, dtype: 'f16' },
    { batch: 2, tokens: 77, heads: 2, head: 24, causal: false, dtype: 'f16' },
  ],
  tiled: [
    { batch: 1, tokens: 1, heads: 2, head: 24, causal: false, dtype: 'f32' },
    { batch: 1, tokens: 65, heads: 2, head: 24, causal: false, dtype: 'f32' },
    { batch: 2, tokens: 131, heads: 1, head: 24, causal: true, dtype: 'f32' },
    { batch: 2, tokens: 33, heads: 2, head: 80, causal: true, dtype: 'f16' },
    { batch: 1, tokens: 77, heads: 1, head: 80, causal: false, dtype: 'f16' },
  ],
  subgroup: [
    { batch: 1, tokens: 1, heads: 2, head: 24, causal: false, dtype: 'f32' },
    { batch: 2, tokens: 7, heads: 3, head: 24, causal: true, dtype: 'f32' },
    { batch: 1, tokens: 131, heads: 2, head: 24, causal: false, dtype: 'f32' },
    { batch: 2, tokens: 33, heads: 2, head: 64, causal: false, dtype: 'f16' },
    { batch: 1, tokens: 77, heads: 1, head: 64, causal: true, dtype: 'f16' },
    { batch: 1, tokens: 65, heads: 1, head: 128, causal: true, dtype: 'f32' },
  ],
};

for (const [variant, list] of Object.entries(cases)) {
  for (const wanted of list) {
    const { batch, tokens, heads, head, causal, dtype } = wanted;
    test(`attention ${variant}: ${batch} x ${tokens} tokens, ${heads} heads of ${head}, ${causal ? 'causal' : 'full'}, ${dtype}`, () => check(variant, wanted));
  }

  test(`attention ${variant}: scores in the thousands do not overflow`, () =>
    // A score of 5000 is known to 3e-4 in f32, and so are the probabilities.
    check(variant, { batch: 1, tokens: 33, heads: 1, head: 24, causal: false, dtype: 'f32' }, { scale: 30, tolerance: 2e-3 }));

  test(`attention ${variant}: gradient by central differences`, async () => {
    for (const causal of [false, true]) {
      await assertGradients([randomInput([2, 9, 3 * 48], 5)], (qkv) => attention(qkv, { heads: 2, causal }), {
        variants: { attention: variant, attention_backward: variant },
      });
    }
  });
}

const matrixCases: readonly Omit<Case, 'dtype'>[] = [
  { batch: 1, tokens: 1, heads: 2, head: 24, causal: false },
  { batch: 2, tokens: 131, heads: 1, head: 24, causal: true },
  { batch: 1, tokens: 65, heads: 2, head: 64, causal: false },
  { batch: 1, tokens: 77, heads: 1, head: 64, causal: true },
];
const gpu = await testGpu();
for (const dtype of ['f32', 'f16'] as const) {
  // The kernel's WGSL is compiled without such an adapter, too: test/ops/subgroup_matrix.test.ts.
  (matrixUnits(gpu, dtype) ? test : test.skip)(`attention subgroup_matrix in ${dtype}, on an adapter with matrix units`, async () => {
    for (const wanted of matrixCases) {
      await check('subgroup_matrix', { ...wanted, dtype });
      const chosen = [...variantsOf(gpu).chosen.values()].find(({ op }) => op === 'attention');
      assert.is(chosen?.variant, 'subgroup_matrix');
    }
  });
}

test('attention runs without barriers on a software adapter with subgroups', async () => {
  const gpu = await testGpu();
  if (!gpu.adapter.software || ![4, 8, 16].includes(gpu.adapter.subgroupMaxSize)) return;
  await evaluate([randomInput([1, 5, 3 * 24], 1)], (qkv) => attention(qkv, { heads: 1, causal: false }));
  assert.equal([...variantsOf(gpu).chosen.values()].map(({ op, variant }) => [op, variant]), [['attention', 'subgroup']]);
});

test('attention names a head size that no kernel has, and a width that does not divide', async () => {
  for (const [width, heads] of [[8, 1], [20, 1], [136, 1], [64, 3]]) {
    const { message } = await errorOf(() => evaluate([randomInput([1, 2, 3 * width], 1)], (qkv) => attention(qkv, { heads, causal: false })));
    assert.match(message, new RegExp(`^attention: qkv must be .*head size of 16 to 128.*${heads} heads.*qkv f32\\[1, 2, ${3 * width}\\]`));
  }
});

test('attention_backward names a gradient of another shape', async () => {
  const { message } = await errorOf(() =>
    evaluate([randomInput([1, 2, 48], 1), randomInput([1, 3, 16], 2)], (qkv, gradient) => {
      const [output, logSumExp] = apply(attentionOp, [qkv], { heads: 1, causal: false });
      return apply(attentionBackwardOp, [qkv, output, logSumExp, gradient], { heads: 1, causal: false });
    }),
  );
  assert.match(message, /^attention_backward: .*output gradient f32\[1, 3, 16\]/);
});

test.run();
