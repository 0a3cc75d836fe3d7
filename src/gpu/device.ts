// The declarations of this package name WebGPU's types, so whoever uses them needs these.
/// <reference types="@webgpu/types" preserve="true" />
import { createRequire } from 'node:module';
import { UserError } from '../errors.ts';
import { adviceWithoutAdapter, prepareDriver } from './driver.ts';
import { MemoryPool } from './memory.ts';
import { PipelineCache } from './pipelines.ts';

/** How to open a device. */
export interface GpuOptions {
  /** Part of the adapter's name ("llvmpipe", "NVIDIA"); default: MFP_CLIP_ADAPTER, else the best one. */
  readonly adapter?: string;
  /** Upper bound of device memory in bytes; default: none. */
  readonly memoryBudget?: number;
  /** Folder that gets the final WGSL of every pipeline; default: none is written. */
  readonly dumpShaders?: string;
}

/**
 * One product that an adapter's matrix units compute for a whole subgroup at once:
 * result [M, N] += left [M, K] right [K, N], both factors of the same type.
 */
export interface MatrixConfig {
  readonly componentType: 'f32' | 'f16' | 'u32' | 'i32' | 'u8' | 'i8';
  readonly resultComponentType: MatrixConfig['componentType'];
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** What the adapter says of itself, in the words that reports and caches use. */
export interface AdapterDescription {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** True for an adapter that runs on the CPU (lavapipe, SwiftShader, WARP). */
  readonly software: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  /** Products of its matrix units, the driver's favourite first; empty where the device lacks chromium-experimental-subgroup-matrix. */
  readonly matrixConfigs: readonly MatrixConfig[];
}

/** Features that are used when the adapter has them; none is required. */
const wantedFeatures = ['shader-f16', 'subgroups', 'timestamp-query', 'chromium-experimental-subgroup-matrix'] as const;

/**
 * Dawn's instances. Each must stay strongly referenced for as long as its device lives: when V8 collects one,
 * Dawn dies later with assertions that look like a driver bug. A module-level variable alone is not enough once
 * nothing reads it, so `openGpuCount` reads this one.
 */
const instances = new Set<GPU>();

/** Version of Dawn, as the package `webgpu` has it. */
export function dawnVersion(): string {
  return (createRequire(import.meta.url)('webgpu/package.json') as { version: string }).version;
}

/** Number of devices open in this process. */
export function openGpuCount(): number {
  return instances.size;
}

async function dawn(): Promise<typeof import('webgpu')> {
  // The driver set-up only works before Dawn is loaded, hence the import here and not at the top.
  prepareDriver();
  let module: typeof import('webgpu');
  try {
    module = await import('webgpu');
  } catch (error) {
    throw new UserError(`Dawn's library for ${process.platform}-${process.arch} cannot be loaded (${(error as Error).message}).\n${adviceWithoutAdapter()}`);
  }
  Object.assign(globalThis, module.globals);
  return module;
}

/** Names of the adapters that Dawn sees, best one first. */
export async function listAdapters(): Promise<string[]> {
  const { create } = await dawn();
  const instance = create(['adapter=\u0001none has this name']);
  instances.add(instance);
  try {
    await instance.requestAdapter();
    return [];
  } catch (error) {
    // Dawn's only list of adapters is the text of the error for a name that none has.
    return [...(error as Error).message.matchAll(/name: '([^']*)'/g)].map((match) => match[1]);
  } finally {
    instances.delete(instance);
  }
}

/** What a sleeping event loop waits on; nobody ever wakes it before its time. */
const sleeper = new Int32Array(new SharedArrayBuffer(4));
/** Longest sleep between two polls of a software adapter, in milliseconds. */
const longestPause = 1;

/** A device with its memory pool and pipeline cache: everything that the layers above need of WebGPU. */
export class Gpu {
  readonly device: GPUDevice;
  readonly adapter: AdapterDescription;
  readonly memory: MemoryPool;
  readonly pipelines: PipelineCache;
  /** True when kernels may use 16-bit storage. */
  readonly f16: boolean;
  /** True when kernels may use subgroup operations. */
  readonly subgroups: boolean;
  /** True when kernels can be timed on the GPU's clock. */
  readonly timestamps: boolean;
  readonly #instance: GPU;
  #failure: Error | undefined;
  #closed = false;

