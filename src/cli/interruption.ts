/** The wish of a person or a cluster that a command ends, while there is something to save first. */
export interface Interruption {
  /** Aborted when it came. */
  readonly signal: AbortSignal;
  /** What the process should end with then: 128 and the signal's number. */
  readonly exitCode: number;
  /** Leaves signals to Node again. */
  ignore(): void;
}

/** Signals that ask for an end. Clusters send SIGTERM some time before they kill. */
const exitCodes = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Waits for SIGINT and SIGTERM; a second SIGINT ends the process at once.
 *
 * @param step what is finished before the end, as the message says it: "this update"
 * @param program who says so
 */
export function awaitInterruption(step: string, program = 'mfp-clip'): Interruption {
  const stop = new AbortController();
  let exitCode = 0;
  const signals = Object.keys(exitCodes) as (keyof typeof exitCodes)[];
  const onSignal = (signal: NodeJS.Signals): void => {
    process.stderr.write(`\n${program}: finishing ${step} and saving; ${signal === 'SIGINT' ? 'interrupt again to leave at once' : 'this takes a moment'}\n`);
    exitCode = exitCodes[signal as keyof typeof exitCodes];
    stop.abort();
    process.once('SIGINT', () => process.exit(exitCodes.SIGINT));
  };
  for (const signal of signals) process.once(signal, onSignal);
  return {
    signal: stop.signal,
    get exitCode() {
      return exitCode;
    },
    ignore() {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
