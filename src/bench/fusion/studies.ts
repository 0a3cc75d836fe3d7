import { activate } from '../../ops/activation.ts';
import { adam, adamConstants } from '../../ops/adam.ts';
import { add } from '../../ops/add.ts';
import { attention } from '../../ops/attention.ts';
import { concatenate } from '../../ops/concatenate.ts';
import { cosineSoftmax } from '../../ops/cosine_softmax.ts';
import { diceLoss } from '../../ops/dice_loss.ts';
import { focalLoss } from '../../ops/focal_loss.ts';
import { gemm } from '../../ops/gemm.ts';
import { l2Normalize } from '../../ops/l2_normalize.ts';
import { neighbourhoodPool } from '../../ops/neighbourhood_pool.ts';
import { patchEmbedding } from '../../ops/patch_embedding.ts';
import { repeatRows } from '../../ops/repeat_rows.ts';
import { slice } from '../../ops/slice.ts';
import { transpose } from '../../ops/transpose.ts';
import { upsampleMean } from '../../ops/upsample_mean.ts';
import { reshape } from '../../tensor/recording.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { affine, averagePool, clamp, divide, headProduct, interpolate, logarithm, meanRows, multiply, plus, power, rowSum, softmax, squareRoot, unfold } from './steps.ts';
import { type FusionStudy, type StudyInput, uniformValues } from './study.ts';

/** A differentiable input of noise. */
function noise(name: string, shape: readonly number[], seed: number): StudyInput {
  return { name, shape, values: () => uniformValues(shape, seed), differentiable: true };
}

const attentionStudy: FusionStudy = {
  name: 'attention',
  fuses: 'q kᵀ, softmax and the product with v in one kernel that never writes tokens × tokens; the chain writes scores and probabilities of every head',
  sizeNames: ['tokens', 'heads', 'head size'],
  cases: [
    { name: 'ViT-L/14-518', sizes: [1370, 16, 64] },
    { name: 'ViT-L/14-224', sizes: [257, 16, 64] },
  ],
  types: ['f32', 'f16'],
  backward: true,
  sides(tokens, heads, head) {
    const width = heads * head;
    const qkv = noise('qkv', [1, tokens, 3 * width], 1);
    // The chain gets q, k and v apart, so that it pays for no copies.
    const part = (name: string, index: number): StudyInput => ({
      ...qkv,
      name,
      shape: [1, tokens, width],
      values() {
        const [all, values] = [qkv.values(), new Float32Array(tokens * width)];
        for (let t = 0; t < tokens; t++) values.set(all.subarray((3 * t + index) * width, (3 * t + index + 1) * width), t * width);
        return values;
      },
    });
    return {
      fused: { inputs: [qkv], build: (x) => [attention(x, { heads, causal: false })] },
      unfused: {
        inputs: ['q', 'k', 'v'].map(part),
        build(q, k, v) {
          const scores = headProduct(q, k, { heads, transposeRight: true, scale: 1 / Math.sqrt(head) });
          return [headProduct(softmax(scores), v, { heads, sideBySide: true })];
        },
        joinGradients(gradients) {
          const joined = new Float32Array(3 * tokens * width);
          gradients.forEach((gradient, index) => {
            for (let t = 0; t < tokens; t++) joined.set(gradient.subarray(t * width, (t + 1) * width), (3 * t + index) * width);
          });
          return [joined];
        },
      },
    };
  },
};

const gemmInputs = (rows: number, depth: number, columns: number): StudyInput[] => [noise('a', [rows, depth], 1), noise('b', [depth, columns], 2), noise('bias', [columns], 3)];

// Where a gradient flows gemm keeps its activation apart, so the backward passes of these two would be the same kernels.
const gemmActivationStudy: FusionStudy = {
  name: 'gemm_activation',
  fuses: 'product, bias and QuickGELU',
  sizeNames: ['rows', 'depth', 'columns'],
  cases: [{ name: 'ViT-L/14-518 mlp first layer', sizes: [1370, 1024, 4096] }],
  types: ['f32', 'f16'],
  backward: false,
  sides(rows, depth, columns) {
    const inputs = gemmInputs(rows, depth, columns);
    return {
      fused: { inputs, build: (a, b, bias) => [gemm(a, b, { bias, activation: 'quick_gelu' })] },
      unfused: { inputs, build: (a, b, bias) => [activate(add(gemm(a, b), bias), 'quick_gelu')] },
    };
  },
};

