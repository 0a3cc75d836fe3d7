import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { attention, attentionBackwardOp, attentionOp } from '../../src/ops/attention.ts';
import type { DType } from '../../src/tensor/dtype.ts';
import { apply } from '../../src/tensor/recording.ts';
import { errorOf } from '../support/errors.ts';
import { type TestInput, assertClose, evaluate, randomInput } from '../support/gpu.ts';
import { assertGradients } from '../support/gradients.ts';

interface Case {
  readonly batch: number;
  readonly tokens: number;
  readonly heads: number;
  readonly head: number;
  readonly causal: boolean;
}

/** float64 reference of torch.nn.functional.scaled_dot_product_attention and of its gradient. */
function reference(qkv: ArrayLike<number>, gradient: ArrayLike<number> | undefined, { batch, tokens, heads, head, causal }: Case): { output: Float64Array; logSumExp: Float64Array; qkvGradient: Float64Array } {
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
        if (!gradient) continue;
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

/** What f16 storage makes of a value, so that the reference starts from the same numbers. */
function stored(values: ArrayLike<number>, dtype: DType): ArrayLike<number> {
  return dtype === 'f16' ? Float32Array.from(values, (value) => Math.fround(halve(value))) : values;
}

/** Rounds to the nearest f16 (11 significant bits; the values here are in its normal range). */
function halve(value: number): number {
  if (value === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 10);
  return Math.round(value / unit) * unit;
}

const tolerances = { f32: 1e-5, f16: 2e-3 } as const;
const variants = ['plain', 'tiled', 'subgroup'] as const;

/** Inputs of a case: qkv and the gradient that comes back. */
function inputsOf({ batch, tokens, heads, head }: Case, dtype: 'f32' | 'f16', scale = 1): [TestInput, TestInput] {
  return [
    { ...randomInput([batch, tokens, 3 * heads * head], tokens, scale), dtype },
    { ...randomInput([batch, tokens, heads * head], tokens + 1), dtype },
  ];
}

async function check(wanted: Case, dtype: 'f32' | 'f16', variant: string, scale = 1, tolerance: number = tolerances[dtype]): Promise<void> {
  const [qkv, gradient] = inputsOf(wanted, dtype, scale);
  const expected = reference(stored(qkv.values, dtype), stored(gradient.values, dtype), wanted);
  const attributes = { heads: wanted.heads, causal: wanted.causal };
  const [output, logSumExp, qkvGradient] = await evaluate(
    [qkv, gradient],
    (x, g) => {
      const [o, l] = apply(attentionOp, [x], attributes);
      return [o, l, ...apply(attentionBackwardOp, [x, o, l, g], attributes)];
    },
    { attention: variant, attention_backward: variant },
  );
  assertClose(output, expected.output, tolerance, 'output');
  // log_sum_exp is f32 in any case, but of the stored numbers.
  assertClose(logSumExp, expected.logSumExp, 1e-5, 'log_sum_exp');
  assertClose(qkvGradient, expected.qkvGradient, tolerance, 'gradient');
}

/**
 * Token counts around the tiles of every variant: 4, 8, 16, 32 and 64 rows. Few head sizes, since each is a pipeline of
 * its own for every kernel, and compiling those takes a software adapter seconds.
 */
const cases: readonly (Case & { readonly dtype: 'f32' | 'f16' })[] = [
  { batch: 1, tokens: 1, heads: 1, head: 64, causal: false, dtype: 'f32' },
  { batch: 2, tokens: 7, heads: 3, head: 24, causal: false, dtype: 'f32' },
  { batch: 2, tokens: 33, heads: 2, head: 24, causal: true, dtype: 'f32' },
  { batch: 1, tokens: 65, heads: 2, head: 64, causal: true, dtype: 'f32' },
  { batch: 1, tokens: 131, heads: 1, head: 64, causal: false, dtype: 'f32' },
  { batch: 2, tokens: 77, heads: 2, head: 64, causal: true, dtype: 'f16' },
];

for (const variant of variants) {
  for (const { dtype, ...wanted } of cases) {
    const { batch, tokens, heads, head, causal } = wanted;
    test(`attention ${variant}: ${batch} x ${tokens} tokens, ${heads} heads of ${head}, ${causal ? 'causal' : 'full'}, ${dtype}`, () => check(wanted, dtype, variant));
  }
}

for (const variant of variants) {
  test(`attention ${variant} does not overflow where scores are large`, () =>
    // Scores of some hundreds, whose exponentials f32 cannot hold.
    check({ batch: 1, tokens: 33, heads: 1, head: 64, causal: false }, 'f32', variant, 20, 1e-4));

  test(`gradients of attention ${variant}`, () =>
    assertGradients([randomInput([1, 9, 3 * 2 * 24], 3)], (qkv) => attention(qkv, { heads: 2, causal: true }), { variants: { attention: variant, attention_backward: variant } }));
}

test('attention names the operand whose heads it cannot take', async () => {
  const { message } = await errorOf(() => evaluate([randomInput([1, 3, 36], 1)], (qkv) => attention(qkv, { heads: 1, causal: false })));
  assert.match(message, /attention: .*head size of 16 to 128.*qkv f32\[1, 3, 36\]/);
});

test.run();
