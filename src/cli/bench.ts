import { Command } from 'commander';
import { type BenchResult, benchCase, gigabytes, gigaflops, inType, measureCeilings, rooflineShare, variantsFor } from '../bench/bench.ts';
import { allOps } from '../bench/registry.ts';
import { UserError } from '../errors.ts';
import { Gpu } from '../gpu/device.ts';
import { writeFileAtomic } from '../io/files.ts';
import { table } from '../report/table.ts';
import { type DeviceFlags, gpuOptions, numberBetween, withDevice } from './options.ts';
import { startProgress } from './progress.ts';

interface BenchFlags extends DeviceFlags {
  readonly case?: string;
  readonly reference?: boolean;
  readonly precision: string;
  readonly seconds: number;
  readonly json?: string;
}

async function bench(names: string[], flags: BenchFlags): Promise<void> {
  const ops = await allOps();
  for (const name of names) if (!ops.has(name)) throw new UserError(`there is no op "${name}". There are: ${[...ops.keys()].join(', ')}`);
  const types = flags.precision.split(',').map((type) => {
    if (type !== 'f32' && type !== 'f16') throw new UserError(`--precision ${flags.precision}: it must be f32, f16 or f32,f16`);
    return type as 'f32' | 'f16';
  });
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    const wanted = [...ops.values()].filter(({ name }) => !names.length || names.includes(name));
    const jobs = wanted.flatMap((op) =>
      op.benchCases
        .filter(({ name }) => flags.case === undefined || name.includes(flags.case))
        .flatMap((given) => types.flatMap((type) => inType(given, type) ?? []))
        .flatMap((given) =>
          variantsFor(gpu, op, given)
            .filter((name) => (flags.variant?.[op.name] === undefined ? flags.reference || op.variants.length === 1 || !op.variants.find((variant) => variant.name === name)!.reference : flags.variant[op.name] === name))
            .map((variant) => ({ op, given, variant })),
        ),
    );
    if (!jobs.length) throw new UserError('no benchmark case is left with these names and options');
    const ceilings = await measureCeilings(gpu);
    process.stdout.write(`${gpu.adapter.description || gpu.key}: copy ${ceilings.gigabytes.toFixed(1)} GB/s, multiply-add ${ceilings.gigaflops.toFixed(1)} GFLOP/s\n\n`);
    const results: BenchResult[] = [];
    const progress = startProgress('case', jobs.length);
    for (const { op, given, variant } of jobs) {
      results.push(await benchCase(gpu, op, given, variant, { seconds: flags.seconds }));
      progress.step(op.name);
    }
    progress.stop();
    const rows = results.map((result) => [
      result.op,
      result.case,
      result.variant,
      result.dtype,
      `${result.milliseconds.toPrecision(4)} ± ${result.spread.toPrecision(2)}`,
      result.wallMilliseconds.toPrecision(4),
      gigaflops(result).toFixed(2),
      gigabytes(result).toFixed(2),
      `${(100 * rooflineShare(result, ceilings)).toFixed(0)}%`,
    ]);
    process.stdout.write(table(['op', 'case', 'variant', 'type', 'ms (GPU)', 'ms (wall)', 'GFLOP/s', 'GB/s', 'roofline'], rows));
    if (flags.json) await writeFileAtomic(flags.json, `${JSON.stringify({ adapter: gpu.key, date: new Date().toISOString(), ceilings, results }, null, 2)}\n`);
  } finally {
    gpu.close();
  }
}

/** `mfp-clip bench`. */
export function benchCommand(): Command {
  const command = new Command('bench')
    .description('time kernels at the shapes of ViT-L/14 with 518 × 518 images, against what the adapter can reach')
    .argument('[op...]', 'ops to time; default: all')
    .option('--case <text>', 'only cases with this text in their name')
    .option('--reference', 'time the slow reference variants too')
    .option('--precision <types>', 'f32, f16 or both: f32,f16', 'f32')
    .option('--seconds <s>', 'time for each case', numberBetween(0.01, 3600), 2)
    .option('--json <file>', 'write the results as JSON');
  return withDevice(command).action(bench);
}