const gemmResidualStudy: FusionStudy = {
  name: 'gemm_residual',
  fuses: 'product, bias and the residual',
  sizeNames: ['rows', 'depth', 'columns'],
  cases: [
    { name: 'ViT-L/14-518 attention output', sizes: [1370, 1024, 1024] },
    { name: 'ViT-L/14-518 mlp second layer', sizes: [1370, 4096, 1024] },
  ],
  types: ['f32', 'f16'],
  backward: false,
  sides(rows, depth, columns) {
    const inputs = [...gemmInputs(rows, depth, columns), noise('residual', [rows, columns], 4)];
    return {
      fused: { inputs, build: (a, b, bias, residual) => [gemm(a, b, { bias, residual })] },
      unfused: { inputs, build: (a, b, bias, residual) => [add(add(gemm(a, b), bias), residual)] },
    };
  },
};

const patchEmbeddingStudy: FusionStudy = {
  name: 'patch_embedding',
  fuses: 'patches read where they lie, their product with the weight, class token and position; the chain lays the patches out first',
  sizeNames: ['batch', 'side', 'patch', 'width'],
  cases: [{ name: 'ViT-L/14-518', sizes: [1, 518, 14, 1024] }],
  types: ['f32', 'f16'],
  backward: true,
  sides(batch, side, patch, width) {
    // Whole where they do not fit the image: it is the shape rule that says so, in words that name the side.
    const patches = Math.floor(side / patch) ** 2;
    const inputs = [noise('image', [batch, 3, side, side], 1), noise('weight', [3 * patch * patch, width], 2), noise('class token', [width], 3), noise('position', [1 + patches, width], 4)];
    return {
      fused: { inputs, build: (image, weight, classToken, position) => [patchEmbedding(image, weight, classToken, position, { patch })] },
      unfused: {
        inputs,
        build(image, weight, classToken, position) {
          const embedded = gemm(unfold(image, patch), weight);
          const first = reshape(batch === 1 ? classToken : repeatRows(classToken, batch), [batch, 1, width]);
          return [add(concatenate(first, embedded, 1), position)];
        },
      },
    };
  },
};

const cosineStudy: FusionStudy = {
  name: 'cosine_softmax',
  fuses: 'lengths of patches and texts, cosines, temperature and the softmax over normal and abnormal, in one reading of the patches',
  sizeNames: ['patches', 'width'],
  cases: [{ name: 'ViT-L/14-518', sizes: [1369, 768] }],
  types: ['f32', 'f16'],
  backward: true,
  sides(patches, width) {
    const temperature = 100;
    const inputs = [noise('patches', [1, patches, width], 1), noise('text', [1, 2, width], 2)];
    return {
      fused: { inputs, build: (x, text) => [cosineSoftmax(x, text, { temperature })] },
      unfused: {
        inputs,
        build(x, text) {
          const cosines = gemm(l2Normalize(x), reshape(l2Normalize(text), [2, width]), { transposeB: true });
          return [reshape(slice(softmax(affine(cosines, temperature)), 2, 1, 1), [1, patches])];
        },
      },
    };
  },
};

const poolStudy: FusionStudy = {
  name: 'neighbourhood_pool',
  fuses: 'the mean of 3 × 3 patches on tokens as they lie; the chain brings them into the layout of images and back',
  sizeNames: ['batch', 'side', 'width'],
  cases: [{ name: 'ViT-L/14-518', sizes: [1, 37, 768] }],
  types: ['f32', 'f16'],
  backward: true,
  sides(batch, side, width) {
    const window = { rows: side, columns: side, size: 3 };
    const inputs = [noise('tokens', [batch, side * side, width], 1)];
    return {
      fused: { inputs, build: (tokens) => [neighbourhoodPool(tokens, window)] },
      unfused: { inputs, build: (tokens) => [transpose(averagePool(transpose(tokens), window))] },
    };
  },
};

const upsampleStudy: FusionStudy = {
  name: 'upsample_mean',
  fuses: "the stages' maps enlarged and averaged; the chain writes each at full size first",
  sizeNames: ['batch', 'stages', 'grid', 'side'],
  cases: [{ name: 'ViT-L/14-518', sizes: [1, 4, 37, 518] }],
  // Probability maps are f32 whatever the rest is in.
  types: ['f32'],
  backward: true,
  sides(batch, stages, grid, side) {
    const sizes = { rows: grid, columns: grid, height: side, width: side };
    const inputs = [noise('maps', [batch, stages, grid * grid], 1)];
    return {
      fused: { inputs, build: (maps) => [upsampleMean(maps, sizes)] },
      unfused: {
        inputs,
        build(maps) {
          const enlarged = upsampleMean(reshape(maps, [batch * stages, 1, grid * grid]), sizes);
          return [reshape(meanRows(reshape(enlarged, [batch, stages, side * side])), [batch, side, side])];
        },
      },
    };
  },
};

