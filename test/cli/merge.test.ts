import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { command, scratchFolder } from '../support/command.ts';
import { writeTestDataset } from '../support/dataset.ts';
import { goldenFolder } from '../support/golden.ts';

const folder = scratchFolder();
const data = join(folder, 'data');
writeTestDataset(data, { classes: ['plate'], good: 1, bad: 1, size: 40 });

test('--data must be the data set that was evaluated, maps or not; that there are none is said', async () => {
  const run = join(folder, 'run');
  const evaluated = await command(['eval', '--data', data, '--clip', join(goldenFolder, 'half', 'clip'), '--variants', 'default', '--out', run, '--no-report']);
  assert.is(evaluated.code, 0, evaluated.errors);
  const out = join(folder, 'out');
  mkdirSync(join(folder, 'empty'));
  for (const [given, expected] of [['none', /none is not a folder/], ['empty', /empty is not a data set|has no class "plate"/]] as const) {
    for (const report of [[], ['--no-report']]) {
      const { code, output, errors } = await command(['merge', run, '--out', out, '--data', join(folder, given), ...report]);
      assert.is(code, 1);
      assert.is(output, '');
      assert.match(errors, expected);
      assert.not.ok(existsSync(out));
    }
  }
  const { code, errors } = await command(['merge', run, '--out', out, '--data', data]);
  assert.is(code, 0, errors);
  assert.match(errors, /^mfp-clip: there is no folder .*maps, so the report has no pictures of --data: eval keeps maps with --maps$/m);
  assert.not.match((await command(['merge', run, '--out', out])).errors, /maps/);
});

test.run();
