import { SingleBar } from 'cli-progress';

/** Progress of long work on the terminal. */
export interface Progress {
  /** One more item is done. @param note shown beside the bar: a loss, a file */
  step(note?: string): void;
  stop(): void;
}

/** A duration for people: "1h02m", "3m20s", "45s". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const whole = Math.max(0, Math.round(seconds));
  const pad = (value: number): string => String(value).padStart(2, '0');
  if (whole >= 3600) return `${Math.floor(whole / 3600)}h${pad(Math.floor((whole % 3600) / 60))}m`;
  return whole >= 60 ? `${Math.floor(whole / 60)}m${pad(whole % 60)}s` : `${whole}s`;
}

/**
 * A progress bar on standard error with rate and time left; nothing at all when that is not a terminal.
 *
 * @param what one item: "image"
 * @param total number of items
 * @param done items that an earlier run has finished; they do not count for the rate
 */
export function startProgress(what: string, total: number, done = 0): Progress {
  if (!process.stderr.isTTY || total - done < 2) return { step() {}, stop() {} };
  const bar = new SingleBar({
    format: `{bar} {value}/{total} ${what}s | {rate} | {left} left{note}`,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    etaBuffer: 20,
  });
  const start = performance.now();
  let finished = done;
  bar.start(total, done, { rate: '', left: '?', note: '' });
  return {
    step(note) {
      finished++;
      const seconds = (performance.now() - start) / 1000;
      const rate = (finished - done) / seconds;
      bar.update(finished, {
        rate: rate >= 1 ? `${rate.toFixed(1)} ${what}s/s` : `${(1 / rate).toFixed(1)} s/${what}`,
        left: formatDuration((total - finished) / rate),
        note: note ? ` | ${note}` : '',
      });
    },
    stop: () => bar.stop(),
  };
}
