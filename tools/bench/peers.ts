// `npm run bench:peers`: mfp-clip's kernels against other engines, case by case, in one run on one adapter.
// Each engine has a process of its own (tools/bench/peers), so that none can take another down.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { median, quantile } from 'simple-statistics';
import { table } from '../../src/report/table.ts';
import { numberBetween, wholeNumber } from '../../src/cli/options.ts';
import { UserError } from '../../src/errors.ts';
import { writeFileAtomic } from '../../src/io/files.ts';
import { chartColours, escapeXml } from '../../src/report/chart.ts';
import { type PeerCase, peerCases } from './peers/cases.ts';
import type { Reply, Request } from './peers/engine.ts';

const folder = fileURLToPath(new URL('./peers/', import.meta.url));

/** An engine of the comparison and how its process is started. */
interface EngineProgram {
  readonly name: string;
  readonly title: string;
  /** Where it computes: only engines on the adapter are peers, the others show what a user without a GPU would pick. */
  readonly on: 'adapter' | 'CPU';
  readonly file: string;
  readonly arguments?: readonly string[];
}

const ours = 'mfp-clip';
const engines: readonly EngineProgram[] = [
  { name: ours, title: 'mfp-clip', on: 'adapter', file: 'mfp_clip.ts' },
  { name: 'tfjs', title: 'TensorFlow.js', on: 'adapter', file: 'tfjs.ts' },
  { name: 'jax-js', title: 'jax-js', on: 'adapter', file: 'jax_js.ts' },
  { name: 'onnxruntime', title: 'ONNX Runtime WebGPU', on: 'adapter', file: 'onnxruntime.ts', arguments: ['webgpu'] },
  { name: 'onnxruntime-cpu', title: 'ONNX Runtime CPU', on: 'CPU', file: 'onnxruntime.ts', arguments: ['cpu'] },
  { name: 'torch-cpu', title: 'PyTorch CPU', on: 'CPU', file: 'torch_cpu.py' },
];

/** What an engine made of a case. */
interface Measurement {
  readonly engine: string;
  readonly way: string;
  /** Median milliseconds of one run, from submission to completion as the host sees it. */
  readonly milliseconds: number;
  /** Quartiles of the rounds. */
  readonly quartiles: readonly [number, number];
  readonly rounds: number;
  /** Median milliseconds of processor time of one run. */
  readonly cpuMilliseconds: number;
  /** Milliseconds of one run on the adapter's own clock, of mfp-clip. */
  readonly gpuMilliseconds?: number;
  /** Its other ways that failed or computed something else. */
  readonly failures?: Readonly<Record<string, string>>;
}

interface CaseResult {
  readonly case: string;
  readonly title: string;
  readonly unit: PeerCase['unit'];
  readonly flops: number;
  readonly bytes: number;
  readonly repeats: number;
  readonly measurements: readonly Measurement[];
  /** Engines that gave no time, and why. */
  readonly missing: Readonly<Record<string, string>>;
}

interface Report {
  readonly adapter: string;
  readonly software: boolean;
  readonly date: string;
  readonly processor: string;
  readonly node: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly results: readonly CaseResult[];
}

type Samples = readonly (readonly number[])[];

/** Outputs agree when their elements differ by no more than this share of the largest one. */
const agreement = 1e-4;
const leastRounds = 5;
const mostRounds = 50;
/** After so many seconds an engine is given up: compiling and the first runs of a case, and one timed run. */
const patience = { prepare: 300, run: 120 };

/** Python with PyTorch: the one on the path, or the system's own, which has the distribution's packages. */
function findPython(): string | undefined {
  return [process.env.PYTHON, 'python3', '/usr/bin/python3'].find((python) => python && spawnSync(python, ['-c', 'import torch, numpy'], { stdio: 'ignore' }).status === 0);
}

/** The process of an engine; starts it when it is first asked, and again when it died. */
class EngineProcess {
  readonly program: EngineProgram;
  readonly #command: readonly string[];
  readonly #verbose: boolean;
  #child: ChildProcess | undefined;
  #waiting: ((reply: Reply) => void) | undefined;
  /** The end of what it wrote to stderr. */
  #complaint = '';
  /** What it said of itself when it started. */
  self: Reply | undefined;

