import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { adviceWithoutAdapter, installAdvice, keepLoaded, readOsRelease } from '../../src/gpu/driver.ts';

const linux = process.platform === 'linux';

/** Opens an adapter in a fresh process, with some environment variables changed. */
function openWith(environment: Record<string, string | undefined>): { status: number | null; output: string } {
  const script = `
    import { Gpu } from '${new URL('../../src/gpu/device.ts', import.meta.url).href}';
    try {
      const gpu = await Gpu.open();
      console.log('OPEN', process.env.XDG_RUNTIME_DIR);
      gpu.close();
    } catch (error) {
      console.log(error.name, error.message);
    }`;
  const result = spawnSync(process.execPath, [...process.execArgv, '--input-type=module', '-e', script], { encoding: 'utf8', env: { ...process.env, ...environment } });
  return { status: result.status, output: result.stdout + result.stderr };
}

test('the process of a test has an adapter', () => {
  assert.match(openWith({}).output, /^OPEN/m);
});

if (linux) {
  test('without a login session the drivers get a private folder, which goes with the process', () => {
    const { output } = openWith({ XDG_RUNTIME_DIR: undefined });
    const folder = /^OPEN (\S+)/m.exec(output)![1];
    assert.not(existsSync(folder));
    assert.not.match(output, /XDG_RUNTIME_DIR/);
  });

  test('a folder that the session has is left alone', () => {
    const { output } = openWith({ XDG_RUNTIME_DIR: '/tmp' });
    assert.match(output, /^OPEN \/tmp$/m);
    assert.ok(statSync('/tmp').isDirectory());
  });

  for (const variable of ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES']) {
    test(`drivers named in ${variable} are the only ones, and the error says so`, () => {
      const { status, output } = openWith({ VK_DRIVER_FILES: undefined, VK_ICD_FILENAMES: undefined, [variable]: '/nowhere/driver.json' });
      assert.is(status, 0);
      assert.match(output, /^UserError no GPU adapter answers/m);
      assert.match(output, new RegExp(`${variable} is set to /nowhere/driver\\.json.*Unset it`));
    });
  }

  test('libraries are loaded for good, and missing ones are told apart', () => {
    assert.ok(keepLoaded('libc.so.6'));
    assert.not(keepLoaded('libnothing-of-that-name.so.1'));
  });

  test('the advice names what to install on this distribution', () => {
    const { ID } = readOsRelease();
    assert.ok(ID);
    if (ID === 'debian' || ID === 'ubuntu') {
      assert.match(installAdvice(), /apt-get install .*mesa-vulkan-drivers/);
      assert.match(adviceWithoutAdapter(), /npm run setup/);
    }
  });
}

test.run();
