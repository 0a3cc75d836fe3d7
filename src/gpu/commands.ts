import { type Gpu } from './device.ts';
import type { KernelBinding, ParamField } from './kernels.ts';
import { type CompiledKernel, type PipelineKey, pipelineName } from './pipelines.ts';

/** A piece of a buffer to bind. */
export interface BufferSlice {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly size: number;
  /** Element type of the tensor in it, checked against the WGSL. */
  readonly dtype: 'f32' | 'f16' | 'u32' | 'u8';
  /** What the tensor is, for error messages. */
  readonly description: string;
}

/** A dispatch before its pipeline is compiled. */
export interface DispatchRequest extends PipelineKey {
  readonly slices: Readonly<Record<string, BufferSlice>>;
  readonly params: Readonly<Record<string, number>>;
  readonly workgroups: readonly [number, number?, number?];
}

/** A dispatch that only has to be encoded. */
export interface BoundDispatch {
  readonly name: string;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
}

/** Dispatches with all that they hold on the device, to be replayed any number of times. */
export interface BoundSequence {
  readonly dispatches: readonly BoundDispatch[];
  /** Holds the `Params` of every dispatch. */
  readonly uniforms: GPUBuffer | undefined;
}

/** Dispatches in one submission: enough to hide its cost, few enough that the GPU starts while the rest is encoded. */
const dispatchesPerSubmission = 256;
/** Timestamp pairs in one query set; WebGPU allows 4096 queries. */
const timingsPerQuerySet = 2048;

function describe(request: DispatchRequest): string {
  const slices = Object.entries(request.slices).map(([name, slice]) => `${name} = ${slice.description}`);
  return `${pipelineName(request)} (${slices.join(', ')})`;
}

function packParams(fields: readonly ParamField[], values: Readonly<Record<string, number>>, what: () => string): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(Math.max(16, Math.ceil((fields.length * 4) / 16) * 16)));
  const known = new Set(fields.map((field) => field.name));
  for (const name of Object.keys(values)) if (!known.has(name)) throw new Error(`${what()}: its Params have no field ${name}`);
  fields.forEach(({ name, type }, i) => {
    const value = values[name];
    if (value === undefined) throw new Error(`${what()}: no value for Params.${name}`);
    if (type === 'f32') view.setFloat32(4 * i, value, true);
    else if (!Number.isInteger(value) || value > 0xffffffff || value < (type === 'u32' ? 0 : -0x80000000)) {
      throw new Error(`${what()}: Params.${name} = ${value} is not a ${type}`);
    } else if (type === 'u32') view.setUint32(4 * i, value, true);
    else view.setInt32(4 * i, value, true);
  });
  return view.buffer;
}

function checkBinding(binding: KernelBinding, slice: BufferSlice | undefined, what: () => string): BufferSlice {
  if (!slice) throw new Error(`${what()}: nothing is bound to ${binding.name}`);
  // Bytes are read as packed u32 words.
  const element = slice.dtype === 'u8' ? 'u32' : slice.dtype;
  if (element !== binding.element) {
    throw new Error(`${what()}: ${binding.name} holds ${binding.element} in the kernel, but the tensor is ${slice.description}`);
  }
  return slice;
}

/**
 * Compiles the pipelines of a sequence side by side and makes its bind groups and uniforms.
 *
 * @throws Error naming the kernel and its tensors when a binding is missing, of another type, too large for the
 *   adapter, or written while it is read
 */
