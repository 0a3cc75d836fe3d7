import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { Activation } from '../../src/ops/activation.ts';
import { gemm } from '../../src/ops/gemm.ts';
import { matrixUnits } from '../../src/ops/subgroup_matrix.ts';
import { type DType, fromFloat16Bits, toFloat16Bits } from '../../src/tensor/dtype.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';
import { variantsOf } from '../../src/tensor/variants.ts';
import { assertGradients } from '../support/gradients.ts';
import { type TestInput, assertClose, evaluate, randomInput, testGpu } from '../support/gpu.ts';

interface Case {
  readonly sizes: readonly [m: number, n: number, k: number];
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
  readonly bias?: boolean;
  readonly residual?: boolean;
  readonly activation?: Activation;
  readonly dtype?: DType;
}

/** Inputs in the order a, b, bias, residual, already rounded to the type that the device stores. */
function inputsOf({ sizes: [m, n, k], transposeA, transposeB, bias, residual, dtype = 'f32' }: Case): TestInput[] {
  const rounded = (input: TestInput): TestInput =>
    dtype === 'f16' ? { ...input, values: Float32Array.from(input.values, (value) => fromFloat16Bits(toFloat16Bits(value))) } : input;
  return [
    randomInput(transposeA ? [k, m] : [m, k], 1, 1, dtype),
    randomInput(transposeB ? [n, k] : [k, n], 2, 1, dtype),
    ...(bias ? [randomInput([n], 3, 1, dtype)] : []),
    ...(residual ? [randomInput([m, n], 4, 1, dtype)] : []),
  ].map(rounded);
}

function activationReference(x: number, kind: Activation): number {
  switch (kind) {
    case 'quick_gelu':
      return x / (1 + Math.exp(-1.702 * x));
    case 'leaky_relu':
      return x > 0 ? x : 0.01 * x;
    case 'relu':
      return Math.max(x, 0);
    case 'none':
      return x;
  }
}

/** float64 reference. */
function reference({ sizes: [m, n, k], transposeA, transposeB, bias, residual, activation = 'none' }: Case, inputs: readonly TestInput[]): Float64Array {
  const [a, b, ...rest] = inputs.map((input) => input.values);
  const biasValues = bias ? rest[0] : undefined;
  const residualValues = residual ? rest.at(-1) : undefined;
  const output = new Float64Array(m * n);
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let sum = (biasValues?.[column] ?? 0) + (residualValues?.[row * n + column] ?? 0);
      for (let i = 0; i < k; i++) sum += a[transposeA ? i * m + row : row * k + i] * b[transposeB ? column * k + i : i * n + column];
      output[row * n + column] = activationReference(sum, activation);
    }
  }
  return output;
}

function build({ bias, residual, activation, transposeA, transposeB }: Case): (...tensors: Tensor[]) => Tensor {
  return (a, b, ...rest) => gemm(a, b, { bias: bias ? rest[0] : undefined, residual: residual ? rest.at(-1) : undefined, activation, transposeA, transposeB });
}

function describe({ sizes, transposeA, transposeB, bias, residual, activation, dtype }: Case): string {
  const flags = [transposeA && 'a transposed', transposeB && 'b transposed', bias && 'bias', residual && 'residual', activation, dtype].filter(Boolean);
  return `[${sizes.join(', ')}]${flags.length ? ` ${flags.join(', ')}` : ''}`;
}

/** Every storage order with every size; the epilogues take turns, so that each meets each order. */
function combinations(sizes: readonly Case['sizes'][], dtypes: readonly DType[]): Case[] {
  const epilogues: Partial<Case>[] = [
    { bias: true, residual: true, activation: 'quick_gelu' },
    {},
    { bias: true, activation: 'leaky_relu' },
    { residual: true },
    { activation: 'relu' },
  ];
  const orders = [{}, { transposeA: true }, { transposeB: true }, { transposeA: true, transposeB: true }];
  let turn = 0;
  return dtypes.flatMap((dtype) => sizes.flatMap((size) => orders.map((order) => ({ sizes: size, ...order, ...epilogues[turn++ % epilogues.length], dtype }))));
}

// The subgroup kernel's few pipelines take all orders and epilogues; its tile is 32 x 32 (16 x 16 with 4 lanes). The others
// compile one for each order, type, epilogue and alignment, which takes seconds on a CPU: few cases, each with much in it.
const cases: Record<string, readonly Case[]> = {
  plain: [...combinations([[5, 13, 7]], ['f32']), { sizes: [1, 1, 1], dtype: 'f16' }],
  subgroup: combinations([[1, 1, 1], [1, 33, 70], [31, 4, 2], [33, 36, 17], [37, 67, 5]], ['f32', 'f16']),
  tiled_small: [
    { sizes: [65, 132, 68], bias: true, residual: true, activation: 'quick_gelu' },
    { sizes: [65, 67, 33], transposeA: true, bias: true, activation: 'leaky_relu' },
    { sizes: [1, 4, 31], transposeB: true, residual: true, dtype: 'f16' },
  ],
  tiled: [{ sizes: [129, 132, 33], bias: true }],
  // Slices of 128 or a multiple of 32 just above, the last one shorter.
  tiled_split: [
    { sizes: [65, 68, 257], transposeA: true },
    { sizes: [5, 7, 301] },
    { sizes: [1, 67, 520], transposeA: true, transposeB: true, dtype: 'f16' },
  ],
  narrow: [
    { sizes: [1, 132, 35], bias: true, residual: true, activation: 'quick_gelu' },
    { sizes: [1, 4, 1], bias: true, residual: true, activation: 'leaky_relu' },
    { sizes: [4, 64, 17], dtype: 'f16' },
  ],
};

