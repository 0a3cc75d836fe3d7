import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NO_BIN, SCORE_BINS, lowestScore, scoreKey } from '../../src/eval/score_key.ts';
import { randomValues } from '../support/gpu.ts';

const floats = new Float32Array(1);
const words = new Uint32Array(floats.buffer);

/** The largest f32 below a positive one. */
function below(value: number): number {
  floats[0] = value;
  words[0]--;
  return floats[0];
}

test('the key rises with the score: every bin begins at its lowest score and ends just below the next', () => {
  let bin = 0;
  let used = 1;
  // From edge to edge over all of [0, 1]: the key is constant between two edges, so this covers every f32.
  while (bin < SCORE_BINS - 1) {
    const edge = lowestScore(bin + 1);
    floats[0] = edge;
    assert.is(floats[0], edge, `the lowest score of bin ${bin + 1} is not an f32`);
    assert.is(scoreKey(below(edge)), bin, `just below ${edge}`);
    const next = scoreKey(edge);
    assert.ok(next > bin, `bin ${next} at ${edge} follows bin ${bin}`);
    // Bins that are finer than f32 have no score.
    for (let empty = bin + 1; empty < next; empty++) assert.is(lowestScore(empty), edge, `empty bin ${empty}`);
    bin = next;
    used++;
  }
  assert.is(used, SCORE_BINS - 8192);
  assert.is(scoreKey(0), 0);
  assert.is(scoreKey(1), SCORE_BINS - 1);
});

test('the key is constant between the edges', () => {
  const scores = randomValues(20000, 1, 12).map((value) => 1 / (1 + Math.exp(-value)));
  for (const score of scores) {
    const bin = scoreKey(score);
    assert.ok(lowestScore(bin) <= score, `${score} is below its bin ${bin}`);
    if (bin + 1 < SCORE_BINS) assert.ok(score < lowestScore(bin + 1), `${score} is above its bin ${bin}`);
  }
});

test('bins are as fine as documented', () => {
  for (const score of randomValues(20000, 2, 10).map((value) => 1 / (1 + Math.exp(-value)))) {
    const bin = scoreKey(score);
    if (bin === 0 || bin === SCORE_BINS - 1) continue;
    const width = lowestScore(bin + 1) - lowestScore(bin);
    const distance = Math.min(score, 1 - score);
    // f32 itself has steps of 2^-24 close to 1.
    assert.ok(width <= Math.max(Math.min(2 ** -14, distance * 2 ** -9 * 1.01), 2 ** -24), `the bin of ${score} is ${width} wide`);
    if (distance > 2 ** -3) assert.ok(width <= distance * 2 ** -11.9);
  }
});

test('what is outside of [0, 1] counts as the end that it is beyond, and NaN has no bin', () => {
  assert.is(scoreKey(-0), 0);
  assert.is(scoreKey(-3), 0);
  assert.is(scoreKey(Number.NEGATIVE_INFINITY), 0);
  assert.is(scoreKey(1e-45), 0);
  assert.is(scoreKey(1.5), SCORE_BINS - 1);
  assert.is(scoreKey(Number.POSITIVE_INFINITY), SCORE_BINS - 1);
  assert.is(scoreKey(Number.NaN), NO_BIN);
});

test.run();