export async function bindSequence(gpu: Gpu, requests: readonly DispatchRequest[], label: string): Promise<BoundSequence> {
  gpu.check();
  const { device } = gpu;
  const limits = device.limits;
  const compiled: CompiledKernel[] = await Promise.all(requests.map((request) => gpu.pipelines.get(request)));

  const stride = Math.max(256, limits.minUniformBufferOffsetAlignment);
  const uniformOffsets = new Map<string, number>();
  const blocks: ArrayBuffer[] = [];
  const places = requests.map((request, i) => {
    const block = packParams(compiled[i].kernel.params, request.params, () => describe(request));
    const key = Buffer.from(block).toString('latin1');
    let offset = uniformOffsets.get(key);
    if (offset === undefined) {
      if (block.byteLength > stride) throw new Error(`${describe(request)}: Params has more than ${stride / 4} fields`);
      offset = blocks.length * stride;
      uniformOffsets.set(key, offset);
      blocks.push(block);
    }
    return { offset, size: block.byteLength };
  });
  let uniforms: GPUBuffer | undefined;
  if (blocks.length) {
    const bytes = new Uint8Array(blocks.length * stride);
    blocks.forEach((block, i) => bytes.set(new Uint8Array(block), i * stride));
    uniforms = device.createBuffer({ label: `${label} params`, size: bytes.byteLength, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    gpu.write(uniforms, bytes);
  }

  const bind = (request: DispatchRequest, i: number): BoundDispatch => {
    const what = (): string => describe(request);
    const { kernel, pipeline, layout } = compiled[i];
    const declared = new Set(kernel.bindings.map((binding) => binding.name));
    for (const name of Object.keys(request.slices)) if (!declared.has(name)) throw new Error(`${what()}: the kernel has no binding ${name}`);
    const written: BufferSlice[] = [];
    const read = new Set<GPUBuffer>();
    const entries: GPUBindGroupEntry[] = [];
    if (kernel.params.length) entries.push({ binding: 0, resource: { buffer: uniforms!, offset: places[i].offset, size: places[i].size } });
    for (const binding of kernel.bindings) {
      const slice = checkBinding(binding, request.slices[binding.name], what);
      const size = Math.ceil(slice.size / 4) * 4;
      if (size > limits.maxStorageBufferBindingSize) {
        throw new Error(`${what()}: ${binding.name} takes ${size} bytes, this adapter binds at most ${limits.maxStorageBufferBindingSize}`);
      }
      if (slice.offset % limits.minStorageBufferOffsetAlignment !== 0) {
        throw new Error(`${what()}: ${binding.name} starts at byte ${slice.offset}, this adapter wants a multiple of ${limits.minStorageBufferOffsetAlignment}`);
      }
      if (binding.access === 'read') read.add(slice.buffer);
      else {
        const other = written.find(({ buffer, offset, size: otherSize }) => buffer === slice.buffer && offset < slice.offset + size && slice.offset < offset + otherSize);
        if (other) throw new Error(`${what()}: two bindings write the same bytes of ${slice.buffer.label}`);
        written.push(slice);
      }
      entries.push({ binding: binding.binding, resource: { buffer: slice.buffer, offset: slice.offset, size } });
    }
    for (const { buffer } of written) if (read.has(buffer)) throw new Error(`${what()}: one buffer (${buffer.label}) is read and written in the same dispatch`);
    const [x, y = 1, z = 1] = request.workgroups;
    for (const count of [x, y, z]) {
      if (!Number.isInteger(count) || count < 1 || count > limits.maxComputeWorkgroupsPerDimension) {
        throw new Error(`${what()}: cannot dispatch ${x} x ${y} x ${z} workgroups; each must be 1 to ${limits.maxComputeWorkgroupsPerDimension}`);
      }
    }
    return { name: what(), pipeline, bindGroup: device.createBindGroup({ label: what(), layout, entries }), workgroups: [x, y, z] };
  };
  try {
    return { dispatches: await gpu.guarded(() => label, () => requests.map(bind)), uniforms };
  } catch (error) {
    uniforms?.destroy();
    throw error;
  }
}

/** Encodes and submits a sequence. Throws what Dawn objects to, naming the kernel. */
export async function runSequence(gpu: Gpu, sequence: BoundSequence, label: string): Promise<void> {
  await gpu.guarded(
    () => label,
    () => {
      for (let start = 0; start < sequence.dispatches.length; start += dispatchesPerSubmission) {
        const encoder = gpu.device.createCommandEncoder({ label });
        const pass = encoder.beginComputePass({ label });
        for (const dispatch of sequence.dispatches.slice(start, start + dispatchesPerSubmission)) {
          pass.setPipeline(dispatch.pipeline);
          pass.setBindGroup(0, dispatch.bindGroup);
          pass.dispatchWorkgroups(...dispatch.workgroups);
        }
        pass.end();
        gpu.device.queue.submit([encoder.finish()]);
      }
    },
  );
}

/** When a dispatch ran on the GPU's own clock, in nanoseconds. None begins before the one before it has ended. */
export interface DispatchSpan {
  /** Since the sequence's first dispatch began. */
  readonly start: number;
  readonly nanoseconds: number;
}

/**
 * Dispatches from the time stamps of their beginnings and ends, in turns. A GPU stamps the beginning of a pass before the barrier at which
 * it waits for the pass before it (Dawn on Vulkan does so at the top of the pipe), and may run both at once: a dispatch counts from the end
 * of those before it, so that no time counts twice and the sum is the time of all.
 */
export function dispatchSpans(stamps: BigUint64Array): DispatchSpan[] {
  const spans: DispatchSpan[] = [];
  let free = stamps[0];
  for (let i = 0; i < stamps.length; i += 2) {
    const start = stamps[i] > free ? stamps[i] : free;
    free = stamps[i + 1] > start ? stamps[i + 1] : start;
    spans.push({ start: Number(start - stamps[0]), nanoseconds: Number(free - start) });
  }
  return spans;
}

/**
 * Runs a sequence with every dispatch timed on the GPU's own clock.
 *
 * @returns when each dispatch ran
 * @throws Error when the adapter has no timestamp queries
 */
export async function traceSequence(gpu: Gpu, sequence: BoundSequence, label: string): Promise<DispatchSpan[]> {
  if (!gpu.timestamps) throw new Error('this adapter has no timestamp-query feature: kernels cannot be timed one by one');
  const parts: { readonly count: number; readonly queries: GPUQuerySet; readonly resolved: GPUBuffer }[] = [];
  for (let start = 0; start < sequence.dispatches.length; start += timingsPerQuerySet) {
    const count = Math.min(timingsPerQuerySet, sequence.dispatches.length - start);
    parts.push({
      count,
      queries: gpu.device.createQuerySet({ label, type: 'timestamp', count: 2 * count }),
      resolved: gpu.device.createBuffer({ label: `${label} timestamps`, size: 16 * count, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC }),
    });
  }
  try {
    // All is submitted before anything is read, so that no gap is there because of the timing.
    await gpu.guarded(
      () => label,
      () => {
        parts.forEach(({ count, queries, resolved }, p) => {
          const encoder = gpu.device.createCommandEncoder({ label });
          sequence.dispatches.slice(p * timingsPerQuerySet, p * timingsPerQuerySet + count).forEach((dispatch, i) => {
            const pass = encoder.beginComputePass({
              label: dispatch.name,
              timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
            });
            pass.setPipeline(dispatch.pipeline);
            pass.setBindGroup(0, dispatch.bindGroup);
            pass.dispatchWorkgroups(...dispatch.workgroups);
            pass.end();
          });
          encoder.resolveQuerySet(queries, 0, 2 * count, resolved, 0);
          gpu.device.queue.submit([encoder.finish()]);
        });
      },
    );
    const stamps = new BigUint64Array(2 * sequence.dispatches.length);
    for (const [p, { count, resolved }] of parts.entries()) {
      const bytes = await gpu.read(resolved, 0, 16 * count);
      stamps.set(new BigUint64Array(bytes.buffer, bytes.byteOffset, 2 * count), 2 * p * timingsPerQuerySet);
    }
    return dispatchSpans(stamps);
  } finally {
    for (const { queries, resolved } of parts) {
      queries.destroy();
      resolved.destroy();
    }
  }
}

/** The nanoseconds of each dispatch alone; as `traceSequence` else. */
export async function timeSequence(gpu: Gpu, sequence: BoundSequence, label: string): Promise<number[]> {
  return (await traceSequence(gpu, sequence, label)).map(({ nanoseconds }) => nanoseconds);
}
