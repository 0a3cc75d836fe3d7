import { Command } from 'commander';
import { createRequire } from 'node:module';
import { selfCheck } from '../bench/self_check.ts';
import { Gpu, listAdapters } from '../gpu/device.ts';
import { formatBytes } from '../gpu/memory.ts';
import { configureVariants, variantsOf } from '../tensor/variants.ts';
import { type DeviceFlags, gpuOptions, variantPolicy, withDevice } from './options.ts';

/** Limits that decide what fits on a device. */
const shownLimits = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize', 'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupsPerDimension', 'maxStorageBuffersPerShaderStage'] as const;

async function doctor(flags: DeviceFlags): Promise<void> {
  const print = (name: string, value: string): void => void process.stdout.write(`${name.padEnd(34)}${value}\n`);
  const version = (name: string): string => (createRequire(import.meta.url)(`${name}/package.json`) as { version: string }).version;
  print('Node', `${process.version} on ${process.platform} ${process.arch}`);
  print('Dawn (webgpu on npm)', version('webgpu'));
  for (const variable of ['MFP_CLIP_ADAPTER', 'VK_DRIVER_FILES', 'VK_ICD_FILENAMES', 'VK_ADD_DRIVER_FILES', 'MFP_CLIP_CACHE']) if (process.env[variable]) print(variable, process.env[variable]!);
  const names = await listAdapters();
  print('Adapters', names.length ? names.join('; ') : 'none');
  // Throws with what to do when no adapter answers.
  const gpu = await Gpu.open(gpuOptions(flags));
  try {
    configureVariants(gpu, variantPolicy(flags));
    const { adapter, device } = gpu;
    print('Chosen', gpu.key);
    print('Kind', adapter.software ? 'software: it runs on the CPU' : 'GPU');
    print('Subgroups', gpu.subgroups ? `${adapter.subgroupMinSize === adapter.subgroupMaxSize ? adapter.subgroupMinSize : `${adapter.subgroupMinSize} to ${adapter.subgroupMaxSize}`} lanes` : 'no: the workgroup-memory variants run');
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
    const table = variantsOf(gpu);
    for (const { op, shapeClass, variant, reason } of table.chosen.values()) if (reason !== 'only one') print(op, `${variant} (${reason}${reason === 'measured' ? `, ${shapeClass}` : ''})`);
    if (flags.variants === 'measure') print('Measured choices are kept in', table.file);
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
