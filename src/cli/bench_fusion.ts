import { Command, InvalidArgumentError, Option } from 'commander';
import { fusionStudies } from '../bench/fusion/studies.ts';
import { type FusionResult, type FusionStudy, type SideResult, runStudy } from '../bench/fusion/study.ts';
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
  readonly shapes?: readonly (readonly number[])[];
  readonly precision: readonly ('f32' | 'f16')[];
  readonly pass: 'forward' | 'backward' | 'both';
  readonly seconds: number;
  readonly json?: string;
}

function shapeList(text: string): number[][] {
  return text.split(',').map((shape) => {
    const sizes = shape.trim().split('x').map(Number);
    if (sizes.some((size) => !Number.isSafeInteger(size) || size < 1)) throw new InvalidArgumentError('It must be whole numbers such as 257x16x64.');
    return sizes;
  });
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

async function fusion(names: string[], flags: FusionFlags): Promise<void> {
  const studies = studiesOf(names);
  const { shapes } = flags;
  if (shapes && studies.length !== 1) throw new UserError('--shapes: name the one study that the sizes are for, for example mfp-clip bench fusion attention --shapes 257x16x64');
  for (const sizes of shapes ?? []) {
    const { name, sizeNames } = studies[0];
    if (sizes.length !== sizeNames.length) throw new UserError(`--shapes ${sizes.join('x')}: ${name} takes ${sizeNames.join(' x ')}`);
  }
  await prepareFile('--json', flags.json);
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    configureVariants(gpu, variantPolicy(flags));
    const types = flags.precision.filter((dtype) => dtype === 'f32' || gpu.f16);
    const jobs = studies.flatMap((study) =>
      (shapes?.map((sizes) => ({ name: sizes.join('x'), sizes })) ?? study.cases)
        .filter(({ name }) => flags.case === undefined || name.includes(flags.case))
        .flatMap((given) =>
          study.types
            .filter((dtype) => types.includes(dtype))
            .flatMap((dtype) => [false, true].filter((backward) => (backward ? study.backward && flags.pass !== 'forward' : flags.pass !== 'backward')).map((backward) => ({ study, given, dtype, backward }))),
        ),
    );
    if (!jobs.length) throw new UserError('no case is left with these names and options');
    const results: FusionResult[] = [];
    const progress = startProgress('case', jobs.length);
    for (const { study, given, dtype, backward } of jobs) {
      results.push(await runStudy(gpu, study, given, dtype, backward, { seconds: flags.seconds }));
      progress.step(study.name);
    }
    progress.stop();
    // Before anything is printed: whoever reads that may be gone, and this process with it.
    if (flags.json !== undefined) await writeFileAtomic(flags.json, `${JSON.stringify({ adapter: gpu.key, date: new Date().toISOString(), results }, null, 2)}\n`);
    process.stdout.write(`${gpu.adapter.description || gpu.key}\n\n`);
    for (const { name, fuses } of studies) process.stdout.write(`${name}: ${fuses}\n`);
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
    const differences = results.map(({ difference }) => difference);
    process.stdout.write(`${gpu.timestamps ? 'Times are of the kernels' : 'The adapter has no timestamps: times are on the wall clock'}. In every case kernel and chain gave the same results, at most ${Math.max(...differences).toExponential(1)} of the largest value apart.\n`);
  } finally {
    gpu.close();
  }
}

/** `mfp-clip bench fusion`. */
export function benchFusionCommand(): Command {
  const command = new Command('fusion')
    .description('time each fused kernel against the chain of single steps that it replaces, in turns, after comparing their results')
    .argument('[study...]', `studies to run, of ${[...fusionStudies.keys()].join(', ')}; default: all`)
    .option('--case <text>', 'only cases with this text in their name')
    .option('--shapes <sizes>', 'your own sizes for one study instead of its cases, for example attention --shapes 257x16x64,77x12x64', shapeList)
    .option('--precision <types>', 'f32, f16 or both: f32,f16', typeList, ['f32'])
    .addOption(new Option('--pass <name>', 'which passes to compare').choices(['forward', 'backward', 'both']).default('both'))
    .option('--seconds <s>', 'time for each case, both sides together', numberBetween(0.01, 3600), 2)
    .option('--json <file>', 'write the results as JSON');
  return withDevice(command).action(fusion);
}
