import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { patchEmbedding, patchEmbeddingBackwardImageOp, patchEmbeddingBackwardWeightOp, patchEmbeddingOp } from '../../src/ops/patch_embedding.ts';
import { transpose } from '../../src/ops/transpose.ts';
import { apply } from '../../src/tensor/recording.ts';
import { sizeOf } from '../../src/tensor/tensor.ts';
import { assertGradients } from '../support/gradients.ts';
import { assertClose, evaluate, randomInput } from '../support/gpu.ts';

interface Case {
  /** [batch, channels, height, width] */
  readonly image: readonly [number, number, number, number];
  readonly patch: number;
  readonly columns: number;
}

const cases: Case[] = [
  { image: [1, 1, 1, 1], patch: 1, columns: 1 },
  { image: [1, 3, 14, 14], patch: 14, columns: 33 },
  { image: [2, 3, 21, 14], patch: 7, columns: 64 },
  { image: [3, 2, 20, 30], patch: 5, columns: 17 },
];

/** Calls `visit` with the flat indices of each pixel, weight and output element that are multiplied and added. */
function forEachProduct({ image: [batch, channels, height, width], patch, columns }: Case, visit: (pixel: number, weight: number, output: number) => void): void {
  const across = width / patch;
  const tokens = 1 + (height / patch) * across;
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const token = 1 + Math.floor(y / patch) * across + Math.floor(x / patch);
          const row = (c * patch + (y % patch)) * patch + (x % patch);
          for (let n = 0; n < columns; n++) visit(((b * channels + c) * height + y) * width + x, row * columns + n, (b * tokens + token) * columns + n);
        }
      }
    }
  }
}

function shapesOf({ image: [batch, channels, height, width], patch, columns }: Case): { weight: number[]; position: number[]; output: number[] } {
  const tokens = 1 + (height / patch) * (width / patch);
  return { weight: [channels * patch * patch, columns], position: [tokens, columns], output: [batch, tokens, columns] };
}

for (const variant of patchEmbeddingOp.variants.map(({ name }) => name)) {
  // "tall" differs from "tiled" in one constant, f16 from f32 in the storage, and the gradients in their operands alone,
  // which "subgroup" has too: fewer cases there save compiling, which is what takes time on a software adapter.
  for (const [dtype, tolerance] of [['f32', 2e-6], ['f16', 2e-3]] as const) {
    if (variant === 'tall' && dtype === 'f16') continue;
    const few = variant === 'tall' || dtype === 'f16' ? [cases[2]] : cases;

    test(`patch_embedding ${variant} ${dtype}`, async () => {
      for (const given of few) {
        const shapes = shapesOf(given);
        const image = randomInput(given.image, 1, 1, dtype);
        const weight = randomInput(shapes.weight, 2, 1, dtype);
        const classToken = randomInput([given.columns], 3, 1, dtype);
        const position = randomInput(shapes.position, 4, 1, dtype);
        const [output] = await evaluate([image, weight, classToken, position], (i, w, c, p) => patchEmbedding(i, w, c, p, given), { patch_embedding: variant });
        const expected = new Float64Array(sizeOf(shapes.output));
        for (let i = 0; i < expected.length; i++) {
          const within = i % sizeOf(shapes.position);
          expected[i] = position.values[within] + (within < given.columns ? classToken.values[within] : 0);
        }
        forEachProduct(given, (pixel, w, o) => {
          expected[o] += image.values[pixel] * weight.values[w];
        });
        assertClose(output, expected, tolerance, `[${given.image.join(', ')}]`);
      }
    });

    if (variant === 'tall' || (variant === 'tiled' && dtype === 'f16')) continue;
    const fewer = variant === 'tiled' ? [cases[2]] : few;

    test(`patch_embedding_backward_image and _weight ${variant} ${dtype}`, async () => {
      for (const given of fewer) {
        const shapes = shapesOf(given);
        const image = randomInput(given.image, 1, 1, dtype);
        const weight = randomInput(shapes.weight, 2, 1, dtype);
        const gradient = randomInput(shapes.output, 3, 1, dtype);
        const [imageGradient, weightGradient] = await evaluate(
          [image, weight, gradient],
          (i, w, g) => [apply(patchEmbeddingBackwardImageOp, [g, transpose(w)], { ...given })[0], apply(patchEmbeddingBackwardWeightOp, [i, g], given)[0]],
          { patch_embedding_backward_image: variant, patch_embedding_backward_weight: variant },
        );
        const expectedImage = new Float64Array(imageGradient.length);
        const expectedWeight = new Float64Array(weightGradient.length);
        forEachProduct(given, (pixel, w, o) => {
          expectedImage[pixel] += gradient.values[o] * weight.values[w];
          expectedWeight[w] += gradient.values[o] * image.values[pixel];
        });
        assertClose(imageGradient, expectedImage, tolerance, `image gradient [${given.image.join(', ')}]`);
        assertClose(weightGradient, expectedWeight, tolerance, `weight gradient [${given.image.join(', ')}]`);
      }
    });
  }
}

test('sums over many patches and over a wide embedding are cut into slices', async () => {
  const given: Case = { image: [2, 1, 46, 46], patch: 2, columns: 513 };
  const shapes = shapesOf(given);
  const image = randomInput(given.image, 1);
  const weight = randomInput(shapes.weight, 2);
  const gradient = randomInput(shapes.output, 3);
  const [imageGradient, weightGradient] = await evaluate([image, weight, gradient], (i, w, g) => [
    apply(patchEmbeddingBackwardImageOp, [g, transpose(w)], { ...given })[0],
    apply(patchEmbeddingBackwardWeightOp, [i, g], given)[0],
  ]);
  const expectedImage = new Float64Array(imageGradient.length);
  const expectedWeight = new Float64Array(weightGradient.length);
  forEachProduct(given, (pixel, w, o) => {
    expectedImage[pixel] += gradient.values[o] * weight.values[w];
    expectedWeight[w] += gradient.values[o] * image.values[pixel];
  });
  assertClose(imageGradient, expectedImage, 2e-6, 'image gradient');
  assertClose(weightGradient, expectedWeight, 2e-6, 'weight gradient');
});

test('gradients of patch_embedding', async () => {
  for (const given of [cases[1], cases[2]]) {
    const shapes = shapesOf(given);
    const inputs = [randomInput(given.image, 1), randomInput(shapes.weight, 2), randomInput([given.columns], 3), randomInput(shapes.position, 4)];
    await assertGradients(inputs, (i, w, c, p) => patchEmbedding(i, w, c, p, given));
  }
});

test('patch_embedding names what does not fit', async () => {
  const attempt = async (patch: number, ...shapes: number[][]): Promise<string> => {
    try {
      await evaluate(shapes.map((shape, i) => randomInput(shape, i)), (i, w, c, p) => patchEmbedding(i, w, c, p, { patch }));
      return 'no error';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await attempt(4, [1, 3, 10, 8], [48, 5], [5], [5, 5]), /patch_embedding: image must be .* multiples of the patch size 4/);
  assert.match(await attempt(4, [1, 3, 8, 8], [48, 5], [5], [4, 5]), /position f32\[5, 5\]; got .*position f32\[4, 5\]/);
  assert.match(await attempt(4, [1, 3, 8, 8], [47, 5], [5], [5, 5]), /weight must be f32\[48, 5\]/);
});

test.run();
