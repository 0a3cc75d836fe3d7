import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { scratchFolder } from '../support/command.ts';

const program = fileURLToPath(new URL('../../tools/bench/step.ts', import.meta.url));

function benchStep(args: readonly string[]): Promise<{ code: number; output: string; errors: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', program, ...args], (error, output, errors) => resolve({ code: error ? Number(error.code) : 0, output, errors }));
  });
}

test('an update is counted and timed with its optimizer', async () => {
  const file = join(scratchFolder(), 'step.json');
  const { code, output, errors } = await benchStep(['--updates', '2', '--json', file]);
  assert.is(code, 0, errors);
  const { dispatches, wallMilliseconds, gpuMilliseconds, kernels } = JSON.parse(readFileSync(file, 'utf8'));
  assert.is(wallMilliseconds.length, 2);
  const [, all, ofOptimizer] = /^(\d+) dispatches, (\d+) of them the optimizer's; /m.exec(output)!.map(Number);
  assert.is(dispatches, all);
  assert.ok(ofOptimizer > 0);
  if (!gpuMilliseconds.length) return;
  assert.is(gpuMilliseconds.length, 2);
  const count = (isOne: (kernel: { pass: string; kernel: string }) => boolean): number => kernels.filter(isOne).reduce((sum: number, kernel: { dispatches: number }) => sum + kernel.dispatches, 0);
  assert.is(count(() => true), all);
  assert.is(count(({ pass }) => pass === 'update'), ofOptimizer);
  assert.is(count(({ kernel }) => kernel === 'optimizer/adam'), count(({ kernel }) => kernel === 'optimizer/accumulate'), 'each tensor is updated once');
  assert.match(output, /^\| update +\| optimizer\/adam /m);
});

test('a file that cannot be written is known before the work, in one line', async () => {
  const { code, output, errors } = await benchStep(['--json', scratchFolder()]);
  assert.is(code, 1);
  assert.is(output, '');
  assert.match(errors, /^bench:step: --json .*: it is a folder; name a file\n$/);
});

test.run();
