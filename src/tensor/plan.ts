/** The life of one intermediate: from the dispatch that first touches it to the one that last does, both included. */
export interface Lifetime {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

/** Which buffer each intermediate gets. */
export interface MemoryPlan {
  /** Bytes of each shared buffer. */
  readonly slots: readonly number[];
  /** For each intermediate, its buffer. */
  readonly assignment: readonly number[];
  /** Bytes of all slots: what the program needs beside weights and inputs. */
  readonly bytes: number;
  /** Bytes of the intermediates that are alive at each moment. */
  readonly alive: readonly number[];
  /** The largest of `alive`: no plan can need less. */
  readonly lowerBound: number;
}

/**
 * Shares buffers between intermediates whose lives do not overlap: largest first, each into the first buffer that
 * is free for its whole life ("greedy by size" for shared objects, as in TensorFlow Lite's memory planner).
 * Whole buffers and not parts of one arena, because WebGPU forbids one buffer to be read and written in one dispatch.
 */
export function planMemory(lifetimes: readonly Lifetime[]): MemoryPlan {
  const order = lifetimes.map((_, i) => i).sort((a, b) => lifetimes[b].bytes - lifetimes[a].bytes || lifetimes[a].first - lifetimes[b].first || a - b);
  const slots: number[] = [];
  const tenants: number[][] = [];
  const assignment: number[] = new Array(lifetimes.length).fill(-1);
  for (const i of order) {
    const { bytes, first, last } = lifetimes[i];
    let slot = tenants.findIndex((others) => others.every((j) => lifetimes[j].last < first || last < lifetimes[j].first));
    if (slot < 0) {
      slot = slots.length;
      slots.push(bytes);
      tenants.push([]);
    }
    tenants[slot].push(i);
    assignment[i] = slot;
  }
  const moments = lifetimes.reduce((end, { last }) => Math.max(end, last + 1), 0);
  const alive: number[] = new Array(moments).fill(0);
  for (const { bytes, first, last } of lifetimes) for (let moment = first; moment <= last; moment++) alive[moment] += bytes;
  return { slots, assignment, bytes: slots.reduce((a, b) => a + b, 0), alive, lowerBound: alive.reduce((most, bytes) => Math.max(most, bytes), 0) };
}
