import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { featureColours } from '../../src/report/paper_figures.ts';
import { principalComponents, project } from '../../src/report/principal_components.ts';
import { randomValues } from '../support/gpu.ts';

const width = 11;
const count = 240;
const norm = (vector: ArrayLike<number>): number => Math.sqrt(Array.from(vector).reduce((sum, value) => sum + value * value, 0));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, value, i) => sum + value * b[i], 0);

/** Orthonormal directions from random ones. */
const directions = (() => {
  const found: number[][] = [];
  for (let i = 0; i < 4; i++) {
    const vector = Array.from(randomValues(width, 40 + i));
    for (const other of found) {
      const along = dot(vector, other);
      vector.forEach((_, k) => (vector[k] -= along * other[k]));
    }
    const length = norm(vector);
    found.push(vector.map((value) => value / length));
  }
  return found;
})();

/** Rows that spread along the directions with the given widths, around a mean. */
function spread(widths: readonly number[], seed = 1): Float32Array {
  const along = widths.map((scale, i) => randomValues(count, seed + i, scale));
  return Float32Array.from({ length: count * width }, (_, at) => 5 + widths.reduce((sum, _scale, i) => sum + along[i][Math.floor(at / width)] * directions[i][at % width], 0));
}

test('finds the directions of the largest variance, in order, orthonormal', () => {
  const { axes, mean } = principalComponents(spread([9, 4, 1.5, 0.1]), width, 3);
  for (const [i, axis] of axes.entries()) {
    assert.ok(Math.abs(dot(axis, directions[i])) > 0.99, `axis ${i}: ${dot(axis, directions[i])}`);
    assert.ok(Math.abs(norm(axis) - 1) < 1e-9);
    for (const other of axes.slice(0, i)) assert.ok(Math.abs(dot(axis, other)) < 1e-9);
    const strongest = axis.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most));
    assert.ok(strongest > 0, 'the largest coordinate is positive');
  }
  assert.ok(mean.every((value) => Math.abs(value - 5) < 3));
});

test('its variances are the eigenvalues of the covariance: no other direction has more', () => {
  const rows = spread([3, 2.8, 2.6, 2.5]);
  const components = principalComponents(rows, width, 3);
  const variance = (axis: ArrayLike<number>): number => project({ mean: components.mean, axes: [Float64Array.from(axis)] }, rows)[0].reduce((sum, value) => sum + value * value, 0);
  const first = variance(components.axes[0]);
  for (let seed = 0; seed < 50; seed++) {
    const random = Array.from(randomValues(width, 900 + seed));
    const length = norm(random);
    assert.ok(variance(random.map((value) => value / length)) <= first * (1 + 1e-6));
  }
  // Nearly equal variances turn slowly into place: they must still be ordered.
  assert.ok(first >= variance(components.axes[1]) * 0.999 && variance(components.axes[1]) >= variance(components.axes[2]) * 0.999);
});

test('rows without a further direction give an axis of zeros', () => {
  const { axes } = principalComponents(spread([5]), width, 3);
  assert.ok(norm(axes[0]) > 0.999);
  for (const axis of axes.slice(1)) assert.is(norm(axis), 0);
  for (const axis of principalComponents(new Float32Array(3 * width).fill(2), width, 3).axes) assert.is(norm(axis), 0);
});

test('features become colours by axes and scale of those before; equal features have equal colours', () => {
  const grid = 6;
  const before = spread([6, 3, 2]).slice(0, grid * grid * width);
  const after = before.slice();
  // One patch gets the features of another.
  after.copyWithin(0, 7 * width, 8 * width);
  const [first, second] = featureColours(before, after, grid, width);
  assert.equal([first.width, first.height], [grid, grid]);
  assert.equal([...second.pixels.subarray(3)], [...first.pixels.subarray(3)]);
  assert.equal([...second.pixels.subarray(0, 3)], [...first.pixels.subarray(21, 24)]);
  for (let channel = 0; channel < 3; channel++) {
    const values = first.pixels.filter((_, i) => i % 3 === channel);
    assert.equal([Math.min(...values), Math.max(...values)], [0, 255], 'the whole scale is used');
  }
  assert.equal([...featureColours(before, after, grid, width)[0].pixels], [...first.pixels]);
  const constant = new Float32Array(grid * grid * width).fill(1);
  assert.ok(featureColours(constant, constant, grid, width)[0].pixels.every((value) => value === 128));
});

test.run();
