import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type RooflinePoint, rooflineChart } from '../../src/report/roofline.ts';

const ceilings = { gigabytes: 10, gigaflops: 40 };
const chart = (points: readonly RooflinePoint[]): string => rooflineChart({ title: 'a & b', ...ceilings, points });

/** Attributes of all elements of a kind that have a class, or of all. */
function elements(svg: string, kind: string, name?: string): Record<string, string>[] {
  return [...svg.matchAll(new RegExp(`<${kind} ([^>]*)>`, 'g'))]
    .map(([, attributes]) => Object.fromEntries([...attributes.matchAll(/([\w-]+)="([^"]*)"/g)].map(([, key, value]) => [key, value])))
    .filter((attributes) => name === undefined || attributes.class === name);
}

// Many kernels of like intensity and rate: the crowd of a real bench.
const crowd: RooflinePoint[] = Array.from({ length: 180 }, (_, i) => ({
  name: `op_${(i >> 1) % 30} ViT-L/14-518 <case ${i >> 1}>`,
  variant: `variant ${i % 2}`,
  flops: (i >> 1) % 9 === 0 ? 0 : 1e6 * 2 ** ((i >> 1) % 7),
  bytes: 1e6,
  milliseconds: 1 + (i % 5) / 10,
}));

test('every kernel has its mark, every computation its number and its line in the list', () => {
  const svg = chart(crowd);
  assert.is(elements(svg, 'text', 'number').length, 90);
  assert.is([...svg.matchAll(/<g><title>/g)].length, 180);
  for (let i = 0; i < 90; i++) assert.ok(svg.includes(`>op_${i % 30} ViT-L/14-518 &#60;case ${i}&#62;<`), String(i));
  for (const variant of ['variant 0', 'variant 1']) assert.ok(svg.includes(`>${variant}<`));
  assert.not.match(svg, /NaN|Infinity|undefined|<case/);
  assert.match(svg, /a &#38; b/);
  assert.match(svg, /copy 10 GB\/s/);
  assert.match(svg, /multiply-add 40 GFLOP\/s/);
});

test('numbers do not lie on each other', () => {
  const places = elements(chart(crowd), 'text', 'number').map(({ x, y }) => [Number(x), Number(y)]);
  let touching = 0;
  places.forEach(([x, y], i) => places.slice(0, i).forEach(([otherX, otherY]) => (touching += Number(Math.abs(x - otherX) < 12 && Math.abs(y - otherY) < 10))));
  assert.is(touching, 0);
});

test('a kernel at a ceiling lies on its line, and one without arithmetic on the left edge', () => {
  const points: RooflinePoint[] = [
    { name: 'compute', variant: 'a', flops: 4e9, bytes: 4e6, milliseconds: 100 },
    { name: 'move', variant: 'a', flops: 0, bytes: 1e9, milliseconds: 200 },
  ];
  const svg = chart(points);
  const [compute, move] = elements(svg, 'circle').map(({ cx, cy }) => [Number(cx), Number(cy)]);
  // The roof's path: start on the left edge, ridge, right edge.
  const [, leftX, leftY, , roofY] = /<path d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)H/.exec(svg)!.map(Number);
  assert.is(compute[1], roofY);
  assert.is(move[0], leftX);
  assert.ok(move[1] > leftY, 'half the copy rate lies below the line');
  assert.match(svg, /5 GB\/s, 50%/);
  assert.match(svg, /40 GFLOP\/s, 100%/);
  assert.match(svg, /left edge move data/);
});

test('one kernel alone, or of extreme intensity, gives a whole plot', () => {
  for (const flops of [0, 1, 1e15]) {
    const svg = chart([{ name: 'op', variant: 'x', flops, bytes: 64, milliseconds: 0.001 }]);
    assert.not.match(svg, /NaN|Infinity/);
    const [{ cx, cy }] = elements(svg, 'circle');
    assert.ok(Number(cx) >= 70 && Number(cx) <= 1220 && Number(cy) >= 48 && Number(cy) <= 600, `${flops}: ${cx}, ${cy}`);
  }
});

test.run();
