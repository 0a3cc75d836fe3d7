import type { KernelTime } from '../tensor/program.ts';

/** One event of Chrome's trace format ("Trace Event Format"); times are in microseconds. */
export interface TraceEvent {
  readonly name: string;
  /** X: an event with a duration. C: a counter. M: a name for a track. */
  readonly ph: 'X' | 'C' | 'M';
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly cat?: string;
  readonly args?: Readonly<Record<string, string | number>>;
}

/** What `chrome://tracing` and Perfetto open. */
export interface ChromeTrace {
  readonly displayTimeUnit: 'ms';
  readonly otherData: Readonly<Record<string, string>>;
  readonly traceEvents: readonly TraceEvent[];
}

const process = 1;
const layerTrack = 1;
const kernelTrack = 2;

/**
 * The kernels of a run as a trace: one track with the kernels, one with the layers that they belong to (parts of the model
 * inside each other, from their first kernel to their last), and device memory as a counter.
 *
 * @param about shown by the viewer: the adapter, the command
 * @param otherBytes device memory beside the intermediates: weights, inputs
 */
export function chromeTrace(times: readonly KernelTime[], about: Readonly<Record<string, string>>, otherBytes: number): ChromeTrace {
  const events: TraceEvent[] = [];
  // Layers that are not over yet, outermost first. They enter the list when they begin, so that the outer one of two with the
  // same times comes first.
  const open: { name: string; ts: number; dur: number }[] = [];
  let now = 0;
  /** Ends the innermost layers until `depth` are left. */
  const close = (depth: number): void => {
    for (const layer of open.splice(depth)) layer.dur = now / 1000 - layer.ts;
  };
  for (const { kernel, op, scope, variant, start, nanoseconds, aliveBytes } of times) {
    const parts = scope.split('/').filter((part) => part !== '');
    let shared = 0;
    while (shared < open.length && shared < parts.length && open[shared].name === parts[shared]) shared++;
    close(shared);
    for (const name of parts.slice(shared)) {
      const layer = { name, cat: 'layer', ph: 'X' as const, pid: process, tid: layerTrack, ts: start / 1000, dur: 0 };
      open.push(layer);
      events.push(layer);
    }
    events.push({ name: kernel, cat: 'kernel', ph: 'X', pid: process, tid: kernelTrack, ts: start / 1000, dur: nanoseconds / 1000, args: { op, variant, scope } });
    events.push({ name: 'device memory', ph: 'C', pid: process, tid: 0, ts: start / 1000, args: { intermediates: aliveBytes, 'weights and inputs': otherBytes } });
    now = start + nanoseconds;
  }
  close(0);
  // What begins at the same time and takes longer is outside.
  events.sort((a, b) => a.ts - b.ts || (b.dur ?? 0) - (a.dur ?? 0));
  const name = (kind: string, tid: number, text: string): TraceEvent => ({ name: kind, ph: 'M', pid: process, tid, ts: 0, args: { name: text } });
  return {
    displayTimeUnit: 'ms',
    otherData: about,
    traceEvents: [name('process_name', 0, about.adapter ?? 'GPU'), name('thread_name', layerTrack, 'layers'), name('thread_name', kernelTrack, 'kernels'), ...events],
  };
}
