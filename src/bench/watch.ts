import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, watch } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../errors.ts';
import { kernelFolder } from '../gpu/kernels.ts';
import { opsWithFiles } from './registry.ts';

/** Editors write a file in several steps; a change counts when none followed for so many milliseconds. */
const settled = 200;

/**
 * Runs `work` whenever a watched file has changed. A change while it runs aborts it and starts it anew.
 *
 * @param folders watched without what is below them: a file that an editor replaces is still seen
 * @param isWatched whether a file, by its path, counts
 * @param work must end soon after its signal
 * @param stop ends everything
 */
export async function repeatOnChange(folders: readonly string[], isWatched: (file: string) => boolean, work: (changed: readonly string[], signal: AbortSignal) => Promise<void>, stop: AbortSignal): Promise<void> {
  let changed = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let running: AbortController | undefined;
  let wake = (): void => {};
  const watchers = folders.map((folder) =>
    watch(folder, (_event, name) => {
      const file = name === null ? folder : join(folder, name);
      if (name === null || !isWatched(file)) return;
      changed.add(file);
      clearTimeout(timer);
      timer = setTimeout(() => {
        timer = undefined;
        running?.abort();
        wake();
      }, settled);
    }),
  );
  const onStop = (): void => wake();
  stop.addEventListener('abort', onStop);
  try {
    while (!stop.aborted) {
      if (!changed.size || timer !== undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
        continue;
      }
      const files = [...changed];
      changed = new Set();
      running = new AbortController();
      await work(files, AbortSignal.any([stop, running.signal]));
      running = undefined;
    }
  } finally {
    stop.removeEventListener('abort', onStop);
    clearTimeout(timer);
    for (const watcher of watchers) watcher.close();
  }
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const testFolder = join(root, 'test', 'ops');

/** The tests of an op's file: the one of its name, or those that import it; and the one that holds all variants against each other. */
export function testsOf(opFile: string): string[] {
  const own = join(testFolder, `${opFile}.test.ts`);
  const others = (): string[] => readdirSync(testFolder).filter((file) => file.endsWith('.test.ts') && readFileSync(join(testFolder, file), 'utf8').includes(`/ops/${opFile}.ts'`)).map((file) => join(testFolder, file));
  return existsSync(own) ? [own] : others().filter((file) => basename(file) !== 'pytorch.test.ts');
}

/** Runs a script of the checkout like this process was run. @returns its exit code; null when it was aborted */
function runScript(script: string, options: readonly string[], signal: AbortSignal): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...process.execArgv, script, ...options], { stdio: 'inherit', signal });
    child.on('error', (error) => (signal.aborted ? resolve(null) : reject(error)));
    child.on('close', (code) => resolve(signal.aborted ? null : code));
  });
}

/**
 * The benchmark of a watch: the first run that succeeds is kept, and each later one compared with it. One that fails, because a kernel
 * does not compile yet or the options are wrong, is no reason to leave: the next change may mend it.
 */
export class WatchedBench {
  readonly #options: readonly string[];
  readonly #first: string;
  readonly #run: (options: readonly string[], signal: AbortSignal) => Promise<number | null>;
  #hasFirst = false;

  /**
   * @param options of `mfp-clip`, as they were given, without --watch; where they name a file for --compare each run is compared with that
   * @param first file that keeps the first run
   * @param run runs `mfp-clip` with such options. Gives its exit code; null when it was aborted
   */
  constructor(options: readonly string[], first: string, run: (options: readonly string[], signal: AbortSignal) => Promise<number | null>) {
    this.#options = options;
    this.#first = first;
    this.#run = run;
  }

  /** Whether the options name what to compare with. */
  get comparesWithFile(): boolean {
    return this.#options.some((option) => option.startsWith('--compare'));
  }

  /** Whether there is something to compare a run with. */
  get isReady(): boolean {
    return this.comparesWithFile || this.#hasFirst;
  }

  /** Runs once. @returns what to tell about it beside its own output; nothing when it was aborted or went well */
  async run(signal: AbortSignal): Promise<string | undefined> {
    if (this.isReady) {
      // Exit code 1 is that of a kernel that is slower, too: the benchmark itself has said which it is.
      await this.#run(this.comparesWithFile ? this.#options : [...this.#options, '--compare', this.#first], signal);
      return undefined;
    }
    const code = await this.#run([...this.#options, '--json', this.#first], signal);
    if (signal.aborted || code === null) return undefined;
    this.#hasFirst = code === 0;
    return code === 0 ? undefined : `The benchmark failed with exit code ${code}, so later ones have nothing to be compared with. It is run again after the next change.`;
  }
}

/**
 * `mfp-clip bench OP --watch`: times the ops, and again whenever a kernel or an op's file changes, after its tests, beside the
 * first time. Ends with Ctrl-C; exit code 1 when no benchmark had succeeded until then.
 *
 * @throws UserError outside a checkout, or when no op is named
 */
export async function watchOps(names: readonly string[]): Promise<void> {
  if (!names.length) throw new UserError('--watch: name the op that you work on, for example mfp-clip bench gemm --watch');
  if (!import.meta.url.endsWith('.ts') || !existsSync(testFolder)) throw new UserError('--watch needs a checkout with its tests: run npx tsx src/cli/main.ts bench there');
  const opFiles = [...new Set((await opsWithFiles()).filter(({ op }) => names.includes(op.name)).map(({ file }) => file))];
  const program = process.argv[1];
  const options = process.argv.slice(2).filter((option) => option !== '--watch');
  const folder = mkdtempSync(join(tmpdir(), 'mfp-clip-watch-'));
  const stop = new AbortController();
  const leave = (): void => stop.abort();
  process.on('SIGINT', leave);
  process.on('SIGTERM', leave);
  try {
    const watched = new WatchedBench(options, join(folder, 'first.json'), (given, signal) => runScript(program, given, signal));
    const time = async (signal: AbortSignal): Promise<void> => {
      const problem = await watched.run(signal);
      if (problem !== undefined) process.stdout.write(`\n${problem}\n`);
    };
    if (!watched.comparesWithFile) await time(stop.signal);
    const kernelFolders = readdirSync(kernelFolder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => join(kernelFolder, entry.name));
    const opsFolder = join(root, 'src', 'ops');
    const watchedFiles = new Set(opFiles.map((file) => join(opsFolder, `${file}.ts`)));
    if (!stop.signal.aborted) process.stdout.write('\nWaiting for changes in kernels/ and the op. Ctrl-C ends.\n');
    await repeatOnChange(
      [...kernelFolders, opsFolder],
      (file) => file.endsWith('.wgsl') || watchedFiles.has(file),
      async (changed, signal) => {
        process.stdout.write(`\n${changed.map((file) => file.slice(root.length)).join(', ')}\n`);
        const tests = [...new Set(opFiles.flatMap(testsOf))].map((file) => [file] as string[]);
        for (const [file, ...parameters] of [...tests, [join(testFolder, 'variants.test.ts'), ...names]]) {
          const code = await runScript(file, parameters, signal);
          if (signal.aborted) return;
          if (code !== 0) {
            process.stdout.write('The test fails, so nothing is timed.\n');
            return;
          }
        }
        await time(signal);
        if (!signal.aborted) process.stdout.write('\nWaiting for changes. Ctrl-C ends.\n');
      },
      stop.signal,
    );
    if (!watched.isReady) process.exitCode = 1;
  } finally {
    process.off('SIGINT', leave);
    process.off('SIGTERM', leave);
    rmSync(folder, { recursive: true, force: true });
  }
}
