// Compares the whole model with what the PyTorch oracle wrote into a folder (tools/oracle/full.py), tap by tap.
import { table } from '../src/report/table.ts';
import { Gpu } from '../src/gpu/device.ts';
import { formatBytes } from '../src/gpu/memory.ts';
import { loadMfp } from '../src/models/mfp/load.ts';
import { mfpForward, mfpText } from '../src/models/mfp/mfp.ts';
import { cast } from '../src/ops/cast.ts';
import { Program } from '../src/tensor/program.ts';
import { type Tensor, readTensor, tensor } from '../src/tensor/tensor.ts';
import { openGolden } from '../test/support/golden.ts';

const [folder, precision = 'f32'] = process.argv.slice(2);
if (!folder || (precision !== 'f32' && precision !== 'f16')) {
  process.stderr.write('usage: npm run parity:full -- FOLDER [f32|f16]\n  FOLDER is what tools/oracle/full.py wrote\n');
  process.exit(2);
}
const tolerance = precision === 'f32' ? 1e-4 : 1e-2;
const gpu = await Gpu.open();
const golden = await openGolden(folder);
process.stderr.write(`loading ${folder} on ${gpu.adapter.description || gpu.key}\n`);
const loaded = await loadMfp(gpu, { clip: golden.clip, cnn: golden.cnn, mfp: golden.mfp, precision });
const { model, cnn, sizes } = loaded;
const input = async (key: string): Promise<Tensor> => tensor(gpu, await golden.values(key), golden.shape(key), 'f32', key);
const image = await input('input.image');
const cnnImage = await input('input.cnn_image');
const { embeddings, endOfText } = await loaded.prompts('[OBJ]');
const batch = image.shape[0];
const texts = model.config.i2tp.enabled ? batch : 1;
const tokens = tensor(gpu, embeddings, [2, sizes.context, sizes.textWidth], precision, 'tokens');
const ends = tensor(gpu, Array.from({ length: texts }, () => endOfText).flat(), [2 * texts], 'u32', 'ends');
const program = await Program.record(
  gpu,
  () => {
    const features = cnn!.features(cast(cnnImage, precision));
    const text = mfpText(model, tokens, ends, features);
    return { features, ...mfpForward(model, cast(image, precision), features, text) };
  },
  { label: 'parity' },
);
const start = performance.now();
await program.run();
const { features, text, coarseTaps, taps, coarseMap, map, score } = program.outputs;
const pairs: [string, Tensor][] = [
  ['cnn.features', features],
  ['text.features', text],
  ...coarseTaps.map((tap, i): [string, Tensor] => [`pass1.tap.${i + 1}`, tap]),
  ...taps.map((tap, i): [string, Tensor] => [`${model.config.mp.enabled ? 'pass2' : 'pass1'}.tap.${i + 1}`, tap]),
  ['map.coarse', coarseMap],
  ['map.final', map],
  ['score', score],
];
const rows: string[][] = [];
let failed = 0;
for (const [key, output] of pairs) {
  const [got, expected] = [await readTensor(gpu, output), await golden.values(key)];
  let largest = 0;
  let worst = got.length === expected.length ? 0 : Number.POSITIVE_INFINITY;
  expected.forEach((value, i) => {
    largest = Math.max(largest, Math.abs(value));
    const error = Math.abs(got[i] - value);
    worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
  });
  const agrees = worst <= tolerance * largest;
  if (!agrees) failed++;
  rows.push([key, (worst / largest).toExponential(2), agrees ? 'agrees' : 'DIFFERS']);
}
const seconds = (performance.now() - start) / 1000;
process.stdout.write(table(['tensor', 'largest error, relative', `within ${tolerance}`], rows));
process.stdout.write(`\nboth passes in ${seconds.toFixed(1)} s, ${formatBytes(program.memory.bytes)} of intermediates, peak ${formatBytes(gpu.memory.peak)}\n`);
gpu.close();
process.exitCode = failed ? 1 : 0;
