import { Command, InvalidArgumentError, Option } from 'commander';
import { fusionStudies } from '../bench/fusion/studies.ts';
import { type FusionFailure, type FusionResult, type FusionStudy, type SideResult, checkStudy, passOf, runStudy, sizeNamesOfStudy } from '../bench/fusion/study.ts';
import { describeSizes, parseShapes, shapeProblem } from '../bench/shapes.ts';
import { UserError } from '../errors.ts';
import { Gpu } from '../gpu/device.ts';
import { formatBytes } from '../gpu/memory.ts';
import { writeFileAtomic } from '../io/files.ts';
import { table } from '../report/table.ts';
import { configureVariants } from '../tensor/variants.ts';
import { type DeviceFlags, gpuOptions, numberBetween, prepareFile, variantPolicy, withDevice } from './options.ts';
import { startProgress } from './progress.ts';

interface FusionFlags extends DeviceFlags {
  readonly case?: string;
  readonly shapes?: string;
  readonly precision: readonly ('f32' | 'f16')[];
  readonly pass: 'forward' | 'backward' | 'both';
  readonly seconds: number;
  readonly json?: string;
}

function typeList(text: string): ('f32' | 'f16')[] {
  const types = text.split(',').map((type) => type.trim());
  if (types.some((type) => type !== 'f32' && type !== 'f16')) throw new InvalidArgumentError('It must be f32, f16 or f32,f16.');
  return types as ('f32' | 'f16')[];
}

/** The studies by name; without names all. */
function studiesOf(names: readonly string[]): FusionStudy[] {
  return (names.length ? names : [...fusionStudies.keys()]).map((name) => {
    const study = fusionStudies.get(name);
    if (!study) throw new UserError(`there is no fusion study "${name}". There are: ${[...fusionStudies.keys()].join(', ')}`);
    return study;
  });
}

/** Sizes of one's own for the one study that is named; undefined where none are given. @throws UserError naming the shape and what its numbers mean */
function shapesOf(studies: readonly FusionStudy[], text: string | undefined): number[][] | undefined {
  if (text === undefined) return undefined;
  if (studies.length !== 1) throw new UserError('--shapes: name the one study that the sizes are for, for example mfp-clip bench fusion attention --shapes 257x16x64');
  return parseShapes(text, studies[0].name, sizeNamesOfStudy(studies[0]));
}

/** One case of a study, in one type and pass. */
interface FusionJob {
  readonly study: FusionStudy;
  readonly given: { readonly name: string; readonly sizes: readonly number[] };
  readonly dtype: 'f32' | 'f16';
  readonly backward: boolean;
}

/** Every case that the flags leave, in every type and pass that they leave. @throws UserError when sizes of one's own cannot be run */
function jobsOf(gpu: Gpu, studies: readonly FusionStudy[], shapes: readonly (readonly number[])[] | undefined, flags: FusionFlags): FusionJob[] {
  const types = flags.precision.filter((dtype) => dtype === 'f32' || gpu.f16);
  const isWanted = (study: FusionStudy, backward: boolean): boolean => (backward ? study.backward && flags.pass !== 'forward' : flags.pass !== 'backward');
  const jobs = studies.flatMap((study) =>
    (shapes?.map((sizes) => ({ name: sizes.join('x'), sizes })) ?? study.cases)
      .filter(({ name }) => flags.case === undefined || name.includes(flags.case))
      .flatMap((given) => study.types.filter((dtype) => types.includes(dtype)).flatMap((dtype) => [false, true].filter((backward) => isWanted(study, backward)).map((backward) => ({ study, given, dtype, backward })))),
  );
  if (!jobs.length) throw new UserError('no case is left with these names and options');
  if (shapes) {
    for (const { study, given, dtype, backward } of jobs) {
      try {
        checkStudy(study, given.sizes, dtype, passOf(gpu, backward), gpu.device.limits.maxStorageBufferBindingSize);
      } catch (error) {
        throw shapeProblem(given.name, (error as Error).message, study.name, sizeNamesOfStudy(study));
      }
    }
  }
  return jobs;
}