  constructor(program: EngineProgram, python: string | undefined, verbose: boolean) {
    this.program = program;
    const runner = program.file.endsWith('.py') ? [python!] : [process.execPath, '--import', 'tsx'];
    this.#command = [...runner, join(folder, program.file), ...(program.arguments ?? [])];
    this.#verbose = verbose;
  }

  /** Resolves with the next reply; an engine that dies or stays silent replies with an error. */
  #reply(seconds: number): Promise<Reply> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.stop();
        resolve({ error: `no answer in ${seconds} s` });
      }, seconds * 1000);
      this.#waiting = (reply) => {
        clearTimeout(timer);
        this.#waiting = undefined;
        resolve(reply);
      };
    });
  }

  /** Starts the process if it does not run; returns why it does not start, if so. */
  async start(): Promise<string | undefined> {
    if (this.#child) return undefined;
    const [command, ...rest] = this.#command;
    const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    this.#complaint = '';
    child.stderr!.on('data', (data: Buffer) => {
      if (this.#verbose) process.stderr.write(data);
      this.#complaint = (this.#complaint + data.toString()).slice(-2000);
    });
    // A write to a process that just died is reported through its exit.
    child.stdin!.on('error', () => {});
    child.on('error', (error) => this.#waiting?.({ error: error.message }));
    child.on('exit', (code, signal) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      this.#waiting?.({ error: `the process ended (${signal ?? `exit code ${code}`}): ${this.#complaint.trim().split('\n').at(-1)}` });
    });
    createInterface({ input: child.stdout! }).on('line', (line) => {
      // Some libraries print greetings.
      if (this.#child === child && line.startsWith('{')) this.#waiting?.(JSON.parse(line) as Reply);
    });
    const hello = await this.#reply(patience.run);
    if (!hello.error) this.self = hello;
    return hello.error;
  }

  async ask(request: Request): Promise<Reply> {
    const error = await this.start();
    if (error) return { error };
    const reply = this.#reply(request.ask === 'prepare' ? patience.prepare : patience.run);
    this.#child?.stdin!.write(`${JSON.stringify(request)}\n`);
    return reply;
  }

  stop(): void {
    this.#child?.kill('SIGKILL');
    this.#child = undefined;
  }
}

/** How far an engine's outputs are from the median of all engines' outputs, relative to the largest element. */
function disagreement(samples: Samples, all: readonly Samples[]): number {
  let worst = 0;
  samples.forEach((values, output) => {
    const medians = values.map((_, i) => {
      const finite = all.map((others) => others[output]?.[i]).filter(Number.isFinite);
      return finite.length ? median(finite) : 0;
    });
    const largest = Math.max(...medians.map(Math.abs));
    // What is no number comes as null, JSON having none.
    values.forEach((value, i) => (worst = Math.max(worst, Number.isFinite(value) ? Math.abs(value - medians[i]) / largest : Number.POSITIVE_INFINITY)));
  });
  return worst;
}

/** Prepares a case in every engine, checks that they agree, and times them in turn: A B C A B C. */
async function measureCase(wanted: PeerCase, processes: readonly EngineProcess[], repeats: number, seconds: number, rounds: number): Promise<CaseResult> {
  const missing: Record<string, string> = {};
  const prepared: { process: EngineProcess; ways: NonNullable<Reply['ways']>; failures: Record<string, string> }[] = [];
  for (const process of processes) {
    const { absent, error, ways = {}, failures = {} } = await process.ask({ ask: 'prepare', case: wanted, repeats });
    if (absent) missing[process.program.name] = 'has no such operation';
    else if (error) missing[process.program.name] = `failed: ${error}`;
    else prepared.push({ process, ways, failures: { ...failures } });
  }
  const everyone = prepared.flatMap(({ ways }) => Object.values(ways).map(({ samples }) => samples));
  let running: { process: EngineProcess; way: string; failures: Record<string, string>; times: number[]; cpuTimes: number[] }[] = [];
  for (const { process, ways, failures } of prepared) {
    const right = Object.entries(ways).filter(([name, { samples }]) => {
      const error = disagreement(samples, everyone);
      if (error > agreement) failures[name] = `differs from the other engines by ${error.toExponential(1)} of the largest element`;
      return error <= agreement;
    });
    if (right.length) {
      const [way] = right.reduce((best, other) => (other[1].milliseconds < best[1].milliseconds ? other : best));
      running.push({ process, way, failures, times: [], cpuTimes: [] });
      await process.ask({ ask: 'keep', way });
    } else {
      missing[process.program.name] = `failed: ${Object.entries(failures).map(([name, message]) => `${name} ${message}`).join(', ')}`;
      await process.ask({ ask: 'release' });
    }
  }
  const start = performance.now();
  for (let round = 0; running.length > 0 && (round < rounds || (round < mostRounds && performance.now() - start < seconds * 1000)); round++) {
    for (const { process, times, cpuTimes } of running) {
      const { milliseconds, cpuMilliseconds, error } = await process.ask({ ask: 'run' });
      if (milliseconds === undefined) missing[process.program.name] = `failed: ${error}`;
      else {
        times.push(milliseconds / repeats);
        cpuTimes.push(cpuMilliseconds! / repeats);
      }
    }
    running = running.filter(({ process }) => !missing[process.program.name]);
  }
  const measurements: Measurement[] = [];
  for (const { process, way, failures, times, cpuTimes } of running) {
    measurements.push({
      engine: process.program.name,
      way,
      milliseconds: median(times),
      quartiles: [quantile(times, 0.25), quantile(times, 0.75)],
      rounds: times.length,
      cpuMilliseconds: median(cpuTimes),
      gpuMilliseconds: process.program.name === ours ? (await process.ask({ ask: 'gpu' })).milliseconds : undefined,
      failures: Object.keys(failures).length ? failures : undefined,
    });
    await process.ask({ ask: 'release' });
  }
  const { name, title, unit, flops, bytes } = wanted;
  return { case: name, title, unit, flops, bytes, repeats, measurements, missing };
}

/** GFLOP/s or GB/s. */
function rate(result: CaseResult, milliseconds: number): number {
  return (result.unit === 'GB/s' ? result.bytes : result.flops) / milliseconds / 1e6;
}

/** How many times faster than the fastest peer on the adapter mfp-clip is. */
function ratio({ measurements }: CaseResult): number | undefined {
  const own = measurements.find(({ engine }) => engine === ours);
  const peers = measurements.filter(({ engine }) => engine !== ours && engines.find(({ name }) => name === engine)!.on === 'adapter');
  return own && peers.length ? Math.min(...peers.map(({ milliseconds }) => milliseconds)) / own.milliseconds : undefined;
}

const geometricMean = (values: readonly number[]): number => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

/** The report as Markdown: a table of rates, and below it who used what and what is missing. */
function markdown(report: Report): string {
  const columns = engines.filter(({ name }) => report.versions[name] !== undefined);
  const rows = report.results.map((result) => {
    const times = ratio(result);
    return [
      result.title,
      result.unit,
      ...columns.map(({ name }) => {
        const found = result.measurements.find(({ engine }) => engine === name);
        return found ? rate(result, found.milliseconds).toFixed(1) : '–';
      }),
      times === undefined ? '–' : `${times.toFixed(2)}×`,
    ];
  });
  const ratios = report.results.flatMap((result) => ratio(result) ?? []);
  const header = ['Case', 'Unit', ...columns.map(({ title, name }) => `${title} ${report.versions[name]}`), 'mfp-clip / best WebGPU peer'];
  const lines = [`${adapterName(report)}, ${report.date.slice(0, 10)} (${report.processor}; Node ${report.node})`, '', table(header, rows).trimEnd(), ''];
  if (ratios.length) lines.push(`Against the best WebGPU peer of each case: ${Math.min(...ratios).toFixed(2)}× at least, ${geometricMean(ratios).toFixed(2)}× in the geometric mean.`, '');
  const kernels = report.results.flatMap((result) => {
    const own = result.measurements.find(({ engine }) => engine === ours);
    return own?.gpuMilliseconds === undefined ? [] : [`${result.title} ${rate(result, own.gpuMilliseconds).toFixed(1)} ${result.unit}`];
  });
  if (kernels.length) lines.push(`mfp-clip's kernels alone, on the adapter's own clock: ${kernels.join('; ')}.`, '');
  for (const { title, measurements, missing } of report.results) {
    const ways = measurements
      .filter(({ engine }) => engine !== ours && engine !== 'torch-cpu')
      .map(({ engine, way, failures = {} }) => `${titleOf(engine)} by ${way}${Object.entries(failures).map(([other, why]) => ` (its ${other} ${why})`).join('')}`);
    const absent = Object.entries(missing).map(([engine, why]) => `${titleOf(engine)} ${why}`);
    if (ways.length || absent.length) lines.push(`- ${title}: ${[...ways, ...absent].join('; ')}.`);
  }
  return `${lines.join('\n')}\n`;
}

function titleOf(engine: string): string {
  return engines.find(({ name }) => name === engine)!.title;
}

/** Bars of each case's rates, relative to the fastest WebGPU peer, as an SVG document. */
function plot(report: Report): string {
  const shown = engines.filter(({ name }) => report.versions[name] !== undefined);
  const groups = report.results.flatMap((result) => {
    const peers = result.measurements.filter(({ engine }) => engine !== ours && engines.find(({ name }) => name === engine)!.on === 'adapter');
    if (!peers.length) return [];
    const best = Math.min(...peers.map(({ milliseconds }) => milliseconds));
    return [{ title: result.title, speeds: shown.map(({ name }) => best / (result.measurements.find(({ engine }) => engine === name)?.milliseconds ?? Number.POSITIVE_INFINITY)) }];
  });
  const [left, width, bar, gap, top] = [330, 860, 11, 14, 62];
  const most = Math.max(1, ...groups.flatMap(({ speeds }) => speeds));
  const scale = (width - left - 60) / most;
  const group = shown.length * bar + gap;
  const height = top + groups.length * group + 10;
  const bars = groups.flatMap(({ title, speeds }, g) => {
    const y = top + g * group;
    return [
      `<text x="${left - 8}" y="${y + (shown.length * bar) / 2 + 4}" text-anchor="end">${escapeXml(title)}</text>`,
      ...speeds.map((speed, i) =>
        speed > 0
          ? `<rect x="${left}" y="${y + i * bar}" width="${(speed * scale).toFixed(1)}" height="${bar - 1}" fill="${chartColours[i]}"/><text x="${(left + speed * scale + 4).toFixed(1)}" y="${y + i * bar + 9}" font-size="9">${speed.toFixed(2)}</text>`
          : '',
      ),
    ];
  });
  const legend = shown.map(({ title }, i) => `<rect x="${20 + i * 140}" y="34" width="11" height="11" fill="${chartColours[i]}"/><text x="${35 + i * 140}" y="44">${escapeXml(title)}</text>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="11" fill="#222">
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="${width / 2}" y="20" text-anchor="middle" font-size="14" font-weight="600">${escapeXml(`Speed relative to the best WebGPU peer, ${adapterName(report)}, ${report.date.slice(0, 10)}`)}</text>
${[...legend, ...bars].join('\n')}
<line x1="${left + scale}" y1="${top - 6}" x2="${left + scale}" y2="${height - 10}" stroke="#222" stroke-dasharray="3 3"/>
</svg>
`;
}

/** The adapter's name for people, without the parts of the key by which variants are remembered. */
function adapterName({ adapter }: Report): string {
  return adapter.split(' | ').at(-1)!;
}

/** Puts a report into a document, in the place of the same adapter's earlier one or at the end; the plot goes beside it. */
async function updateDocument(file: string, report: Report): Promise<void> {
  const key = adapterName(report).replace(/ *\(.*/, '').toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
  const [begin, end] = [`<!-- peers: ${key} -->`, `<!-- end of peers: ${key} -->`];
  const text = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const picture = `peers-${key}.svg`;
  const section = `${begin}\n### ${adapterName(report)}\n\n${markdown(report)}\n![Speed of each engine relative to the best WebGPU peer](${picture})\n${end}`;
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  await writeFileAtomic(join(file, '..', picture), plot(report));
  await writeFileAtomic(file, from >= 0 && to > from ? text.slice(0, from) + section + text.slice(to + end.length) : `${text.trimEnd()}\n\n${section}\n`.trimStart());
}

function installPeers(): void {
  if (existsSync(join(folder, 'node_modules', '.package-lock.json'))) return;
  process.stderr.write('Installing the peers (tools/bench/peers).\n');
  // Scripts would fetch GPU libraries of one vendor.
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder, stdio: ['ignore', 'inherit', 'inherit'], shell: process.platform === 'win32' });
  if (status !== 0) throw new UserError(`the peers cannot be installed: "npm ci --ignore-scripts" failed in ${folder}`);
}

interface Flags {
  readonly cases?: string[];
  readonly engines?: string[];
  readonly seconds: number;
  readonly rounds: number;
  readonly json?: string;
  readonly document?: string;
  readonly from?: string;
  readonly verbose?: boolean;
}

/** Checks names given on the command line. */
function chosen<T extends { readonly name: string }>(flag: string, names: readonly string[] | undefined, all: readonly T[]): T[] {
  const unknown = names?.find((name) => !all.some((item) => item.name === name));
  if (unknown !== undefined) throw new UserError(`${flag} ${unknown}: there are ${all.map(({ name }) => name).join(', ')}`);
  return all.filter(({ name }) => !names || names.includes(name));
}

async function writeReport(report: Report, flags: Flags): Promise<void> {
  process.stdout.write(`\n${markdown(report)}`);
  if (flags.json) await writeFileAtomic(flags.json, `${JSON.stringify(report, null, 2)}\n`);
  if (flags.document) await updateDocument(flags.document, report);
}

async function comparePeers(flags: Flags): Promise<void> {
  if (flags.from) return writeReport(JSON.parse(readFileSync(flags.from, 'utf8')) as Report, flags);
  const cases = chosen('--cases', flags.cases, peerCases);
  const wanted = chosen('--engines', flags.engines, engines);
  installPeers();
  const python = findPython();
  if (!python && wanted.some(({ file }) => file.endsWith('.py'))) process.stderr.write('No Python with PyTorch is found: its column is left out.\n');
  const processes = wanted.filter(({ file }) => !file.endsWith('.py') || python).map((program) => new EngineProcess(program, python, flags.verbose ?? false));
  try {
    const results: CaseResult[] = [];
    let adapter: Reply | undefined;
    for (const process of processes) {
      const error = await process.start();
      if (error) globalThis.process.stderr.write(`${process.program.title}: ${error}\n`);
      const { self } = process;
      if (!self?.adapter) continue;
      adapter ??= self;
      if (self.adapter !== adapter.adapter) throw new UserError(`${process.program.title} runs on "${self.adapter}" and the engines before it on "${adapter.adapter}": name one adapter with MFP_CLIP_ADAPTER or VK_DRIVER_FILES`);
    }
    const running = processes.filter(({ self }) => self);
    if (!running.length) throw new UserError('no engine starts');
    const software = adapter?.software ?? true;
    for (const one of cases) {
      const result = await measureCase(one, running, software ? one.repeats.software : one.repeats.gpu, flags.seconds, flags.rounds);
      results.push(result);
      const rates = result.measurements.map(({ engine, milliseconds }) => `${engine} ${rate(result, milliseconds).toFixed(1)}`);
      process.stderr.write(`${result.title}, ${result.unit}: ${rates.join(', ')}\n`);
    }
    const report: Report = {
      adapter: adapter?.adapter ?? 'no adapter',
      software,
      date: new Date().toISOString(),
      processor: `${cpus().length} cores of ${cpus()[0]?.model.trim()}`,
      node: process.versions.node,
      versions: Object.fromEntries(running.map(({ program, self }) => [program.name, self!.version ?? ''])),
      results,
    };
    await writeReport(report, flags);
  } finally {
    for (const process of processes) process.stop();
  }
}

const list = (text: string): string[] => text.split(',').map((item) => item.trim());

const command = new Command('bench:peers')
  .description('time mfp-clip and other engines on the same computations and the same adapter')
  .option('--cases <names>', `only these cases, with commas between: ${peerCases.map(({ name }) => name).join(', ')}`, list)
  .option('--engines <names>', `only these engines: ${engines.map(({ name }) => name).join(', ')}`, list)
  .option('--seconds <s>', 'time for the rounds of a case, all engines together', numberBetween(0, 3600), 5)
  .option('--rounds <n>', 'timed rounds of a case at least', wholeNumber(1), leastRounds)
  .option('--json <file>', 'write the results as JSON')
  .option('--document <file>', 'write the table into a Markdown file, in the place of the same adapter\'s earlier one, and the plot beside it')
  .option('--from <file>', 'measure nothing: take the results that --json wrote')
  .option('--verbose', 'show what the engines write to stderr');
try {
  await command.parseAsync();
  await comparePeers(command.opts<Flags>());
} catch (error) {
  process.stderr.write(`${error instanceof UserError ? error.message : (error as Error).stack}\n`);
  process.exitCode = 1;
}
