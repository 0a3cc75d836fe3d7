import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { labelRegions, regionAreas } from '../../src/eval/regions.ts';
import { randomValues } from '../support/gpu.ts';

/** A mask drawn with # for defects. */
function draw(...rows: string[]): { mask: Uint8Array; width: number; height: number } {
  return { mask: Uint8Array.from(rows.join(''), (letter) => Number(letter === '#')), width: rows[0].length, height: rows.length };
}

/** Regions by flooding from each pixel in turn: the definition. */
function flood(mask: ArrayLike<number>, width: number, height: number): Uint32Array {
  const labels = new Uint32Array(width * height);
  let count = 0;
  for (let start = 0; start < labels.length; start++) {
    if (!mask[start] || labels[start]) continue;
    labels[start] = ++count;
    const open = [start];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      for (const dy of [-1, 0, 1]) {
        for (const dx of [-1, 0, 1]) {
          const [x, y] = [(at % width) + dx, Math.floor(at / width) + dy];
          const next = y * width + x;
          if (x < 0 || y < 0 || x >= width || y >= height || !mask[next] || labels[next]) continue;
          labels[next] = count;
          open.push(next);
        }
      }
    }
  }
  return labels;
}

test('pixels that touch at a corner belong together, and the border does not wrap', () => {
  const { mask, width, height } = draw(
    '#..##', //
    '.#..#',
    '#....',
    '#...#',
  );
  const { labels, sizes } = labelRegions(mask, width, height);
  assert.equal(Array.from(labels), [1, 0, 0, 2, 2, 0, 1, 0, 0, 2, 1, 0, 0, 0, 0, 1, 0, 0, 0, 3]);
  assert.equal(sizes, [4, 3, 1]);
});

test('branches that meet later are one region', () => {
  const { mask, width, height } = draw(
    '#.#.#.#', //
    '#.#.#.#',
    '#.#.#.#',
    '.#.#.#.',
  );
  assert.equal(labelRegions(mask, width, height).sizes, [15]);
});

test('every pixel knows the area of its region', () => {
  const { mask, width, height } = draw('##.#', '...#', '....', '#...');
  const { areas, regions } = regionAreas(mask, width, height);
  assert.equal(Array.from(areas), [2, 2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0, 0]);
  assert.is(regions, 3);
  assert.equal(regionAreas(new Uint8Array(6), 3, 2), { areas: new Uint32Array(6), regions: 0 });
});

for (const [width, height, share] of [[1, 1, 0.5], [1, 40, 0.6], [40, 1, 0.6], [37, 29, 0.3], [37, 29, 0.42], [64, 50, 0.6]] as const) {
  test(`random masks of ${width} × ${height}, ${share} full, are labelled as by flooding`, () => {
    for (let seed = 1; seed <= 10; seed++) {
      const mask = Uint8Array.from(randomValues(width * height, seed), (value) => Number(Math.abs(value * 1e4) % 1 < share));
      const { labels, sizes } = labelRegions(mask, width, height);
      const expected = flood(mask, width, height);
      assert.equal(labels, expected);
      assert.equal(sizes, Array.from({ length: sizes.length }, (_, i) => expected.filter((label) => label === i + 1).length));
    }
  });
}

test.run();