  private constructor(instance: GPU, device: GPUDevice, adapter: AdapterDescription, { memoryBudget, dumpShaders }: GpuOptions) {
    this.#instance = instance;
    instances.add(instance);
    this.device = device;
    this.adapter = adapter;
    this.memory = new MemoryPool(device, memoryBudget);
    this.pipelines = new PipelineCache(device, dumpShaders);
    this.f16 = device.features.has('shader-f16');
    this.subgroups = device.features.has('subgroups');
    this.timestamps = device.features.has('timestamp-query');
    device.onuncapturederror = (event) => {
      // Otherwise Dawn prints it, too.
      event.preventDefault();
      this.#failure ??= new Error(`${event.error.constructor.name}: ${event.error.message}`);
    };
    void device.lost.then((info) => {
      if (!this.#closed) {
        this.#failure = new Error(`the device was lost (${info.reason}): ${info.message}. Close other users of the adapter and start again.`);
      }
    });
  }

  /**
   * Opens an adapter with its own limits (WebGPU's defaults are far smaller) and every wanted feature that it has.
   *
   * @throws UserError when no adapter answers or none has the name asked for; the message says what to do
   */
  static async open(options: GpuOptions = {}): Promise<Gpu> {
    const wanted = options.adapter ?? process.env.MFP_CLIP_ADAPTER;
    const { create } = await dawn();
    const instance = create([
      // Without this Dawn rounds timestamps to 0.1 ms, longer than most kernels.
      'disable-dawn-features=timestamp_quantization',
      // Experimental features such as subgroup matrices are "unsafe". NVIDIA's 16-bit numbers are held back because they miss
      // corners of WebGPU's conformance suite; these kernels compute in 32 bits, and the ops' tests and `doctor` check them.
      'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia',
      ...(wanted ? [`adapter=${wanted}`] : []),
    ]);
    let adapter: GPUAdapter | null;
    try {
      adapter = await instance.requestAdapter({ powerPreference: 'high-performance' });
    } catch (error) {
      const names = [...(error as Error).message.matchAll(/name: '([^']*)'/g)].map((match) => match[1]);
      if (wanted && names.length) {
        throw new UserError(`no adapter has "${wanted}" in its name. Available: ${names.join('; ')}. Change --adapter or MFP_CLIP_ADAPTER.`);
      }
      throw new UserError(`no GPU adapter answers (${(error as Error).message}).\n${adviceWithoutAdapter()}`);
    }
    if (!adapter) throw new UserError(`no GPU adapter answers.\n${adviceWithoutAdapter()}`);
    const requiredLimits: Record<string, number> = {};
    for (const name in adapter.limits) {
      const value = (adapter.limits as unknown as Record<string, unknown>)[name];
      if (typeof value === 'number' && !name.startsWith('min')) requiredLimits[name] = value;
    }
    const info = adapter.info as GPUAdapterInfo & { readonly subgroupMatrixConfigs?: readonly MatrixConfig[] };
    const device = await adapter.requestDevice({
      label: 'mfp-clip',
      requiredLimits,
      requiredFeatures: wantedFeatures.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[],
    });
    const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`.toLowerCase();
    return new Gpu(
      instance,
      device,
      {
        vendor: info.vendor,
        architecture: info.architecture,
        device: info.device,
        description: info.description,
        software: /llvmpipe|lavapipe|swiftshader|software|basic render/.test(text),
        subgroupMinSize: info.subgroupMinSize ?? 0,
        subgroupMaxSize: info.subgroupMaxSize ?? 0,
        matrixConfigs: (info.subgroupMatrixConfigs ?? []).map(({ componentType, resultComponentType, M, N, K }) => ({ componentType, resultComponentType, M, N, K })),
      },
      options,
    );
  }

  /** Text under which measurements of this adapter are filed: adapter and driver version. */
  get key(): string {
    const { vendor, architecture, device, description } = this.adapter;
    return [vendor, architecture, device, description].filter((part) => part !== '').join(' | ');
  }

  /** @throws Error when the device was lost or an earlier command failed; UserError when a buffer got no memory */
  check(): void {
    if (this.#closed) throw new Error('this Gpu was closed; open a new one');
    const failure = this.memory.takeFailure() ?? this.#failure;
    if (failure) throw failure;
  }

  /** Runs `work` and throws what Dawn objects to in it, with `what` (kernel and shapes) in the message. */
  async guarded<T>(what: () => string, work: () => T): Promise<T> {
    this.check();
    this.device.pushErrorScope('internal');
    this.device.pushErrorScope('out-of-memory');
    this.device.pushErrorScope('validation');
    let result: T;
    let thrown: unknown;
    try {
      result = work();
    } catch (error) {
      thrown = error;
    }
    const scopes = [this.device.popErrorScope(), this.device.popErrorScope(), this.device.popErrorScope()];
    let errors: (GPUError | null)[];
    try {
      errors = await Promise.all(scopes);
    } catch (error) {
      // Only a lost device does not answer.
      this.check();
      throw new Error(`${what()}: ${(error as Error).message}`, { cause: error });
    }
    if (thrown) throw thrown;
    const [validation, memory, internal] = errors;
    if (memory) throw new UserError(`${what()}: the adapter is out of memory (${memory.message}). Use a smaller --size or --batch, or --precision f16.`);
    // A buffer without memory makes what uses it invalid: the cause goes first.
    this.check();
    const error = validation ?? internal;
    if (error) throw new Error(`${what()}: ${error.message}`);
    return result!;
  }

  /** Copies bytes into a buffer in pieces, so that a large upload never needs a staging copy of its whole size. */
  write(buffer: GPUBuffer, bytes: Uint8Array, offset = 0): void {
    const piece = 1 << 26;
    for (let start = 0; start < bytes.byteLength; start += piece) {
      const part = bytes.subarray(start, start + piece);
      if (part.byteLength % 4 === 0) {
        this.device.queue.writeBuffer(buffer, offset + start, part as Uint8Array<ArrayBuffer>);
      } else {
        const padded = new Uint8Array(Math.ceil(part.byteLength / 4) * 4);
        padded.set(part);
        this.device.queue.writeBuffer(buffer, offset + start, padded);
      }
    }
  }

  /** Reads `bytes` bytes of a buffer back, after all work submitted before. */
  async read(buffer: GPUBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    this.check();
    const size = Math.ceil(bytes / 4) * 4;
    const staging = this.device.createBuffer({
      label: `read back ${buffer.label}`,
      size: Math.max(4, size),
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    try {
      const encoder = this.device.createCommandEncoder({ label: 'read back' });
      encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
      this.device.queue.submit([encoder.finish()]);
      try {
        await this.#leaveCpu(staging.mapAsync(GPUMapMode.READ));
      } catch (error) {
        this.check();
        throw error;
      }
      const result = new Uint8Array(staging.getMappedRange().slice(0, bytes));
      staging.unmap();
      this.check();
      return result;
    } finally {
      staging.destroy();
    }
  }

  /** Waits for all work submitted so far. */
  async finish(): Promise<void> {
    await this.#leaveCpu(this.device.queue.onSubmittedWorkDone());
    this.check();
  }

  /**
   * Waits for work of the adapter. While a promise of Dawn's is open, its binding for Node polls in every turn of the event
   * loop and keeps one core busy with it, a core that an adapter that runs on the CPU could use. So the loop is put to
   * sleep between the polls: for an eighth of the time waited so far, and never so long that other events notice.
   */
  async #leaveCpu<T>(work: Promise<T>): Promise<T> {
    if (!this.adapter.software) return work;
    const start = performance.now();
    let open = true;
    const pause = (): void => {
      if (!open) return;
      Atomics.wait(sleeper, 0, 0, Math.min(longestPause, (performance.now() - start) / 8));
      setImmediate(pause);
    };
    setImmediate(pause);
    try {
      return await work;
    } finally {
      open = false;
    }
  }

  /** Destroys the device and lets go of Dawn, so that Node can leave. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.device.destroy();
    instances.delete(this.#instance);
  }
}
