import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { accumulate } from '../../src/ops/accumulate.ts';
import { add } from '../../src/ops/add.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { layerNorm } from '../../src/ops/layer_norm.ts';
import { slice } from '../../src/ops/slice.ts';
import { transpose } from '../../src/ops/transpose.ts';
import { defineOp } from '../../src/tensor/op.ts';
import { Program, type Tensors } from '../../src/tensor/program.ts';
import { apply, detach, recompute, reshape, scope } from '../../src/tensor/recording.ts';
import { type Tensor, asParameter, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { errorOf } from '../support/errors.ts';
import { randomValues, testGpu } from '../support/gpu.ts';

async function values(numbers: number[], shape = [numbers.length]): Promise<Tensor> {
  return tensor(await testGpu(), numbers, shape);
}
async function parameter(numbers: number[], shape = [numbers.length]): Promise<Tensor> {
  return asParameter(await values(numbers, shape));
}

/** Records and runs once; every intermediate is NaN before. */
async function run<Outputs extends Tensors>(build: () => Outputs): Promise<Program<Outputs>> {
  const program = await Program.record(await testGpu(), build, { poison: true });
  await program.run();
  return program;
}
const read = async (of: Tensor): Promise<number[]> => [...(await readTensor(await testGpu(), of))];

test('two uses of one tensor add up', async () => {
  const a = await parameter([1, 2, 3]);
  const seed = await values([1, 10, 100]);
  const { outputs } = await run(() => gradients([{ tensor: add(add(a, a), a), gradient: seed }])(a)!);
  assert.equal(await read(outputs), [3, 30, 300]);
});

test('uses through views of other shapes add up', async () => {
  const a = await parameter([1, 2, 3, 4, 5, 6], [2, 3]);
  const seed = await values([1, 2, 3, 4, 5, 6]);
  const { outputs } = await run(() => {
    // d/da of flatten(a) + flatten(aᵀ): the seed plus the seed transposed back.
    const sum = add(reshape(a, [6]), reshape(transpose(a), [6]));
    return gradients([{ tensor: sum, gradient: seed }])(a)!;
  });
  assert.equal(outputs.shape, [2, 3]);
  assert.equal(await read(outputs), [1 + 1, 2 + 3, 3 + 5, 4 + 2, 5 + 4, 6 + 6]);
});

test('several seeds, and a seed on an intermediate, add up', async () => {
  const a = await parameter([1, 2]);
  const seed = await values([1, 1]);
  const { outputs } = await run(() => {
    const middle = add(a, a);
    const end = add(middle, middle);
    return gradients([
      { tensor: end, gradient: seed },
      { tensor: middle, gradient: seed },
    ])(a)!;
  });
  assert.equal(await read(outputs), [6, 6]);
});

test('the part of a tensor that was not used gets zero', async () => {
  const a = await parameter([1, 2, 3, 4, 5]);
  const seed = await values([7, 8]);
  const { outputs } = await run(() => gradients([{ tensor: slice(a, 0, 1, 2), gradient: seed }])(a)!);
  assert.equal(await read(outputs), [0, 7, 8, 0, 0]);
});

test('nothing is recorded for frozen inputs and the layers before the first trained one', async () => {
  const frozen = await values([1, 2]);
  const trained = await parameter([3, 4]);
  const seed = await values([1, 1]);
  let gradientOfFrozen: Tensor | undefined;
  let dispatches = 0;
  const program = await run(() => {
    const early = add(add(frozen, frozen), frozen);
    assert.not(early.requiresGradient);
    const late = add(early, trained);
    assert.ok(late.requiresGradient);
    const of = gradients([{ tensor: late, gradient: seed }]);
    gradientOfFrozen = of(frozen) ?? of(early);
    return { late, gradient: of(trained)! };
  });
  dispatches = program.dispatches;
  assert.is(gradientOfFrozen, undefined);
  assert.equal(await read(program.outputs.gradient), [1, 1]);
  // Three additions forward; the gradient of an addition is the seed itself.
  assert.is(dispatches, 3);
});

test('only what the wanted gradients need is computed', async () => {
  const needs: boolean[][] = [];
  const spy = defineOp<Record<string, never>>({
    name: 'spy',
    inputNames: ['a', 'b'],
    outputs: ([a]) => [a!],
    variants: [
      {
        name: 'add',
        kernels: ({ inputs: [a, b], outputs: [output] }) => [{ kernel: 'elementwise/add', bindings: { a: a!, b: b!, output }, params: { size: output.size, period: output.size }, workgroups: [1] }],
      },
    ],
    cost: () => ({ flops: 0, bytes: 0 }),
    backward: (call) => {
      needs.push([...call.needs]);
      return [call.needs[0] ? call.outputGradients[0] : undefined, call.needs[1] ? call.outputGradients[0] : undefined];
    },
    benchCases: [],
  });
  const frozen = await values([1, 2]);
  const trained = await parameter([3, 4]);
  const seed = await values([1, 1]);
  await run(() => gradients([{ tensor: apply(spy, [frozen, trained], {})[0], gradient: seed }])(trained)!);
  await run(() => gradients([{ tensor: apply(spy, [trained, frozen], {})[0], gradient: seed }])(trained)!);
  assert.equal(needs, [[false, true], [true, false]]);
});

test('gradients stop at detach, and flow past it by the other way', async () => {
  const a = await parameter([1, 2]);
  const seed = await values([1, 1]);
  const { outputs } = await run(() => gradients([{ tensor: add(detach(add(a, a)), a), gradient: seed }])(a)!);
  assert.equal(await read(outputs), [1, 1]);
  const cut = await run(() => {
    const of = gradients([{ tensor: detach(add(a, a)), gradient: seed }]);
    assert.is(of(a), undefined);
    return a;
  });
  cut.destroy();
});

test('a recomputed part gives the same gradients from less memory', async () => {
  const gpu = await testGpu();
  const width = 64;
  const a = asParameter(tensor(gpu, randomValues(16 * width, 1), [16, width]));
  const weight = tensor(gpu, randomValues(width, 2), [width]);
  const bias = tensor(gpu, randomValues(width, 3), [width]);
  const seed = tensor(gpu, randomValues(16 * width, 4), [16, width]);
  // The gradient of each normalisation needs its input: 16 of them are kept, or 4 and those of one part at a time.
  const build = (part: (make: () => Tensor) => Tensor) => () => {
    let x: Tensor = a;
    for (let i = 0; i < 4; i++) {
      x = part(() => {
        for (let layer = 0; layer < 4; layer++) x = add(layerNorm(x, weight, bias), a);
        return x;
      });
    }
    return gradients([{ tensor: x, gradient: seed }])(a)!;
  };
  const kept = await run(build((make) => make()));
  const again = await run(build(recompute));
  assert.equal(await read(again.outputs), await read(kept.outputs));
  assert.ok(again.dispatches > kept.dispatches);
  assert.ok(again.memory.bytes < 0.7 * kept.memory.bytes, `${again.memory.bytes} of ${kept.memory.bytes}`);
});

test('what works in place is not recomputed', async () => {
  const total = tensor(await testGpu(), [0, 0], [2]);
  const a = await parameter([1, 2]);
  const error = await errorOf(() =>
    run(() =>
      recompute(() => {
        accumulate(total, a);
        return add(a, a);
      }),
    ),
  );
  assert.match(error.message, /accumulate works in place/);
});

test('an op without a gradient is named with its place', async () => {
  const dead = defineOp<Record<string, never>>({
    name: 'dead_end',
    inputNames: ['a'],
    outputs: ([a]) => [a!],
    variants: [{ name: 'none', kernels: () => [] }],
    cost: () => ({ flops: 0, bytes: 0 }),
    benchCases: [],
  });
  const a = await parameter([1, 2]);
  const seed = await values([1, 1]);
  const error = await errorOf(() => run(() => gradients([{ tensor: scope('adapter', () => apply(dead, [a], {})[0]), gradient: seed }])(a)!));
  assert.match(error.message, /^adapter\/dead_end has no gradient, but something trained lies upstream/);
});

test('a gradient of another size is refused', async () => {
  const a = await parameter([1, 2]);
  const seed = await values([1, 1, 1]);
  assert.match((await errorOf(() => run(() => gradients([{ tensor: add(a, a), gradient: seed }])(a)!))).message, /gradient \[3\] of add f32\[2\] has another size/);
});

test.run();