for (const [variant, list] of Object.entries(cases)) {
  test(`gemm ${variant} against float64`, async () => {
    const { f16 } = await testGpu();
    for (const item of list.filter(({ dtype }) => f16 || dtype !== 'f16')) {
      const inputs = inputsOf(item);
      const [output] = await evaluate(inputs, build(item), { gemm: variant });
      assertClose(output, reference(item, inputs), item.dtype === 'f16' ? 1e-3 : 2e-6, `${variant} ${describe(item)}`);
    }
  });
}

// One tile of 16 x 16 matrices and a bit, in either size, for each storage order; contiguous axes are multiples of 4.
const matrixCases: readonly Case[] = [
  { sizes: [133, 132, 36], bias: true, residual: true, activation: 'quick_gelu' },
  { sizes: [132, 68, 33], transposeA: true, residual: true },
  { sizes: [5, 132, 68], transposeB: true, bias: true },
  { sizes: [4, 4, 4], transposeA: true, transposeB: true },
];

const gpu = await testGpu();
for (const variant of ['subgroup_matrix', 'subgroup_matrix_small']) {
  for (const dtype of ['f32', 'f16'] as const) {
    // The kernels' WGSL is compiled without such an adapter, too: test/ops/subgroup_matrix.test.ts.
    (matrixUnits(gpu, dtype) ? test : test.skip)(`gemm ${variant} in ${dtype} against float64, on an adapter with matrix units`, async () => {
      for (const item of matrixCases.map((each) => ({ ...each, dtype }))) {
        const inputs = inputsOf(item);
        const [output] = await evaluate(inputs, build(item), { gemm: variant });
        assert.is([...variantsOf(gpu).chosen.values()].at(-1)?.variant, variant);
        assertClose(output, reference(item, inputs), dtype === 'f16' ? 1e-3 : 2e-6, `${variant} ${describe(item)}`);
      }
    });
  }
}

test('gemm takes leading axes as rows and keeps them', async () => {
  const item: Case = { sizes: [6, 5, 7], bias: true, residual: true };
  const inputs = inputsOf(item);
  const shaped = [{ ...inputs[0], shape: [2, 3, 7] }, inputs[1], inputs[2], { ...inputs[3], shape: [2, 3, 5] }];
  let shape: readonly number[] = [];
  const [output] = await evaluate(shaped, (a, b, bias, residual) => {
    const result = gemm(a, b, { bias, residual });
    shape = result.shape;
    return result;
  });
  assert.equal(shape, [2, 3, 5]);
  assertClose(output, reference(item, inputs), 2e-6, 'gemm');
});

test('gemm keeps its digits over a long K', async () => {
  const item: Case = { sizes: [3, 8, 4096] };
  const inputs = inputsOf(item);
  const [output] = await evaluate(inputs, build(item));
  assertClose(output, reference(item, inputs), 1e-5, 'gemm');
});

test('gemm does not let what lies past an edge in', async () => {
  // The row and the column past the edge of each operand's last tile belong to the next tensor row: infinities there must stay there.
  const a = { values: [1, 2, Infinity, 4], shape: [2, 2] };
  const b = { values: [1, 1, 1, 1, 1, 1, 1, Infinity], shape: [2, 4] };
  for (const variant of ['plain', 'subgroup']) {
    const [output] = await evaluate([a, b], (x, y) => gemm(x, y), { gemm: variant });
    assert.equal([...output], [3, 3, 3, Infinity, Infinity, Infinity, Infinity, Infinity], variant);
  }
});

test('gemm gives the same bits every time', async () => {
  const item: Case = { sizes: [70, 68, 300], bias: true, activation: 'quick_gelu' };
  const inputs = inputsOf(item);
  const [first] = await evaluate(inputs, build(item));
  const [second] = await evaluate(inputs, build(item));
  assert.equal(Buffer.compare(Buffer.from(first.buffer), Buffer.from(second.buffer)), 0);
});

test('gemm gradients', async () => {
  for (const order of [{}, { transposeA: true }, { transposeB: true }, { transposeA: true, transposeB: true }]) {
    const item: Case = { sizes: [5, 7, 6], bias: true, residual: true, ...order };
    await assertGradients(inputsOf(item), build(item), { elements: 12 });
  }
  // A fused activation keeps no input for its gradient, so it is recorded apart.
  const item: Case = { sizes: [9, 4, 3], bias: true, activation: 'quick_gelu' };
  await assertGradients(inputsOf(item), build(item), { elements: 12 });
  // Frozen weights get no gradient.
  await assertGradients(inputsOf({ sizes: [4, 3, 5] }), (a, b) => gemm(a, b), { wanted: [0], elements: 12 });
});

test('gemm shape errors name the operand and its shape', async () => {
  const attempt = async (make: (...tensors: Tensor[]) => Tensor, ...shapes: number[][]): Promise<string> => {
    try {
      await evaluate(shapes.map((shape, i) => randomInput(shape, i)), make);
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt((a, b) => gemm(a, b), [2, 3], [4, 5]), /gemm: a has 3 columns, b 4 rows; got a f32\[2, 3\], b f32\[4, 5\]/);
  assert.match(await attempt((a, b) => gemm(a, b, { transposeB: true }), [2, 3], [3, 5]), /gemm: a has 3 columns, b transposed 5 rows/);
  assert.match(await attempt((a, b, bias) => gemm(a, b, { bias }), [2, 3], [3, 5], [4]), /gemm: the bias must be \[5\]; got .*bias f32\[4\]/);
  assert.match(await attempt((a, b, residual) => gemm(a, b, { residual }), [2, 3], [3, 5], [5, 2]), /gemm: the residual must have the output's shape \[2, 5\]/);
});

test.run();
