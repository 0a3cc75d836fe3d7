import { spawnSync } from 'node:child_process';
import { existsSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { command, scratchFolder } from '../support/command.ts';
import { writeTestDataset } from '../support/dataset.ts';
import { goldenFolder } from '../support/golden.ts';

const folder = scratchFolder();
const data = join(folder, 'data');
writeTestDataset(data, { classes: ['plate'], good: 3, bad: 0, size: 40 });

test('a reader that leaves ends a command without a trace', async () => {
  const { code, errors } = await command(['check', data], undefined, 'at once');
  assert.is(code, 141);
  assert.is(errors, '');
});

test('a reader that leaves ends detect before the next photo, and what it wrote is whole', async () => {
  const out = join(folder, 'out');
  const clip = join(goldenFolder, 'half', 'clip');
  const { code, errors } = await command(['detect', join(data, 'plate', 'test', 'good'), '--class', 'plate', '--clip', clip, '--variants', 'default', '--out', out], undefined, 'at once');
  assert.is(code, 141, errors);
  assert.not.match(errors, /EPIPE|\n\s+at /);
  assert.equal(readdirSync(out).sort(), ['000.heatmap.png', '000.npy']);
});

if (existsSync('/dev/full')) {
  test('results that find no room are one clear error', () => {
    const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, ['--import', 'tsx', program, 'check', data], { stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'], encoding: 'utf8' });
    assert.is(status, 1);
    assert.match(stderr, /^mfp-clip: cannot write to standard output: ENOSPC[^\n]*\n$/);
  });
}

test('a variant that does not exist is one clear error of every command', async () => {
  for (const [args, message] of [
    [['bench', 'gemm', '--variant', 'gemm=nope'], /^mfp-clip: --variant gemm=nope: gemm has the variants (\w+, )+plain$/m],
    [['bench', 'fusion', '--variant', 'gem=plain'], /^mfp-clip: --variant gem=plain: there is no op "gem"\. Near it: gemm$/m],
    [['doctor', '--variant', 'gemm=plain', '--variant', 'foo=bar'], /^mfp-clip: --variant foo=bar: there is no op "foo"\. With several variants there are: .*gemm, /m],
    [['plan', '--variant', '__proto__=bar'], /^mfp-clip: --variant __proto__=bar: there is no op "__proto__"/m],
  ] as const) {
    const { code, output, errors } = await command(args);
    assert.is(code, 1);
    assert.is(output, '');
    assert.match(errors, message);
  }
});

test.run();
