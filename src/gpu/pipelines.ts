import { UserError } from '../errors.ts';
import { type LinkedKernel, linkKernel } from './kernels.ts';
import { dumpShader } from './shader_dump.ts';

/** What is needed to build a compute pipeline. */
export interface PipelineKey {
  /** Module path inside `kernels/` without ending. */
  readonly kernel: string;
  /** `@if` conditions that are on. */
  readonly conditions?: Readonly<Record<string, boolean>>;
  /** Values of `override` constants, by name. */
  readonly constants?: Readonly<Record<string, number>>;
}

/** A compiled kernel: the pipeline and the layout that its bind groups follow. */
export interface CompiledKernel {
  readonly kernel: LinkedKernel;
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Text that names a pipeline in errors, labels and caches: `gemm/tiled [bias,f16] {TILE_ROWS:64}`. */
export function pipelineName(key: PipelineKey): string {
  const conditions = Object.keys(key.conditions ?? {}).filter((name) => key.conditions![name]).sort();
  const constants = Object.entries(key.constants ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return (
    key.kernel +
    (conditions.length ? ` [${conditions.join(',')}]` : '') +
    (constants.length ? ` {${constants.map(([name, value]) => `${name}:${value}`).join(',')}}` : '')
  );
}

/**
 * Compiles kernels asynchronously, each once per device. Requests that arrive together compile side by side:
 * Dawn hands them to its worker threads.
 */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #dumpFolder: string | undefined;
  readonly #compiled = new Map<string, Promise<CompiledKernel>>();

  /** @param dumpFolder gets the WGSL of each pipeline before it is compiled, so that one that does not compile is there, too */
  constructor(device: GPUDevice, dumpFolder?: string) {
    this.#device = device;
    this.#dumpFolder = dumpFolder;
  }

  /** @throws Error naming the kernel, with the compiler's message, when the WGSL is refused; UserError when the adapter lacks f16 */
  get(key: PipelineKey): Promise<CompiledKernel> {
    const name = pipelineName(key);
    let entry = this.#compiled.get(name);
    if (!entry) {
      entry = this.#compile(name, key);
      this.#compiled.set(name, entry);
    }
    return entry;
  }

  /** Every pipeline compiled so far, by name. */
  async all(): Promise<Map<string, CompiledKernel>> {
    const result = new Map<string, CompiledKernel>();
    for (const [name, entry] of this.#compiled) result.set(name, await entry);
    return result;
  }

  async #compile(name: string, key: PipelineKey): Promise<CompiledKernel> {
    const kernel = await linkKernel(key.kernel, key.conditions ?? {});
    if (this.#dumpFolder !== undefined) await dumpShader(this.#dumpFolder, name, key, kernel);
    const device = this.#device;
    if (/^\s*enable f16;/m.test(kernel.code) && !device.features.has('shader-f16')) {
      throw new UserError(`${name} works on 16-bit numbers, which this adapter does not have (shader-f16). Use --precision f32, or another --adapter.`);
    }
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label: name, code: kernel.code });
    const layout = device.createBindGroupLayout({
      label: name,
      entries: [
        ...(kernel.params.length
          ? [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'uniform' as const } }]
          : []),
        ...kernel.bindings.map((binding) => ({
          binding: binding.binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: binding.access === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
        })),
      ],
    });
    const pipelineLayout = device.createPipelineLayout({ label: name, bindGroupLayouts: [layout] });
    const problem = device.popErrorScope();
    try {
      const pipeline = await device.createComputePipelineAsync({
        label: name,
        layout: pipelineLayout,
        compute: { module, entryPoint: 'main', constants: { ...key.constants } },
      });
      const error = await problem;
      if (error) throw new Error(error.message);
      return { kernel, pipeline, layout };
    } catch (error) {
      // The scope's message is the compiler's, with the line at fault; the other one only says that the module is invalid.
      const scope = await problem;
      throw new Error(`kernel ${name} does not compile: ${scope?.message ?? (error as Error).message}`, { cause: error });
    }
  }
}
