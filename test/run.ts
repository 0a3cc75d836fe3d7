// `npm test [NAME...]`: runs every test file under `test/` (or those whose path holds one of the names), each in a
// process of its own, so that a crash or a hang in one hides nothing of the others.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../', import.meta.url));
/** Files that run at the same time: a software adapter spreads one kernel over all cores already. */
const filesAtOnce = 2;
/** Longest time that one file may take. */
const secondsPerFile = 600;

interface FileResult {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** What went wrong beside failing tests: a crash, a hang, no test. */
  readonly problem?: string;
  readonly output: string;
  readonly seconds: number;
}

/** Sums up uvu's closing lines; a file with several suites has several of them. */
function count(output: string, name: string): number {
  return [...output.matchAll(new RegExp(`^\\s*${name}:\\s+(\\d+)\\s*$`, 'gm'))].reduce((sum, match) => sum + Number(match[1]), 0);
}

function runFile(file: string, environment: NodeJS.ProcessEnv): Promise<FileResult> {
  return new Promise((resolve) => {
    const start = performance.now();
    const child = spawn(process.execPath, [...process.execArgv, file], { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
      // Programs that the file started may hold the other ends of these open.
      child.stdout.destroy();
      child.stderr.destroy();
    }, secondsPerFile * 1000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const output = Buffer.concat(chunks)
        .toString('utf8')
        .split('\n')
        // Dawn says this of every adapter that allows more than it can use.
        .filter((line) => !/^Warning: maxDynamic\w+ artificially reduced/.test(line))
        .join('\n');
      const total = count(output, 'Total');
      const passed = count(output, 'Passed');
      const skipped = count(output, 'Skipped');
      const failed = total - passed;
      let problem: string | undefined;
      if (late) problem = `did not end within ${secondsPerFile} s`;
      else if (signal) problem = `was ended by ${signal}`;
      else if (total === 0) problem = code ? `ended with exit code ${code} before any test` : 'ran no test';
      else if (code && !failed) problem = `ended with exit code ${code}`;
      resolve({ passed, failed: failed + (problem ? 1 : 0), skipped, problem, output, seconds: (performance.now() - start) / 1000 });
    });
  });
}

const names = process.argv.slice(2);
const files = readdirSync(join(root, 'test'), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'))
  .filter((file) => !names.length || names.some((name) => file.includes(name)))
  .sort();
if (!files.length) {
  console.error(`no test file has ${names.map((name) => `"${name}"`).join(' or ')} in its path`);
  process.exit(1);
}

const setUp = spawnSync(process.execPath, [...process.execArgv, join(root, 'tools', 'setup.ts')], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
if (setUp.status !== 0) {
  console.error('the tests need an adapter');
  process.exit(1);
}

// Measured variant choices of this machine must neither steer the tests nor be changed by them.
const cache = mkdtempSync(join(tmpdir(), 'mfp-clip-test-'));
const environment = { ...process.env, MFP_CLIP_CACHE: cache, NO_COLOR: '1', FORCE_COLOR: undefined };
const results: FileResult[] = [];
const waiting = [...files];
const worker = async (): Promise<void> => {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
    const result = await runFile(file, environment);
    results.push(result);
    const counts = `${result.passed} passed${result.failed ? `, ${result.failed} failed` : ''}${result.skipped ? `, ${result.skipped} skipped` : ''}`;
    console.log(`${result.failed ? 'FAIL' : 'ok  '} ${file}  ${counts}  ${result.seconds.toFixed(1)} s`);
    if (result.failed) console.log(`${result.output.trimEnd()}\n${result.problem ? `${file} ${result.problem}\n` : ''}`);
  }
};
try {
  await Promise.all(Array.from({ length: filesAtOnce }, worker));
} finally {
  rmSync(cache, { recursive: true, force: true });
}
const sum = (field: 'passed' | 'failed' | 'skipped'): number => results.reduce((total, result) => total + result[field], 0);
const skipped = sum('skipped');
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed${skipped ? `, ${skipped} skipped` : ''}`);
process.exitCode = sum('failed') ? 1 : 0;
