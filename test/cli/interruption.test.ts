import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { awaitInterruption } from '../../src/cli/interruption.ts';

for (const [signal, exitCode, advice] of [['SIGINT', 130, 'interrupt again to leave at once'], ['SIGTERM', 143, 'this takes a moment']] as const) {
  test(`${signal} asks for an end after the step`, () => {
    const messages: string[] = [];
    const write = process.stderr.write;
    process.stderr.write = (text) => messages.push(String(text)) > 0;
    try {
      const interruption = awaitInterruption('this update');
      assert.not(interruption.signal.aborted);
      process.emit(signal, signal);
      assert.ok(interruption.signal.aborted);
      assert.is(interruption.exitCode, exitCode);
      assert.equal(messages, [`\nmfp-clip: finishing this update and saving; ${advice}\n`]);
      interruption.ignore();
    } finally {
      process.stderr.write = write;
      // The one that would leave at once.
      process.removeAllListeners('SIGINT');
    }
    assert.is(process.listenerCount('SIGTERM'), 0);
  });
}

test.run();
