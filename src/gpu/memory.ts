import { UserError } from '../errors.ts';

/** A count of bytes for people: "151.0 MB" (decimal units, as disk and driver tools print them). */
export function formatBytes(bytes: number): string {
  if (bytes < 1e3) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/**
 * Device memory of one Gpu: every buffer passes through here, so that the bytes in use and the peak are known
 * and a budget can be kept. Released buffers are kept for the next request of a similar size.
 */
export class MemoryPool {
  /** Bytes of all buffers that exist, pooled ones included. */
  allocated = 0;
  /** Largest value that `allocated` has had. */
  peak = 0;
  /** Upper bound for `allocated`, in bytes. */
  budget: number;

  readonly #device: GPUDevice;
  readonly #free: GPUBuffer[] = [];

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
    const size = Math.max(16, Math.ceil(bytes / 16) * 16);
    const limit = this.#device.limits.maxBufferSize;
    if (size > limit) {
      throw new UserError(
        `${label} needs one buffer of ${formatBytes(size)}, this adapter allows ${formatBytes(limit)}. Use a smaller --size or --batch.`,
      );
    }
    // A pooled buffer is taken when it wastes less than a quarter: best fit first.
    let best = -1;
    for (let i = 0; i < this.#free.length; i++) {
      const candidate = this.#free[i].size;
      if (candidate >= size && candidate <= size * 1.25 && (best < 0 || candidate < this.#free[best].size)) best = i;
    }
    if (best >= 0) {
      const [buffer] = this.#free.splice(best, 1);
      buffer.label = label;
      return buffer;
    }
    if (this.allocated + size > this.budget) this.trim();
    if (this.allocated + size > this.budget) {
      throw new UserError(
        `out of the memory budget at ${label}: ${formatBytes(this.allocated)} in use + ${formatBytes(size)} wanted > ` +
          `${formatBytes(this.budget)}. Raise --memory-budget, or use a smaller --size or --batch, or --precision f16.`,
      );
    }
    const buffer = this.#device.createBuffer({
      label,
      size,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.allocated += size;
    this.peak = Math.max(this.peak, this.allocated);
    return buffer;
  }

  /** Gives a buffer back for reuse. The caller must not use it again. */
  release(buffer: GPUBuffer): void {
    this.#free.push(buffer);
  }

  /** Destroys the pooled buffers that nobody holds. */
  trim(): void {
    for (const buffer of this.#free) {
      this.allocated -= buffer.size;
      buffer.destroy();
    }
    this.#free.length = 0;
  }
}
