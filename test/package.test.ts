import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unpackedDriverFolder } from '../src/gpu/driver.ts';

const root = fileURLToPath(new URL('../', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-package-'));
const packageFile = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

/** The environment without what an npm around this test tells its scripts, which would steer the npm inside. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(npm_|INIT_CWD$)/i.test(name) || /^npm_config_(registry|cache|userconfig|globalconfig)$/i.test(name)),
);

function run(program: string, options: readonly string[], cwd: string): { status: number | null; stdout: string; output: string } {
  const result = spawnSync(program, options, {
    cwd,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    // npm is a script on Windows.
    shell: process.platform === 'win32',
    env: { ...environment, npm_config_update_notifier: 'false', MFP_CLIP_DRIVER: unpackedDriverFolder },
  });
  if (result.error) throw result.error;
  return { status: result.status, stdout: result.stdout, output: result.stdout + result.stderr };
}

function succeed(program: string, options: readonly string[], cwd: string): string {
  const { status, stdout, output } = run(program, options, cwd);
  if (status !== 0) throw new Error(`${program} ${options.join(' ')} ended with ${status}:\n${output}`);
  return stdout;
}

function filesUnder(name: string): string[] {
  return readdirSync(join(root, name), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'));
}

let packed: string[] = [];
const installed = join(folder, 'empty');

/** Installs the tarball like anybody would; where no registry answers, beside this project's own dependencies. */
function install(tarball: string): void {
  mkdirSync(installed);
  const { status, output } = run('npm', ['install', '--omit=dev', '--no-audit', '--no-fund', '--prefer-offline', '--fetch-retries=0', tarball], installed);
  if (status === 0) return;
  if (!/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ENOTCACHED/.test(output)) throw new Error(`npm install ended with ${status}:\n${output}`);
  console.log('(no registry answers: the dependencies are those of this checkout)');
  const modules = join(installed, 'node_modules');
  rmSync(modules, { recursive: true, force: true });
  mkdirSync(join(modules, 'mfp-clip'), { recursive: true });
  succeed('tar', ['-xzf', tarball, '-C', join(modules, 'mfp-clip'), '--strip-components=1'], installed);
  for (const name of readdirSync(join(root, 'node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(join(root, 'node_modules', name), join(modules, name), 'junction');
  }
}

test.before(() => {
  const [answer] = JSON.parse(succeed('npm', ['pack', '--json', '--loglevel=error', '--foreground-scripts=false', '--pack-destination', folder], root)) as [
    { filename: string; files: { path: string }[] },
  ];
  packed = answer.files.map(({ path }) => path);
  install(join(folder, answer.filename));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('the tarball holds the code with its types, every kernel and the embedded weights, and nothing else', () => {
  for (const file of [...filesUnder('kernels'), ...filesUnder('weights'), 'package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js']) {
    assert.ok(packed.includes(file), `${file} is missing`);
  }
  for (const file of packed) {
    assert.match(file, /^(dist|kernels|weights)\/|^(package\.json|README\.md|LICENSE)$/);
    if (/^dist\/.*\.js$/.test(file)) assert.ok(packed.includes(file.replace(/\.js$/, '.d.ts')), `${file} has no types`);
  }
  const sources = filesUnder('src').map((file) => file.replace(/^src/, 'dist').replace(/\.ts$/, '.js'));
  assert.equal(packed.filter((file) => file.endsWith('.js')).sort(), sources.sort());
});

/** The command as `npx mfp-clip` would run it. */
const command = (...options: string[]): string => succeed(process.execPath, [join(installed, 'node_modules', 'mfp-clip', 'dist', 'cli', 'main.js'), ...options], installed);

test('the installed command knows its version and its help', () => {
  assert.is(command('--version').trim(), packageFile.version);
  assert.match(command('--help'), /\bdetect\b[\s\S]*\bdoctor\b/);
});

test('the installed doctor finds the adapter and checks the kernels', () => {
  assert.match(command('doctor'), /adapter/i);
});

test('the library can be imported, and a caller is type-checked', () => {
  const caller = `
    import { loadModel } from 'mfp-clip';
    export const load: typeof loadModel = loadModel;
    // @ts-expect-error: types are known, so a wrong call is refused
    void loadModel(42);
    // The package brings WebGPU's types along.
    export type Device = GPUDevice;
  `;
  writeFileSync(join(installed, 'caller.mts'), caller);
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  // Without the DOM, as a program for Node is compiled. @webgpu/types itself names types of the DOM, hence skipLibCheck,
  // which is what `tsc --init` writes, too.
  succeed(process.execPath, [compiler, '--noEmit', '--strict', '--skipLibCheck', '--target', 'es2022', '--lib', 'es2023', '--module', 'nodenext', 'caller.mts'], installed);
  assert.is(succeed(process.execPath, ['--input-type=module', '-e', "const { loadModel } = await import('mfp-clip'); console.log(typeof loadModel);"], installed).trim(), 'function');
});

test.run();