async function fusion(names: string[], flags: FusionFlags): Promise<void> {
  const studies = studiesOf(names);
  if (flags.shapes === 'help') {
    process.stdout.write(`Sizes for --shapes:\n${studies.map((study) => `  ${study.name.padEnd(20)}${describeSizes(sizeNamesOfStudy(study))}\n`).join('')}`);
    return;
  }
  const shapes = shapesOf(studies, flags.shapes);
  await prepareFile('--json', flags.json);
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    configureVariants(gpu, variantPolicy(flags));
    const jobs = jobsOf(gpu, studies, shapes, flags);
    const results: FusionResult[] = [];
    const failures: FusionFailure[] = [];
    const progress = startProgress('case', jobs.length);
    for (const { study, given, dtype, backward } of jobs) {
      try {
        results.push(await runStudy(gpu, study, given, dtype, backward, { seconds: flags.seconds }));
      } catch (error) {
        // What the others took minutes to measure is not lost with it.
        failures.push({ study: study.name, case: given.name, sizes: given.sizes, dtype, pass: passOf(gpu, backward), reason: (error as Error).message });
      }
      progress.step(study.name);
    }
    progress.stop();
    if (failures.length) process.exitCode = 1;
    // Before anything is printed: whoever reads that may be gone, and this process with it.
    if (flags.json !== undefined) {
      const clock = gpu.timestamps ? 'gpu' : 'wall';
      await writeFileAtomic(flags.json, `${JSON.stringify({ adapter: gpu.key, date: new Date().toISOString(), clock, results, failures }, null, 2)}\n`);
    }
    process.stdout.write(`${gpu.adapter.description || gpu.key}\n\n`);
    for (const { name, fuses } of studies) process.stdout.write(`${name}: ${fuses}\n`);
    if (results.length) printResults(gpu, results, failures.length > 0);
    for (const { study, case: name, dtype, pass, reason } of failures) process.stdout.write(`\nNot compared: ${study} ${name} ${dtype} ${pass}: ${reason}\n`);
  } finally {
    gpu.close();
  }
}

/** @param incomplete whether cases are missing that could not be compared */
function printResults(gpu: Gpu, results: readonly FusionResult[], incomplete: boolean): void {
  // Four digits of the time, and the spread to the same place.
  const time = ({ milliseconds, spread }: SideResult): string => {
    const places = Math.max(0, 3 - Math.floor(Math.log10(milliseconds)));
    return `${milliseconds.toFixed(places)} ± ${spread.toFixed(places)}`;
  };
  const rows = results.map(({ study, case: name, dtype, pass, fused, unfused }) => [
    study,
    name,
    dtype,
    pass,
    time(fused),
    time(unfused),
    (unfused.milliseconds / fused.milliseconds).toFixed(2),
    String(fused.dispatches),
    String(unfused.dispatches),
    formatBytes(fused.bytes),
    formatBytes(unfused.bytes),
    formatBytes(fused.memoryBytes),
    formatBytes(unfused.memoryBytes),
  ]);
  process.stdout.write(`\n${table(['study', 'case', 'type', 'pass', 'fused ms', 'chain ms', 'chain / fused', 'fused dispatches', 'chain dispatches', 'fused moves', 'chain moves', 'fused memory', 'chain memory'], rows)}\n`);
  const apart = Math.max(...results.map(({ difference }) => difference)).toExponential(1);
  const clock = gpu.timestamps ? 'Times are of the kernels' : 'The adapter has no timestamps: times are on the wall clock';
  process.stdout.write(`${clock}. In ${incomplete ? 'each of these cases' : 'every case'} kernel and chain gave the same results, at most ${apart} of the largest value apart.\n`);
}

/** `mfp-clip bench fusion`. */
export function benchFusionCommand(): Command {
  const command = new Command('fusion')
    .description('time each fused kernel against the chain of single steps that it replaces, in turns, after comparing their results')
    .argument('[study...]', `studies to run, of ${[...fusionStudies.keys()].join(', ')}; default: all`)
    .option('--case <text>', 'only cases with this text in their name')
    .option('--shapes <sizes>', 'your own sizes for one study instead of its cases, for example attention --shapes 257x16x64,77x12x64; --shapes help lists what they are')
    .option('--precision <types>', 'f32, f16 or both: f32,f16', typeList, ['f32'])
    .addOption(new Option('--pass <name>', 'which passes to compare').choices(['forward', 'backward', 'both']).default('both'))
    .option('--seconds <s>', 'time for each case, both sides together', numberBetween(0.01, 3600), 2)
    .option('--json <file>', 'write the results as JSON');
  return withDevice(command).action(fusion);
}
