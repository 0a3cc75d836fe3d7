import type { Gpu } from '../gpu/device.ts';
import { type DType, decode, dtypeBytes, encode } from './dtype.ts';

/** Sizes of a tensor's axes, outermost first; always contiguous, row-major. */
export type Shape = readonly number[];

/** Number of elements of a shape; 1 for a scalar. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A shape as people write it: "[2, 77, 512]". */
export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/**
 * Where a tensor's bytes are. Persistent storage (weights, inputs, results that outlive a run) has its buffer
 * from the start. Planned storage is an intermediate of a recording: the memory plan gives it a buffer, which
 * it shares with intermediates that live at other times.
 */
export class Storage {
  readonly bytes: number;
  readonly persistent: boolean;
  label: string;
  buffer: GPUBuffer | undefined;

  constructor(bytes: number, label: string, buffer?: GPUBuffer, persistent = buffer !== undefined) {
    this.bytes = bytes;
    this.label = label;
    this.buffer = buffer;
    this.persistent = persistent;
  }
}

/** An n-dimensional array on the GPU: shape, element type and a slice of a buffer. Holds no numbers itself. */
export class Tensor {
  readonly shape: Shape;
  readonly dtype: DType;
  readonly storage: Storage;
  /** First element inside the storage. */
  readonly offset: number;
  /** True when gradients flow into or through this tensor; set by `asParameter` and by the tape. */
  requiresGradient = false;

  constructor(shape: Shape, dtype: DType, storage: Storage, offset = 0) {
    this.shape = shape;
    this.dtype = dtype;
    this.storage = storage;
    this.offset = offset;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  get bytes(): number {
    return this.size * dtypeBytes[this.dtype];
  }

  get label(): string {
    return this.storage.label;
  }

  /** Names the tensor for errors, profiles and Dawn's messages; returns it. */
  named(label: string): this {
    this.storage.label = label;
    if (this.storage.buffer) this.storage.buffer.label = label;
    return this;
  }

  toString(): string {
    return `${this.label} ${this.dtype}${formatShape(this.shape)}`;
  }
}

/**
 * A persistent tensor with undefined content: an input that is written before each run, or a place for state.
 *
 * @param shape sizes of the axes
 */
export function emptyTensor(gpu: Gpu, shape: Shape, dtype: DType = 'f32', label = 'tensor'): Tensor {
  const bytes = sizeOf(shape) * dtypeBytes[dtype];
  const storage = new Storage(bytes, label, gpu.memory.acquire(bytes, label));
  return new Tensor([...shape], dtype, storage);
}

/** A persistent tensor holding `values` (converted to `dtype`). */
export function tensor(gpu: Gpu, values: ArrayLike<number>, shape: Shape, dtype: DType = 'f32', label = 'tensor'): Tensor {
  const result = emptyTensor(gpu, shape, dtype, label);
  writeTensor(gpu, result, values);
  return result;
}

/** A persistent tensor without memory: a weight or an input of a program that is only planned (`Program.plan`). */
export function declaredTensor(shape: Shape, dtype: DType, label: string): Tensor {
  return new Tensor([...shape], dtype, new Storage(sizeOf(shape) * dtypeBytes[dtype], label, undefined, true));
}

/** Makes a persistent tensor: with memory (`emptyTensor`), or declared for a plan (`declaredTensor`). */
export type MakeTensor = (shape: Shape, dtype: DType, label: string) => Tensor;

/** Marks a persistent tensor as trained: the tape records what is computed from it. Returns it. */
export function asParameter(parameter: Tensor): Tensor {
  parameter.requiresGradient = true;
  return parameter;
}

/** Overwrites a persistent tensor. */
export function writeTensor(gpu: Gpu, target: Tensor, values: ArrayLike<number>): void {
  if (values.length !== target.size) {
    throw new Error(`${target.toString()} takes ${target.size} values, got ${values.length}`);
  }
  checkEnd(target, target.offset, target.size, 'write');
  gpu.write(bufferOf(target), encode(values, target.dtype), target.offset * dtypeBytes[target.dtype]);
}

/** @throws Error when a part of a storage ends inside of 4 bytes, and more follows: it would be written over */
function checkEnd(target: Tensor, start: number, count: number, verb: string): void {
  const end = (start + count) * dtypeBytes[target.dtype];
  if (end % 4 && end < target.storage.bytes) throw new Error(`cannot ${verb} ${count} elements of ${target.toString()} from element ${start} of its storage: WebGPU moves multiples of 4 bytes, and the element after them would be lost`);
}

/** Reads a tensor's values back as f32. For a program's tensors: only its outputs keep their content. */
export async function readTensor(gpu: Gpu, source: Tensor): Promise<Float32Array> {
  return decode(await gpu.read(bufferOf(source), source.offset * dtypeBytes[source.dtype], source.bytes), source.dtype);
}

/** A new persistent tensor with the content that `source` has after all work submitted before. */
export function copyOf(gpu: Gpu, source: Tensor, label: string): Tensor {
  const result = emptyTensor(gpu, source.shape, source.dtype, label);
  copyTensor(gpu, source, result);
  return result;
}

/**
 * Copies a tensor's content into a persistent one of the same type.
 *
 * @param targetElement where in `target` to start, in elements: one image's place in a batch
 * @throws Error when it does not begin at a multiple of 4 bytes, or ends elsewhere with more behind it
 */
export function copyTensor(gpu: Gpu, source: Tensor, target: Tensor, targetElement = 0): void {
  const width = dtypeBytes[source.dtype];
  const start = (target.offset + targetElement) * width;
  if (start % 4 !== 0) throw new Error(`cannot copy ${source.toString()} to element ${targetElement} of ${target.toString()}: WebGPU copies from and to multiples of 4 bytes only`);
  checkEnd(target, target.offset + targetElement, source.size, 'copy into');
  const encoder = gpu.device.createCommandEncoder({ label: `copy ${source.label}` });
  encoder.copyBufferToBuffer(bufferOf(source), source.offset * width, bufferOf(target), start, Math.ceil(source.bytes / 4) * 4);
  gpu.device.queue.submit([encoder.finish()]);
}

/** Sets persistent tensors to zero. */
export function clearTensors(gpu: Gpu, tensors: Iterable<Tensor>): void {
  const encoder = gpu.device.createCommandEncoder({ label: 'clear' });
  for (const target of tensors) {
    checkEnd(target, target.offset, target.size, 'clear');
    encoder.clearBuffer(bufferOf(target), target.offset * dtypeBytes[target.dtype], Math.ceil(target.bytes / 4) * 4);
  }
  gpu.device.queue.submit([encoder.finish()]);
}

/** Gives a persistent tensor's memory back to the pool. It must not be used again. */
export function freeTensor(gpu: Gpu, unused: Tensor): void {
  if (unused.storage.persistent && unused.storage.buffer) gpu.memory.release(unused.storage.buffer);
  unused.storage.buffer = undefined;
}

/** The buffer behind a tensor. */
export function bufferOf(owner: Tensor): GPUBuffer {
  if (!owner.storage.buffer) {
    throw new Error(`${owner.toString()} has no memory: it was freed, or it is an intermediate of a program that is not compiled`);
  }
  return owner.storage.buffer;
}
