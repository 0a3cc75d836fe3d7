import { Command } from 'commander';
import { type CeilingProbe, chosenVariant, gigabytes, gigaflops, inType, openCeilingProbe, rooflineShare, variantsFor } from '../bench/bench.ts';
import { type BenchFile, type Clock, compareProblem, readBenchFile, writeBenchFile } from '../bench/bench_file.ts';
import { checkCases, checkClock, compareBenches, comparisonNotes } from '../bench/compare.ts';
import { allOps } from '../bench/registry.ts';
import { type BenchJob, type RoundedResult, benchInRounds, measureRound, roundCount, roundOptions } from '../bench/rounds.ts';
import { casesOfShapes, describeSizes, sizeNamesOf } from '../bench/shapes.ts';
import { watchOps } from '../bench/watch.ts';
import { UserError } from '../errors.ts';
import { Gpu, dawnVersion } from '../gpu/device.ts';
import { writeFileAtomic } from '../io/files.ts';
import { rooflineChart } from '../report/roofline.ts';
import { table } from '../report/table.ts';
import type { Op } from '../tensor/op.ts';
import { type DeviceFlags, gpuOptions, numberBetween, prepareFile, variantPolicy, withDevice } from './options.ts';
import { startProgress } from './progress.ts';

interface BenchFlags extends DeviceFlags {
  readonly case?: string;
  readonly shapes?: string;
  readonly reference?: boolean;
  readonly chosen?: boolean;
  readonly precision: string;
  readonly seconds: number;
  readonly json?: string;
  readonly compare?: string;
  readonly plot?: string;
  readonly watch?: boolean;
}

/** A bench of now. */
type Measured = BenchFile<RoundedResult>;

async function bench(names: string[], flags: BenchFlags): Promise<void> {
  const ops = await allOps();
  for (const name of names) if (!ops.has(name)) throw new UserError(`there is no op "${name}". There are: ${[...ops.keys()].join(', ')}`);
  if (flags.watch) return watchOps(names);
  if (flags.shapes !== undefined && !names.length) throw new UserError('--shapes: name the op that the sizes are for, for example mfp-clip bench gemm --shapes 77x768x3072');
  const wanted = names.length ? names.map((name) => ops.get(name)!) : [...ops.values()];
  // A file that cannot be compared with is known before anything is measured.
  const old = flags.compare === undefined ? undefined : await readBenchFile(flags.compare);
  await prepareFile('--json', flags.json);
  await prepareFile('--plot', flags.plot);
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    if (old && old.adapter !== gpu.key) {
      throw compareProblem(flags.compare!, `it was measured on "${old.adapter}", this is "${gpu.key}". Times of different adapters or drivers say nothing about kernels; measure again with --json.`);
    }
    const clock: Clock = gpu.timestamps ? 'gpu' : 'wall';
    if (old) checkClock(flags.compare!, old, clock);
    const jobs = await jobsOf(gpu, wanted, flags);
    if (!jobs.length) throw new UserError('no benchmark case is left with these names and options');
    if (old) checkCases(flags.compare!, old, jobs.map(({ op, given }) => ({ op: op.name, case: given.name })), flags.chosen === true);
    const probe = await openCeilingProbe(gpu);
    const ceilings = await probe.measure();
    const notice = clock === 'wall' ? 'The adapter has no timestamps: times are on the wall clock, from submission to completion.\n' : '';
    process.stdout.write(`${gpu.adapter.description || gpu.key}: copy ${ceilings.gigabytes.toFixed(1)} GB/s, multiply-add ${ceilings.gigaflops.toFixed(1)} GFLOP/s\n${notice}\n`);
    const progress = startProgress('round', roundCount * jobs.length);
    const results = await benchInRounds(gpu, jobs, probe, flags.seconds, ({ op }) => progress.step(op.name));
    progress.stop();
    const measured: Measured = { adapter: gpu.key, dawn: dawnVersion(), date: new Date().toISOString(), clock, ceilings, results };
    // Before they are printed: whoever reads that may be gone, and this process with it.
    if (flags.json !== undefined) await writeBenchFile(flags.json, measured);
    if (flags.plot !== undefined) await writeFileAtomic(flags.plot, plotOf(gpu, measured));
    printResults(measured);
    if (old) await printComparison(gpu, jobs, probe, flags, old, measured, (op) => !names.length || names.includes(op));
    probe.close();
  } finally {
    gpu.close();
  }
}

