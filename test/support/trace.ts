import * as assert from 'uvu/assert';
import type { TraceEvent } from '../../src/report/trace.ts';

/** Fails unless a trace is one that viewers read: known phases, times that never go back, and events of a track inside each other or apart. */
export function assertTrace(events: readonly TraceEvent[]): void {
  let last = 0;
  const open = new Map<string, number[]>();
  for (const { ph, pid, tid, ts, dur, name } of events) {
    assert.ok(['X', 'C', 'M'].includes(ph), ph);
    assert.ok(Number.isInteger(pid) && Number.isInteger(tid) && typeof name === 'string' && name !== '');
    assert.ok(ts >= last, `${name} at ${ts} follows ${last}`);
    last = ts;
    if (ph !== 'X') continue;
    assert.ok(dur! >= 0, name);
    const ends = open.get(`${pid}/${tid}`) ?? [];
    open.set(`${pid}/${tid}`, ends);
    // A nanosecond is the finest that viewers tell apart.
    const nanosecond = 1e-3;
    while (ends.length && ends.at(-1)! <= ts + nanosecond / 2) ends.pop();
    if (ends.length) assert.ok(ts + dur! <= ends.at(-1)! + nanosecond / 2, `${name} ends after what it began in`);
    ends.push(ts + dur!);
  }
}
