import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { command } from '../support/command.ts';

const test = suite('cluster');
const jobs = fileURLToPath(new URL('../../tools/cluster/', import.meta.url));
const files = readdirSync(jobs);
const read = (file: string): string => readFileSync(join(jobs, file), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-cluster-'));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Stands for the program: says who and where it is, and what it got, then waits for SIGTERM. */
const standIn = `
process.on('SIGTERM', () => { console.log('saving'); process.exit(143); });
console.log(JSON.stringify({ pid: process.pid, program: process.argv[1], args: process.argv.slice(2) }));
setTimeout(() => {}, 20000);
`;

interface Ended {
  readonly code: number | null;
  /** Of bash. */
  readonly pid: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a Slurm job as `sbatch` does, from the folder where it was submitted, and sends SIGTERM once the program stands. */
function slurm(file: string, place: string): Promise<Ended> {
  const settings = { DATA: 'a data', EVAL: 'an eval', CLIP: 'a clip', CNN: 'a cnn', MFP: 'an mfp', OUT: 'an out', OPTIONS: '', SHARDS: '3', SLURM_ARRAY_TASK_ID: '2', MFP_CLIP: '' };
  const child = spawn('bash', [join(jobs, file)], { cwd: place, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...settings } });
  let [output, errors] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    if (output === '') child.kill('SIGTERM');
    output += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, pid: child.pid!, output, errors })));
}

/** A folder with stand-ins for the program at some paths. */
function placeWith(name: string, paths: readonly string[]): string {
  const place = join(folder, name);
  mkdirSync(place);
  for (const path of paths) {
    mkdirSync(dirname(join(place, path)), { recursive: true });
    writeFileSync(join(place, path), standIn);
  }
  return place;
}

if (process.platform !== 'win32') {
  const cloned = 'dist/cli/main.js';
  const installed = 'node_modules/mfp-clip/dist/cli/main.js';
  const shard = ['--shard', '2/3', '--variants', 'default'];
  const expected = {
    'eval.slurm': ['eval', '--data', 'a data', '--clip', 'a clip', '--cnn', 'a cnn', '--mfp', 'an mfp', '--out', 'an out', ...shard],
    'merge.slurm': ['merge', 'an out', '--data', 'a data', '--out', 'an out'],
    'ablate.slurm': ['ablate', '--data', 'a data', '--eval', 'an eval', '--clip', 'a clip', '--cnn', 'a cnn', '--out', 'an out', ...shard],
  };

  test('the Slurm jobs run the program of a clone or of the installed package, in the place of their shell', async () => {
    assert.equal(files.filter((file) => file.endsWith('.slurm')).sort(), Object.keys(expected).sort());
    const places = [
      [placeWith('clone', [cloned]), cloned],
      [placeWith('installed', [installed]), installed],
      // dist may be another project's.
      [placeWith('both', [cloned, installed]), installed],
    ] as const;
    for (const [file, args] of Object.entries(expected)) {
      for (const [place, path] of places) {
        const { code, pid, output, errors } = await slurm(file, place);
        assert.is(code, 143, errors);
        const [said, last] = output.trim().split('\n');
        assert.equal(JSON.parse(said), { pid, program: join(place, path), args });
        // A signal to the job alone, as Slurm's --signal=B sends it.
        assert.is(last, 'saving');
      }
    }
  });

  test('the Slurm jobs say where to submit from when the program is not there', async () => {
    const place = placeWith('nowhere', []);
    for (const file of Object.keys(expected)) {
      const { code, errors } = await slurm(file, place);
      assert.is(code, 127);
      assert.match(errors, /^mfp-clip is not in .*nowhere: submit from a clone after npm ci or from the folder where npm installed the package, or set MFP_CLIP\n$/);
    }
  });
}

test('every option that the jobs name is one of their command', async () => {
  for (const name of ['eval', 'merge', 'ablate']) {
    const { output: help } = await command([name, '--help']);
    const known = new Set(help.match(/--[a-z][a-z-]*/g));
    for (const file of [`${name}.slurm`, `${name}-kubernetes.yaml`]) {
      const text = read(file);
      const start = text.search(/^ *exec /m);
      assert.ok(start >= 0, file);
      // The command itself, and the examples and values of OPTIONS.
      const commandLine = /(?:.*\\\n)*.*/.exec(text.slice(start))![0];
      const options = [...text.matchAll(/OPTIONS.*/g)].map(([line]) => line).join('\n');
      const used = `${commandLine}\n${options}`.match(/(?<![\w-])--[a-z][a-z-]*/g)!;
      assert.ok(used.includes('--out'), file);
      for (const option of used) assert.ok(known.has(option), `${file}: mfp-clip ${name} has no ${option}`);
    }
  }
});

test('the jobs of Kubernetes run the image that the Dockerfile builds from this version', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  const image = /--tag (\S+)/.exec(read('Dockerfile'))![1];
  assert.ok(image.endsWith(`/mfp-clip:${version}`));
  for (const file of files.filter((name) => name.endsWith('.yaml'))) assert.match(read(file), `image: ${image}\n`);
  // The package is not published: it comes from the clone.
  for (const file of files) assert.not.match(read(file), /npm install (--global |-g )mfp-clip/);
});

test.run();