/** Every case that the flags leave, in every variant that they leave. */
async function jobsOf(gpu: Gpu, ops: readonly Op<unknown>[], flags: BenchFlags): Promise<BenchJob[]> {
  const types = flags.precision.split(',').map((type) => {
    if (type !== 'f32' && type !== 'f16') throw new UserError(`--precision ${flags.precision}: it must be f32, f16 or f32,f16`);
    return type as 'f32' | 'f16';
  });
  const isWanted = (op: Op<unknown>, name: string): boolean => {
    const forced = flags.variant?.[op.name];
    return forced === undefined ? flags.reference || op.variants.length === 1 || !op.variants.find((variant) => variant.name === name)!.reference : forced === name;
  };
  const jobs: BenchJob[] = [];
  for (const op of ops) {
    const cases = flags.shapes === undefined ? op.benchCases : casesOfShapes(op, flags.shapes, gpu.device.limits.maxStorageBufferBindingSize);
    for (const given of cases.filter(({ name }) => flags.case === undefined || name.includes(flags.case)).flatMap((one) => types.flatMap((type) => inType(one, type) ?? []))) {
      const variants = flags.chosen ? await chosenVariant(gpu, op, given, variantPolicy(flags)) : variantsFor(gpu, op, given).filter((name) => isWanted(op, name));
      jobs.push(...variants.map((variant) => ({ op, given, variant })));
    }
  }
  return jobs;
}

function printResults({ clock, ceilings, results }: Measured): void {
  const rows = results.map((result) => [
    result.op,
    result.case,
    result.variant,
    result.dtype,
    `${result.milliseconds.toPrecision(4)} ± ${result.spread.toPrecision(2)}`,
    // Without timestamps both are the same.
    ...(clock === 'gpu' ? [result.wallMilliseconds.toPrecision(4)] : []),
    gigaflops(result).toFixed(2),
    gigabytes(result).toFixed(2),
    `${(100 * rooflineShare(result, ceilings)).toFixed(0)}%`,
  ]);
  const times = clock === 'gpu' ? ['ms (GPU)', 'ms (wall)'] : ['ms (wall)'];
  process.stdout.write(table(['op', 'case', 'variant', 'type', ...times, 'GFLOP/s', 'GB/s', 'roofline'], rows));
}

function plotOf(gpu: Gpu, { clock, ceilings, results }: Measured): string {
  const severalTypes = new Set(results.map(({ dtype }) => dtype)).size > 1;
  const points = results.map((result) => ({ ...result, name: `${result.op}: ${result.case}${severalTypes ? `, ${result.dtype}` : ''}` }));
  return rooflineChart({ title: `mfp-clip on ${gpu.adapter.description || gpu.key}${clock === 'wall' ? ', on the wall clock' : ''}`, ...ceilings, points });
}

/**
 * Measures what looks changed again, then says what is; exit code 1 when something is slower, or when nothing could be compared.
 *
 * @param isAskedFor whether the cases of an op were to be measured
 */
