import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { unpackedDriverFolder } from '../src/gpu/driver.ts';
import { makeDataset } from './eval/synthetic.ts';
import { goldenFolder } from './support/golden.ts';

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

test('the tarball holds the code with its types, every kernel, the embedded weights and the cluster jobs, and nothing else', () => {
  for (const file of [...filesUnder('kernels'), ...filesUnder('weights'), ...filesUnder('tools/cluster'), 'package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js']) {
    assert.ok(packed.includes(file), `${file} is missing`);
  }
  for (const file of packed) {
    assert.match(file, /^(dist|kernels|weights|tools\/cluster)\/|^(package\.json|README\.md|LICENSE)$/);
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

if (process.platform !== 'win32') {
  test('the Slurm jobs find the program in a clone and beside the installed package, and a signal reaches it', async () => {
    const data = makeDataset(join(folder, 'data'), { size: 44, classes: { bottle: [6, 6], tile: [12, 12] } });
    const golden = join(goldenFolder, 'default');
    const settings = { DATA: data, CLIP: join(golden, 'clip'), CNN: join(golden, 'cnn'), MFP: join(golden, 'mfp.safetensors'), SHARDS: '1', SLURM_ARRAY_TASK_ID: '1' };
    for (const [name, place, jobs] of [['clone', root, 'tools/cluster'], ['installed', installed, 'node_modules/mfp-clip/tools/cluster']] as const) {
      const out = join(folder, name);
      const job = (file: string): ChildProcess => spawn('bash', [join(place, jobs, file)], { cwd: place, stdio: ['ignore', 'pipe', 'pipe'], env: { ...environment, ...settings, OUT: out, MFP_CLIP_DRIVER: unpackedDriverFolder } });
      const ended = (child: ChildProcess): Promise<{ code: number | null; output: string }> => {
        let output = '';
        for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
        return new Promise((resolve) => child.on('close', (code) => resolve({ code, output })));
      };
      const first = job('eval.slurm');
      const timer = setInterval(() => {
        if (!existsSync(join(out, 'shards', '1-of-1.safetensors'))) return;
        clearInterval(timer);
        first.kill('SIGTERM');
      }, 5);
      const stopped = await ended(first);
      clearInterval(timer);
      assert.is(stopped.code, 143, stopped.output);
      assert.match(stopped.output, /finishing this batch and saving[\s\S]*stopped\. The same command goes on from here/);
      const rest = await ended(job('eval.slurm'));
      assert.is(rest.code, 0, rest.output);
      const merged = await ended(job('merge.slurm'));
      assert.is(merged.code, 0, merged.output);
      assert.match(merged.output, /\| mean/);
    }
  });
}

test('the library can be imported, and a caller is type-checked', () => {
  const caller = `
    import { loadModel } from 'mfp-clip';
    export const load: typeof loadModel = loadModel;
    // @ts-expect-error: types are known, so a wrong call is refused
    void loadModel(42);
    // The package brings WebGPU's types along.
    export type Device = GPUDevice;
    // The engine under the model: a line through two points, and one step of gradient descent on its squared error.
    import { Gpu, Optimizer, Program, add, asParameter, gemm, gradients, readTensor, tensor, transpose } from 'mfp-clip';
    const gpu = await Gpu.open({});
    const [x, minusY] = [tensor(gpu, [1, 2], [2, 1]), tensor(gpu, [-3, -5], [2, 1])];
    const slope = asParameter(tensor(gpu, [1], [1, 1]));
    const optimizer = new Optimizer(gpu, new Map([['slope', slope]]), { kind: 'adam', learningRate: 0.5, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, clipNorm: null });
    const program = await Program.record(gpu, () => {
      const error = add(gemm(x, slope), minusY);
      const squares = gemm(transpose(error), error);
      optimizer.accumulate(gradients([{ tensor: squares, gradient: tensor(gpu, [1], [1, 1]) }]));
      return squares;
    });
    await program.run();
    const before = (await readTensor(gpu, program.outputs))[0];
    await optimizer.update(1, 0.5, 1);
    await program.run();
    export const found = [before, (await readTensor(gpu, slope))[0].toFixed(3), (await readTensor(gpu, program.outputs))[0].toFixed(3)];
    gpu.close();
  `;
  writeFileSync(join(installed, 'caller.mts'), caller);
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  // Without the DOM, as a program for Node is compiled. @webgpu/types itself names types of the DOM, hence skipLibCheck,
  // which is what `tsc --init` writes, too.
  succeed(process.execPath, [compiler, '--strict', '--skipLibCheck', '--target', 'es2022', '--lib', 'es2023', '--module', 'nodenext', 'caller.mts'], installed);
  writeFileSync(join(installed, 'caller.mjs'), readFileSync(join(installed, 'caller.mjs'), 'utf8').replace('void loadModel(42);', ''));
  // (1 - 3)² + (2 - 5)², then a slope of 1.5.
  assert.is(succeed(process.execPath, ['--input-type=module', '-e', "console.log(...(await import('./caller.mjs')).found)"], installed).trim(), '13 1.500 6.250');
});

test.run();
