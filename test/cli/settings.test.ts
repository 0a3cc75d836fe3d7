import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { planCommand } from '../../src/cli/plan.ts';
import { runConfigFor, runConfigOf } from '../../src/cli/train.ts';
import { vitLarge14 } from '../../src/models/clip/config.ts';
import { parseMfpConfig } from '../../src/models/mfp/config.ts';
import { defaultRunConfig } from '../../src/train/config.ts';
import { command, scratchFolder } from '../support/command.ts';
import { errorOf } from '../support/errors.ts';

const file = join(scratchFolder(), 'config.json');

test('file, --set and flags make a configuration, the later before the earlier', () => {
  const before = structuredClone(defaultRunConfig);
  writeFileSync(file, JSON.stringify({ sp: { count: 2 }, training: { epochs: 7, seed: 3 } }));
  const { sp, i2tp, training, image, ...others } = runConfigOf({ config: file, set: ['training.epochs=8', 'i2tp.concat=token', 'training.batch=2'], epochs: 9, size: 64, recompute: true, precision: 'f16' });
  assert.equal([sp, i2tp, image], [{ ...before.sp, count: 2 }, { enabled: true, concat: 'token' }, { size: 64 }]);
  assert.equal(training, { ...before.training, epochs: 9, batch: 2, precision: 'f16', recompute: true, seed: 3 });
  assert.equal(others, (({ sp: _sp, i2tp: _i2tp, training: _training, image: _image, ...rest }) => rest)(before));
  assert.equal(defaultRunConfig, before);
});

for (const [content, expected] of [
  ['null', /config\.json: the configuration must be a JSON object$/],
  ['5', /config\.json: the configuration must be a JSON object$/],
  ['"x"', /config\.json: the configuration must be a JSON object$/],
  ['[]', /config\.json: the configuration must be a JSON object$/],
  ['{"training":5}', /config\.json: "training" must be an object$/],
  ['{"training":null}', /config\.json: "training" must be an object$/],
  ['{"image":"x"}', /config\.json: "image" must be an object$/],
  ['{"__proto__":{"x":1}}', /config\.json: unknown section "__proto__"/],
  ['{', /cannot read the configuration .*config\.json: /],
] as const) {
  test(`a configuration file with ${content} is one clear error, whatever the flags`, async () => {
    writeFileSync(file, content);
    for (const flags of [{}, { epochs: 2, size: 64 }, { set: ['training.epochs=2'] }]) {
      const { name, message } = await errorOf(async () => runConfigOf({ config: file, ...flags }));
      assert.is(name, 'UserError');
      assert.match(message, expected);
    }
  });
}

for (const [setting, expected] of [
  ['__proto__.x=1', /^--set __proto__\.x=1: unknown section "__proto__"; there are image, /],
  ['constructor.x=1', /^--set constructor\.x=1: unknown section "constructor"/],
  ['sp.__proto__=1', /^--set sp\.__proto__=1: unknown field "sp\.__proto__"; "sp" has enabled, count, /],
  ['sp.constructor=1', /^--set sp\.constructor=1: unknown field "sp\.constructor"/],
  ['sp.count=1025', /^--set sp\.count=1025: sp\.count must be a whole number from 1 to 1024, not 1025$/],
  ['sp.count', /^--set sp\.count: it must look like sp\.count=4$/],
] as const) {
  test(`--set ${setting} is one clear error`, async () => {
    const { name, message } = await errorOf(async () => runConfigOf({ set: [setting] }));
    assert.is(name, 'UserError');
    assert.match(message, expected);
    assert.is(({} as { x?: unknown }).x, undefined);
  });
}

test('an error of a flag names it', async () => {
  assert.match((await errorOf(async () => runConfigOf({ precision: 'f64' as 'f32' }))).message, /^--precision: training\.precision must be "f32" or "f16", not "f64"$/);
});

test('there are at most 1024 prompts', async () => {
  assert.is(parseMfpConfig({ sp: { count: 1024 } }, 'test').sp.count, 1024);
  for (const count of [0, 1025, 1e9, 2.5, '5', null]) assert.match((await errorOf(async () => parseMfpConfig({ sp: { count } }, 'test'))).message, /^test: sp\.count must be a whole number from 1 to 1024, not /);
});

test('plan offers only what changes a plan', async () => {
  assert.equal(planCommand().options.map(({ long }) => long).sort(), ['--adapter', '--batch', '--clip', '--cnn', '--config', '--set', '--size', '--variant']);
  const { code, errors } = await command(['plan', '--memory-budget', '8GB']);
  assert.is(code, 1);
  assert.match(errors, /unknown option '--memory-budget'/);
});

test('an image size that nobody has chosen fits the CLIP, and one that somebody has is kept', () => {
  const clip = { ...vitLarge14, vision: { ...vitLarge14.vision, patchSize: 16, imageSize: 224 } };
  assert.is(runConfigFor({}, vitLarge14).image.size, 518);
  assert.is(runConfigFor({ set: ['sp.count=2'] }, clip).image.size, 224);
  writeFileSync(file, JSON.stringify({ image: { size: 518 } }));
  for (const flags of [{ size: 518 }, { set: ['image.size=518'] }, { config: file }]) assert.is(runConfigFor(flags, clip).image.size, 518);
  writeFileSync(file, JSON.stringify({ mpfa: { size: 5 } }));
  const { image, mpfa } = runConfigFor({ config: file }, clip);
  assert.equal([image.size, mpfa.size], [224, 5]);
});

test('a seed is one that is told apart from all others', async () => {
  assert.is(runConfigOf({ seed: 2 ** 32 - 1 }).training.seed, 2 ** 32 - 1);
  assert.match((await errorOf(async () => runConfigOf({ seed: 2 ** 32 }))).message, /training\.seed must be a whole number from 0 to 4294967295, not 4294967296/);
});

test.run();
