import { UserError } from '../errors.ts';

/** A count of bytes for people: "151.0 MB" (decimal units, as disk and driver tools print them). */
export function formatBytes(bytes: number): string {
  if (bytes < 1e3) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/** Size of the buffer that holds `bytes` bytes. */
export function bufferSize(bytes: number): number {
  return Math.max(16, Math.ceil(bytes / 16) * 16);
}

/** Bytes of released buffers that are kept however few are in use. */
const alwaysKept = 64e6;

/**
 * Device memory of one Gpu: every buffer passes through here, so that the bytes in use and the peak are known
 * and a budget can be kept. Released buffers are kept for the next request of a similar size, as long as they are no more than
 * those in use, or little.
 */
export class MemoryPool {
  /** Bytes of all buffers that exist, pooled ones included. */
  allocated = 0;
  /** Largest value that `allocated` has had. */
  peak = 0;
  /** Upper bound for `allocated`, in bytes. */
  budget: number;

  readonly #device: GPUDevice;
  readonly #free = new Set<GPUBuffer>();
  /** Buffers that the driver had no memory for; it says so only after the call. */
  readonly #broken = new Set<GPUBuffer>();
  #failure: UserError | undefined;

  constructor(device: GPUDevice, budget = Number.POSITIVE_INFINITY) {
    this.#device = device;
    this.budget = budget;
  }

  /**
   * A storage buffer of at least `bytes` bytes; its content is undefined.
   *
   * @throws UserError when the budget or the adapter's largest buffer would be exceeded
   */
  acquire(bytes: number, label: string): GPUBuffer {
    const size = bufferSize(bytes);
    const limit = this.#device.limits.maxBufferSize;
    if (size > limit) {
      throw new UserError(
        `${label} needs one buffer of ${formatBytes(size)}, this adapter allows ${formatBytes(limit)}. Use a smaller --size or --batch.`,
      );
    }
    // A pooled buffer is taken when it wastes less than a quarter: best fit first.
    let best: GPUBuffer | undefined;
    for (const candidate of this.#free) {
      if (candidate.size >= size && candidate.size <= size * 1.25 && (!best || candidate.size < best.size)) best = candidate;
    }
    if (best) {
      this.#free.delete(best);
      best.label = label;
      return best;
    }
    // Sizes that nobody asks for again must not pile up.
    const idle = [...this.#free].reduce((sum, buffer) => sum + buffer.size, 0);
    if (this.allocated + size > this.budget || idle > Math.max(this.allocated - idle + size, alwaysKept)) this.trim();
    if (this.allocated + size > this.budget) {
      throw new UserError(
        `out of the memory budget at ${label}: ${formatBytes(this.allocated)} in use + ${formatBytes(size)} wanted > ` +
          `${formatBytes(this.budget)}. Raise --memory-budget, or use a smaller --size or --batch, or --precision f16.`,
      );
    }
    this.#device.pushErrorScope('out-of-memory');
    const buffer = this.#device.createBuffer({
      label,
      size,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.#device.popErrorScope().then(
      (error) => {
        if (!error) return;
        this.#broken.add(buffer);
        this.#failure ??= new UserError(
          `the adapter has no memory for ${label}: ${formatBytes(this.allocated - size)} in use + ${formatBytes(size)} wanted (${error.message}). ` +
            `Use a smaller --size or --batch, or --precision f16.`,
        );
      },
      // A device that is lost says so itself.
      () => {},
    );
    this.allocated += size;
    this.peak = Math.max(this.peak, this.allocated);
    return buffer;
  }

  /** Gives a buffer back for reuse. The caller must not use it again. */
  release(buffer: GPUBuffer): void {
    if (this.#free.has(buffer)) throw new Error(`${buffer.label} was given back to the memory pool twice`);
    if (this.#broken.delete(buffer)) this.allocated -= buffer.size;
    else this.#free.add(buffer);
  }

  /** The driver's refusal of an earlier `acquire`, once. */
  takeFailure(): UserError | undefined {
    const failure = this.#failure;
    this.#failure = undefined;
    return failure;
  }

  /** Destroys the pooled buffers that nobody holds. */
  trim(): void {
    for (const buffer of this.#free) {
      this.allocated -= buffer.size;
      buffer.destroy();
    }
    this.#free.clear();
  }
}
