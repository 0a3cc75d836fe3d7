import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openDataset } from '../../src/data/dataset.ts';
import { readImage } from '../../src/data/image.ts';
import { loadModel } from '../../src/eval/detector.ts';
import { pathInside } from '../../src/eval/identity.ts';
import { type Colour, createPicture } from '../../src/io/picture.ts';
import { drawGrid } from '../../src/report/figure.ts';
import { chooseSamples, drawFigures, sharedRange } from '../../src/report/paper_figures.ts';
import { command, scratchFolder } from '../support/command.ts';
import { writeTestDataset } from '../support/dataset.ts';
import { errorOf } from '../support/errors.ts';
import { goldenFolder } from '../support/golden.ts';
import { testGpu } from '../support/gpu.ts';

const folder = scratchFolder();
const root = join(folder, 'data');
writeTestDataset(root, { classes: ['plate', 'metal_nut'], good: 1, bad: 4, size: 45 });
const data = openDataset(root);
const golden = join(goldenFolder, 'default');
const model = { clip: join(golden, 'clip'), cnn: join(golden, 'cnn', 'model.safetensors'), mfp: join(golden, 'mfp.safetensors') };

const open = async () => loadModel({ ...model, gpu: await testGpu(), variants: { mode: 'default' } });

const red: Colour = [200, 30, 30];

test('a grid has its cells in rows and columns, with words around them', () => {
  const cell = 60;
  const picture = createPicture(30, 30, red);
  const wide = createPicture(60, 30, red);
  const grid = { title: 'Figure 1', caption: 'Some words that are long enough to need more than one line of the picture, which is not wide at all.', columns: ['a', 'b', 'c'], rows: [{ label: 'row', cells: [picture, wide, picture] }], cell };
  const drawn = drawGrid(grid);
  const isRed = (i: number): boolean => red.every((value, channel) => drawn.pixels[3 * i + channel] === value);
  let reds = 0;
  for (let i = 0; i < drawn.width * drawn.height; i++) if (isRed(i)) reds++;
  assert.is(reds, 2 * cell * cell + (cell * cell) / 2, 'pictures fill their cells, keeping their shape');
  // Columns beyond the most go on below.
  const stacked = drawGrid({ ...grid, mostColumns: 2 });
  assert.ok(stacked.height > drawn.height + cell);
  assert.equal([...drawGrid(grid).pixels], [...drawn.pixels]);
  const withScale = drawGrid({ ...grid, range: [0.1, 0.9] });
  assert.ok(withScale.height > drawn.height);
});

test('the middle abnormal image of each class is drawn, or those that are named', () => {
  const paths = (samples: ReturnType<typeof chooseSamples>): string[] => samples.map(({ image }) => pathInside(root, image));
  assert.equal(paths(chooseSamples(data)), ['metal_nut/test/spot/001.png', 'plate/test/spot/001.png']);
  assert.equal(paths(chooseSamples(data, ['plate/test/spot/003.png', 'plate/test/spot/000.png'])), ['plate/test/spot/003.png', 'plate/test/spot/000.png']);
  assert.throws(() => chooseSamples(data, ['plate/test/spot/009.png']), /plate\/test\/spot\/009\.png is not an image of the test split/);
  assert.throws(() => chooseSamples(data, ['plate/test/good/000.png']), /is a normal image/);
  assert.throws(() => chooseSamples({ ...data, samples: data.samples.filter(({ label }) => label === 0) }), /has no abnormal images/);
});

test('maps of a figure share a scale that their strongest pixels set', () => {
  const map = (low: number, high: number, share: number): Float32Array => Float32Array.from({ length: 1000 }, (_, i) => (i < 1000 * share ? high : low));
  assert.equal(sharedRange([map(0.02, 0.9, 0.1), map(0.02, 0.5, 0.1)]), [0.01, 0.9]);
  assert.equal(sharedRange([map(0.5, 0.52, 0.1)]), [0.5, 0.6]);
  assert.equal(sharedRange([map(1, 1, 0.1)]), [0.9, 1]);
});

test('all figures of a model are drawn, the same bytes every time, by the command too', async () => {
  const detector = await open();
  const samples = chooseSamples(data);
  const done: string[] = [];
  const files = await drawFigures(detector, { figures: [3, 5, 6], samples, out: join(folder, 'a'), onImage: (what) => done.push(what) });
  assert.equal(files, [3, 5, 6].map((number) => join(folder, 'a', `figure-${number}.png`)));
  assert.equal(done, ['features', 'features', 'maps', 'maps']);
  await drawFigures(detector, { figures: [3, 5, 6], samples, out: join(folder, 'b') });
  detector.close();
  const { code, output, errors } = await command(['figures', '--data', root, '--clip', model.clip, '--cnn', model.cnn, '--mfp', model.mfp, '--variants', 'default', '--out', join(folder, 'c')]);
  assert.is(code, 0, errors);
  assert.equal(output.trim().split('\n'), files.map((file) => file.replace(join(folder, 'a'), join(folder, 'c'))));
  for (const file of files) {
    const bytes = readFileSync(file);
    for (const other of ['b', 'c']) assert.ok(bytes.equals(readFileSync(file.replace(join(folder, 'a'), join(folder, other)))), `${file} and ${other}`);
    const { width, height, data: pixels } = PNG.sync.read(bytes);
    assert.ok(width > 500 && height > 400, `${file}: ${width} × ${height}`);
    assert.ok(new Set(new Uint32Array(pixels.buffer, pixels.byteOffset, width * height)).size > 200, `${file} has pictures in it`);
  }
});

test('features after MPFA are the means over neighbourhoods of those before', async () => {
  const detector = await open();
  const [sample] = chooseSamples(data);
  const { grid, width, stages } = await detector.features(await readImage(sample.image), 'metal nut');
  detector.close();
  assert.equal(stages.map(({ stage }) => stage), [1, 2, 3, 4]);
  for (const { before, after } of stages) {
    assert.is(before.length, grid * grid * width);
    for (let y = 0; y < grid; y++) {
      for (let x = 0; x < grid; x++) {
        for (let d = 0; d < width; d++) {
          let [sum, cells] = [0, 0];
          for (let v = Math.max(0, y - 1); v <= Math.min(grid - 1, y + 1); v++) {
            for (let u = Math.max(0, x - 1); u <= Math.min(grid - 1, x + 1); u++) {
              sum += before[(v * grid + u) * width + d];
              cells++;
            }
          }
          const value = after[(y * grid + x) * width + d];
          assert.ok(Math.abs(value - sum / cells) <= 1e-5 * (1 + Math.abs(value)), `${x} ${y} ${d}: ${value}`);
        }
      }
    }
  }
});

test('a figure that the model cannot have is a named error', async () => {
  const detector = await loadModel({ clip: model.clip, size: 35, gpu: await testGpu() });
  assert.match((await errorOf(() => drawFigures(detector, { figures: [6], samples: chooseSamples(data), out: folder }))).message, /figure 6 shows mask prompting, which this model is without .*--figures 3,5/);
  detector.close();
  assert.match((await command(['figures', '--data', root, '--clip', model.clip, '--figures', '4'])).errors, /It must be some of 3,5,6/);
});

test.run();
