import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { allOps } from '../../src/bench/registry.ts';

test('every op, forward and backward, has benchmark cases that its shape rule takes', async () => {
  const ops = await allOps();
  assert.ok([...ops.keys()].filter((name) => name.includes('backward')).length > 20);
  for (const { name, benchCases, outputs, cost } of ops.values()) {
    assert.ok(benchCases.length > 0, `${name} has no benchmark case`);
    assert.is(new Set(benchCases.map((given) => given.name)).size, benchCases.length, `${name} has two cases of one name`);
    for (const { name: given, inputs, attributes } of benchCases) {
      const { flops, bytes } = cost(inputs, outputs(inputs, attributes), attributes);
      assert.ok(bytes > 0 && flops >= 0 && Number.isFinite(flops), `${name}, ${given}: ${flops} operations, ${bytes} bytes`);
    }
  }
});

test.run();
