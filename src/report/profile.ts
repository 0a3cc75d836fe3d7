import { median } from 'simple-statistics';
import { formatBytes } from '../gpu/memory.ts';
import type { KernelTime } from '../tensor/program.ts';
import { table } from './table.ts';

/** Kernels that belong together, and what they take. */
export interface ProfileGroup {
  readonly name: string;
  readonly dispatches: number;
  readonly nanoseconds: number;
  /** Largest number of bytes of intermediates that are alive during one of them. */
  readonly aliveBytes: number;
}

/** Adds up kernels by a name that they have in common. @returns in the order of the first of each */
export function groupTimes(times: readonly KernelTime[], nameOf: (time: KernelTime) => string): ProfileGroup[] {
  const groups = new Map<string, ProfileGroup>();
  for (const time of times) {
    const name = nameOf(time);
    const { dispatches, nanoseconds, aliveBytes } = groups.get(name) ?? { dispatches: 0, nanoseconds: 0, aliveBytes: 0 };
    groups.set(name, { name, dispatches: dispatches + 1, nanoseconds: nanoseconds + time.nanoseconds, aliveBytes: Math.max(aliveBytes, time.aliveBytes) });
  }
  return [...groups.values()];
}

/** What autograd puts at the end of a scope: gradients, and forward passes that are computed again for them. */
const directions = ['backward', 'again'];

/**
 * The name of the layer that a kernel belongs to: its scope down to a depth, and in which direction it goes through it.
 *
 * @param depth parts of a scope that make a layer: 2 for "first pass/layer 3"
 */
export function layerOf({ scope }: Pick<KernelTime, 'scope'>, depth: number): string {
  const parts = scope.split('/').filter((part) => part !== '');
  const direction = directions.includes(parts.at(-1)!) ? parts.pop() : undefined;
  const name = parts.slice(0, depth).join('/') || 'outside of layers';
  return direction ? `${name} (${direction})` : name;
}

/** Nanoseconds in which kernels ran. */
export function busyNanoseconds(times: readonly KernelTime[]): number {
  return times.reduce((sum, { nanoseconds }) => sum + nanoseconds, 0);
}

/** Nanoseconds in which none ran although later ones were submitted already. */
export function idleNanoseconds(times: readonly KernelTime[]): number {
  const last = times.at(-1);
  return last ? last.start + last.nanoseconds - busyNanoseconds(times) : 0;
}

/** A run with every kernel timed. */
export interface TimedRun {
  readonly times: readonly KernelTime[];
  /** From the host's call to its results, with what the timing itself takes. */
  readonly wallMilliseconds: number;
}

/** What a command was seen to do. */
export interface Profile {
  /** What was run, for a person: "detect, 1 image of 518 × 518, f32". */
  readonly what: string;
  readonly adapter: string;
  /** Milliseconds of each run from the host's call to its results, with nothing timed inside. */
  readonly wallMilliseconds: readonly number[];
  /** For each of these runs one more with every kernel timed; undefined where the adapter has no timestamps. */
  readonly timedRuns: readonly TimedRun[] | undefined;
  readonly dispatches: number;
  /** Bytes of the buffers that the intermediates share. */
  readonly plannedBytes: number;
  /** Bytes of everything else on the device: weights, inputs, state. */
  readonly otherBytes: number;
}

/** The timed run with the median time in kernels: of an even number the slower of the two in the middle. */
export function typicalRun(timedRuns: readonly TimedRun[]): readonly KernelTime[] {
  return timedRuns.map(({ times }) => times).sort((a, b) => busyNanoseconds(a) - busyNanoseconds(b))[timedRuns.length >> 1];
}

/**
 * Share of the wall time in which no kernel ran, from 0 to 1, median over the runs. Within a timed run, where what is timed and
 * what it is held against are the same, it is too high by what the timing takes; held against plain runs that cost is gone, but
 * what else the machine does shows.
 */
export function sharesOutsideKernels(wallMilliseconds: readonly number[], timedRuns: readonly TimedRun[]): { readonly timed: number; readonly plain: number } {
  const share = ({ times }: TimedRun, wall: number): number => Math.max(0, 1 - busyNanoseconds(times) / 1e6 / wall);
  return { timed: median(timedRuns.map((run) => share(run, run.wallMilliseconds))), plain: median(timedRuns.map((run, i) => share(run, wallMilliseconds[i]))) };
}

/**
 * A profile as text: where the wall time goes, memory, and the tables by kernel and by layer.
 *
 * @param depth parts of a scope that make a layer
 */
export function profileText({ what, adapter, wallMilliseconds, timedRuns, dispatches, plannedBytes, otherBytes }: Profile, depth: number): string {
  const count = wallMilliseconds.length;
  const line = (name: string, value: string, note: string): string => `${name.padEnd(18)}${value.padStart(12)}  ${note}\n`;
  const milliseconds = (nanoseconds: number): string => (nanoseconds / 1e6).toFixed(nanoseconds < 1e8 ? 3 : 1);
  const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
  let text = `${what}, on ${adapter}\n\n`;
  text += line('Wall time', `${median([...wallMilliseconds]).toFixed(1)} ms`, `${count === 1 ? 'one run' : `median of ${count} runs`} from the call to its results`);
  const memory = (peak: string): string => line('Memory', formatBytes(plannedBytes), `of buffers for intermediates${peak}; weights, inputs and state ${formatBytes(otherBytes)}`);
  if (!timedRuns) {
    text += line('Dispatches', String(dispatches), '');
    text += memory('');
    return `${text}\nThe adapter has no timestamp-query: times of kernels and layers, the share of time outside of kernels and --trace cannot be had on it.\n`;
  }
  const times = typicalRun(timedRuns);
  const total = times.reduce((sum, { nanoseconds }) => sum + nanoseconds, 0);
  const busy = busyNanoseconds(times);
  const idle = idleNanoseconds(times);
  text += line('Kernels', `${milliseconds(busy)} ms`, `${times.length} dispatches`);
  const outside = sharesOutsideKernels(wallMilliseconds, timedRuns);
  text += line('Outside kernels', percent(outside.timed), `of the wall time of runs with every kernel timed, which costs some itself; ${percent(outside.plain)} with plain runs as the measure`);
  text += line('Between kernels', percent(idle / (busy + idle)), 'of the time on the adapter, while each kernel is timed in a pass of its own');
  const largest = times.reduce((most, time) => (time.aliveBytes > most.aliveBytes ? time : most));
  text += memory(`, at most ${formatBytes(largest.aliveBytes)} of them alive (${layerOf(largest, Number.POSITIVE_INFINITY)})`);
  const rows = (groups: readonly ProfileGroup[]): string[][] =>
    groups.map(({ name, dispatches: several, nanoseconds, aliveBytes }) => [name, String(several), milliseconds(nanoseconds), percent(nanoseconds / total), formatBytes(aliveBytes)]);
  const byKernel = groupTimes(times, ({ kernel }) => kernel).sort((a, b) => b.nanoseconds - a.nanoseconds);
  text += `\n${table(['kernel', 'dispatches', 'ms', 'share', 'memory'], rows(byKernel))}`;
  text += `\n${table(['layer', 'dispatches', 'ms', 'share', 'memory'], rows(groupTimes(times, (time) => layerOf(time, depth))))}`;
  return text;
}