/** A probability map and a mask of zeros and ones. */
function mapInputs(batch: number, side: number): StudyInput[] {
  const shape = [batch, side, side];
  return [
    { name: 'probability', shape, values: () => uniformValues(shape, 1, 0.01, 0.99), single: true, differentiable: true },
    { name: 'mask', shape, values: () => uniformValues(shape, 2).map((value) => (value > 0.5 ? 1 : 0)), single: true },
  ];
}

const focalStudy: FusionStudy = {
  name: 'focal_loss',
  fuses: 'the two-class focal term of every pixel and the mean; the chain is the loss as it is written with tensor operations',
  sizeNames: ['batch', 'side'],
  cases: [{ name: '518 map', sizes: [1, 518] }],
  types: ['f32'],
  backward: true,
  sides(batch, side) {
    const inputs = mapInputs(batch, side);
    const gamma = 2;
    const smooth = 1e-5;
    return {
      fused: { inputs, build: (probability, mask) => [focalLoss(probability, mask, { gamma })] },
      unfused: {
        inputs,
        build(probability, mask) {
          const abnormal = clamp(mask, smooth, 1 - smooth);
          const hit = plus(multiply(abnormal, probability), multiply(affine(abnormal, -1, 1), affine(probability, -1, 1)));
          const pt = affine(hit, 1, smooth);
          const terms = multiply(power(affine(pt, -1, 1), gamma), logarithm(pt));
          return [rowSum(reshape(terms, [1, terms.size]), -1 / terms.size)];
        },
      },
    };
  },
};

const diceStudy: FusionStudy = {
  name: 'dice_loss',
  fuses: 'the sums of both channels and their overlaps with the mask in one reading; the chain sums each by itself',
  sizeNames: ['batch', 'side'],
  cases: [{ name: '518 map', sizes: [1, 518] }],
  types: ['f32'],
  backward: true,
  sides(batch, side) {
    const inputs = mapInputs(batch, side);
    const sums = (map: Tensor): Tensor => rowSum(reshape(map, [batch, side * side]));
    const dice = (map: Tensor, mask: Tensor): Tensor => divide(affine(sums(multiply(map, mask)), 2, 1), affine(plus(sums(map), sums(mask)), 1, 1));
    return {
      fused: { inputs, build: (probability, mask) => [diceLoss(probability, mask)] },
      unfused: {
        inputs,
        build(probability, mask) {
          const both = plus(dice(probability, mask), dice(affine(probability, -1, 1), affine(mask, -1, 1)));
          return [rowSum(reshape(affine(both, -1, 2), [1, batch]), 1 / batch)];
        },
      },
    };
  },
};

const adamStudy: FusionStudy = {
  name: 'adam',
  fuses: 'both moments and the parameter in one pass over memory; the chain is the update as it is written with tensor operations',
  sizeNames: ['elements'],
  cases: [{ name: 'ViT-L/14 mask prompt fusion', sizes: [1024 * 2048] }],
  types: ['f32'],
  backward: false,
  sides(size) {
    const step = { step: 3, learningRate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, decoupled: false };
    const constants = adamConstants(step);
    const [stepSize, firstRate, beta2, secondRate, rootCorrection, epsilon] = constants;
    const single = (name: string, length: number, values: () => Float32Array): StudyInput => ({ name, shape: [length], values, single: true });
    const state = [
      single('parameter', size, () => uniformValues([size], 1)),
      single('gradient', size, () => uniformValues([size], 2)),
      single('first moment', size, () => uniformValues([size], 3, -0.1, 0.1)),
      single('second moment', size, () => uniformValues([size], 4, 0.01, 0.1)),
    ];
    return {
      fused: {
        inputs: [...state, single('constants', constants.length, () => Float32Array.from(constants)), single('gradient scale', 1, () => Float32Array.of(1))],
        build(parameter, gradient, first, second, numbers, scale) {
          adam(parameter, gradient, first, second, numbers, scale, step);
          return [parameter, first, second];
        },
      },
      unfused: {
        inputs: state,
        build(parameter, gradient, first, second) {
          const moment = interpolate(first, gradient, firstRate);
          const square = plus(affine(second, beta2), multiply(gradient, gradient, secondRate));
          const scale = affine(squareRoot(square), 1 / rootCorrection, epsilon);
          return [plus(parameter, divide(moment, scale), -stepSize), moment, square];
        },
      },
    };
  },
};

/** Every fused kernel beside its chain, by name. */
export const fusionStudies: ReadonlyMap<string, FusionStudy> = new Map(
  [attentionStudy, gemmActivationStudy, gemmResidualStudy, patchEmbeddingStudy, cosineStudy, poolStudy, upsampleStudy, focalStudy, diceStudy, adamStudy].map((study) => [study.name, study]),
);