async function printComparison(gpu: Gpu, jobs: readonly BenchJob[], probe: CeilingProbe, flags: BenchFlags, old: BenchFile, measured: Measured, isAskedFor: (op: string) => boolean): Promise<void> {
  const remeasure = async (i: number) => (await measureRound(gpu, jobs[i], probe, roundOptions(flags.seconds))).round;
  const comparison = await compareBenches(old.results, measured.results, remeasure, flags.chosen === true);
  const { cases, cleared } = comparison;
  const changed = cases.filter(({ verdict }) => verdict !== 'same').sort((a, b) => b.after / b.before - a.after / a.before);
  const write = (line: string): void => void process.stdout.write(`${line}\n`);
  write(`\nCompared with ${flags.compare} of ${old.date}`);
  if (old.dawn !== measured.dawn) write(`Dawn is another: ${measured.dawn}, then ${old.dawn}. What changed may be due to it.`);
  write(`Copy ${measured.ceilings.gigabytes.toFixed(1)} GB/s, then ${old.ceilings.gigabytes.toFixed(1)}; multiply-add ${measured.ceilings.gigaflops.toFixed(1)} GFLOP/s, then ${old.ceilings.gigaflops.toFixed(1)}`);
  if (changed.length) {
    const rows = changed.map(({ measured: { op, case: name, variant, dtype }, variantBefore, verdict, before, after, drift }) => [
      op,
      name,
      variant === variantBefore ? variant : `${variant}, then ${variantBefore}`,
      dtype,
      before.toPrecision(4),
      after.toPrecision(4),
      `${after >= before ? '+' : ''}${(100 * (after / before - 1)).toFixed(0)}%`,
      drift.map((ratio) => `${ratio >= 1 ? '+' : ''}${(100 * (ratio - 1)).toFixed(0)}`).join(' to ') + '%',
      verdict,
    ]);
    write('');
    process.stdout.write(table(['op', 'case', 'variant', 'type', 'ms then', 'ms now', 'change', 'adapter', ''], rows));
  }
  const count = (verdict: string): number => changed.filter((result) => result.verdict === verdict).length;
  const notes = comparisonNotes(comparison, isAskedFor);
  if (notes.length) write(`\n${notes.join('\n')}`);
  if (cases.length) write(`\n${cases.length} compared: ${count('slower')} slower, ${count('faster')} faster, ${cases.length - changed.length} the same within noise${cleared ? ` (${cleared} looked changed, but not when measured again)` : ''}`);
  else write(`\nNothing could be compared: ${flags.compare} has none of these cases as they are now.`);
  if (count('slower') || !cases.length) process.exitCode = 1;
}

/** Lists what the numbers of --shapes are, for the help. */
async function shapesHelp(): Promise<string> {
  const lines = [...(await allOps()).values()].flatMap((op) => {
    const sizes = sizeNamesOf(op);
    return sizes ? [`  ${op.name.padEnd(38)}${describeSizes(sizes)}`] : [];
  });
  return `Sizes for --shapes:\n${lines.join('\n')}\n`;
}

/** `mfp-clip bench`. */
export function benchCommand(): Command {
  const command = new Command('bench')
    .description('time kernels at the shapes of ViT-L/14 with 518 × 518 images, against the adapter\'s measured ceilings')
    .argument('[op...]', 'ops to time; default: all')
    .option('--case <text>', 'only cases with this text in their name')
    .option('--shapes <sizes>', 'your own sizes instead of the cases, for example gemm --shapes 1370x1024x1024,77x768x3072; --shapes help lists what they are')
    .option('--reference', 'time the slow reference variants too')
    .option('--chosen', 'time only the variant that a model would run')
    .option('--precision <types>', 'f32, f16 or both: f32,f16', 'f32')
    .option('--seconds <s>', `time for each case, in ${roundCount} rounds`, numberBetween(0.01, 3600), 2)
    .option('--json <file>', 'write the results as JSON')
    .option('--compare <file>', 'tell what changed since that --json from noise; exit code 1 when something is slower, or nothing can be compared')
    .option('--plot <file>', 'write a roofline plot as SVG')
    .option('--watch', 'in a checkout: whenever a kernel or the op changes, test and time it again and show what changed');
  return withDevice(command).action(async (names: string[], flags: BenchFlags) => {
    if (flags.shapes === 'help') process.stdout.write(await shapesHelp());
    else await bench(names, flags);
  });
}
