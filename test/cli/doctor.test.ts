import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { command, scratchFolder } from '../support/command.ts';

test('doctor checks kernels and says which variants run and why', async () => {
  process.env.MFP_CLIP_CACHE = scratchFolder();
  const { code, output, errors } = await command(['doctor', '--variant', 'gemm=plain']);
  assert.is(code, 0, errors);
  assert.match(output, /^Subgroup matrices +(no: |\d+ x \d+ x \d+ \w+ to \w+)/m);
  assert.match(output, /^Self-check of attention +passed: error /m);
  assert.match(output, /^Measurements +.*variants[\\/][0-9a-f]{16}\.json$/m);
  assert.match(output, /^\.\.\. these kernel sources +[0-9a-f]{16}$/m);
  assert.match(output, /^\| gemm +\| +\| +128x64x256 \| plain +\| forced by --variant +\|$/m);
  // The times of all that ran, the fastest first.
  const [, chosen, first] = /^\| layer_norm +\| f32 +\| +128x256 \| (\w+) +\| measured: (\w+) [\d.]+ ms/m.exec(output)!;
  assert.is(chosen, first);
  assert.match(output, /^ {2}workgroup: one workgroup per row/m);
});

test('with the fixed table nothing is measured', async () => {
  const { code, output, errors } = await command(['doctor', '--variants', 'default']);
  assert.is(code, 0, errors);
  assert.match(output, /fixed table \(--variants default\)/);
  assert.not.match(output, /measured:|^Measurements/m);
  assert.match(output, /^\| layer_norm .*\| fixed table +\|$/m);
});

test.run();
