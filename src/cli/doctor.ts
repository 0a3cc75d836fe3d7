import { Command } from 'commander';
import { allOps } from '../bench/registry.ts';
import { selfCheck } from '../bench/self_check.ts';
import { Gpu, dawnVersion, listAdapters } from '../gpu/device.ts';
import { formatBytes } from '../gpu/memory.ts';
import { table } from '../report/table.ts';
import type { Op } from '../tensor/op.ts';
import { type VariantTable, configureVariants, measurementKey } from '../tensor/variants.ts';
import { type DeviceFlags, gpuOptions, variantPolicy, withDevice } from './options.ts';

/** Limits that decide what fits on a device. */
const shownLimits = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupsPerDimension', 'maxStorageBuffersPerShaderStage'] as const;

function print(name: string, value: string): void {
  process.stdout.write(`${name.padEnd(34)}${value}\n`);
}

/** Which kernel variants run and why: what the self-check has just used, and everything that was ever measured on this adapter. */
function explainVariants(gpu: Gpu, variants: VariantTable, ops: ReadonlyMap<string, Op<unknown>>): void {
  const { adapter, dawn, kernels } = measurementKey(gpu);
  const measuring = variants.policy.mode === 'measure';
  process.stdout.write(
    `Kernel variants: ${measuring ? 'the fastest of those that run is measured when an op first meets a shape class, and used from then on' : 'each op\'s fixed table (--variants default)'}.\n` +
      'What --variant names goes first, then what a resumed training run began with.\n',
  );
  if (measuring) {
    print('Measurements', variants.file);
    print('Valid for the adapter and driver', adapter);
    print('... this Dawn', dawn);
    print('... these kernel sources', kernels);
  }
  const times = (milliseconds: Readonly<Record<string, number>>): string =>
    Object.entries(milliseconds).sort(([, a], [, b]) => a - b).map(([name, time]) => `${name} ${time.toPrecision(3)} ms`).join(', ');
  const measured = variants.measurements.map(({ op, dtype, shapeClass, variant, milliseconds, wrong = [] }) => [op, dtype, shapeClass, variant, `measured: ${times(milliseconds)}${wrong.length ? `; other results, not used: ${wrong.join(', ')}` : ''}`]);
  const others = [...variants.chosen.values()].filter(({ reason }) => reason === 'forced' || reason === 'default').map(({ op, shapeClass, variant, reason }) => [op, '', shapeClass, variant, reason === 'forced' ? 'forced by --variant' : 'fixed table']);
  const rows = [...measured, ...others].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  if (!rows.length) return;
  process.stdout.write(`\n${table(['op', 'type', 'shape class', 'variant', 'why'], rows)}\n`);
  const purposes = new Map<string, string[]>();
  for (const name of new Set(rows.map(([op]) => op))) {
    const text = (ops.get(name)?.variants ?? []).map(({ name: variant, purpose, reference }) => `  ${variant}: ${purpose ?? ''}${reference ? ' (reference)' : ''}`).join('\n');
    purposes.set(text, [...(purposes.get(text) ?? []), name]);
  }
  for (const [text, names] of purposes) process.stdout.write(`${names.join(', ')}\n${text}\n`);
}

async function doctor(flags: DeviceFlags): Promise<void> {
  print('Node', `${process.version} on ${process.platform} ${process.arch}`);
  print('Dawn (webgpu on npm)', dawnVersion());
  for (const variable of ['MFP_CLIP_ADAPTER', 'VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES', 'MFP_CLIP_CACHE']) if (process.env[variable]) print(variable, process.env[variable]!);
  const names = await listAdapters();
  print('Adapters', names.length ? names.join('; ') : 'none');
  // Throws with what to do when no adapter answers.
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    const variants = configureVariants(gpu, variantPolicy(flags));
    const { adapter, device } = gpu;
    print('Chosen', gpu.key);
    print('Kind', adapter.software ? 'software: it runs on the CPU' : 'GPU');
    print('Subgroups', gpu.subgroups ? `${adapter.subgroupMinSize === adapter.subgroupMaxSize ? adapter.subgroupMinSize : `${adapter.subgroupMinSize} to ${adapter.subgroupMaxSize}`} lanes` : 'no: the workgroup-memory variants run');
    print(
      'Subgroup matrices',
      adapter.matrixConfigs.map(({ componentType, resultComponentType, M, N, K }) => `${M} x ${N} x ${K} ${componentType} to ${resultComponentType}`).join(', ') ||
        'no: the device lacks chromium-experimental-subgroup-matrix',
    );
    print('16-bit storage (shader-f16)', gpu.f16 ? 'yes: --precision f16 works' : 'no: only --precision f32');
    print('Kernel times (timestamp-query)', gpu.timestamps ? 'yes' : 'no: only wall times can be measured');
    for (const limit of shownLimits) {
      const value = device.limits[limit];
      print(limit, limit.endsWith('Size') ? formatBytes(value) : String(value));
    }
    const checks = await selfCheck(gpu);
    process.stdout.write('\n');
    for (const { op, error, passed } of checks) print(`Self-check of ${op}`, `${passed ? 'passed' : 'FAILED'}: error ${error.toExponential(1)} against float64`);
    process.stdout.write('\n');
    explainVariants(gpu, variants, await allOps());
    if (checks.some(({ passed }) => !passed)) {
      process.stdout.write('\nA kernel gives wrong results on this adapter. Try another with --adapter, or another variant with --variant, and report it with this output.\n');
      process.exitCode = 1;
    }
  } finally {
    gpu.close();
  }
}

/** `mfp-clip doctor`. */
export function doctorCommand(): Command {
  return withDevice(new Command('doctor').description('say which adapter is used and how, and check its kernels')).action(doctor);
}
