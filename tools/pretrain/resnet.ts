import type { Gpu } from '../../src/gpu/device.ts';
import { writeSafetensors } from '../../src/io/safetensors.ts';
import { type ResnetConfig, resnetConfig } from '../../src/models/resnet/config.ts';
import { resnetConvolutions } from '../../src/models/resnet/parameters.ts';
import { channelsLast, resnetFeatures } from '../../src/models/resnet/resnet.ts';
import { type ParameterSpec, parameterShape, storedTensors } from '../../src/nn/parameters.ts';
import { activate } from '../../src/ops/activation.ts';
import { add } from '../../src/ops/add.ts';
import { batchNorm } from '../../src/ops/batch_norm.ts';
import { convolution } from '../../src/ops/convolution.ts';
import { crossEntropy } from '../../src/ops/cross_entropy.ts';
import { gemm } from '../../src/ops/gemm.ts';
import { Program } from '../../src/tensor/program.ts';
import { RandomSource } from '../../src/tensor/random.ts';
import { type Tensor, asParameter, emptyTensor, readTensor, sizeOf, tensor, writeTensor } from '../../src/tensor/tensor.ts';
import { Batches } from './batches.ts';
import type { CaptionedImage, CaptionedImages } from './images.ts';
import type { Pretraining } from './loop.ts';

/** Structure of the embedded ResNet: a ResNet-50 in miniature, one bottleneck a stage, a quarter as wide. */
export const smallResnet: ResnetConfig = resnetConfig('bottleneck', 16, [1, 1, 1, 1], [16, 32, 64, 128]);

/** ImageNet's normalisation, as the CNN of the method is fed. */
const mean = [0.485, 0.456, 0.406];
const std = [0.229, 0.224, 0.225];

/** A ResNet being pretrained, with what it takes to store it. */
export interface ResnetPretraining extends Pretraining {
  /** Writes safetensors with torchvision's names, weights in f16. Runs the last batches once more for the statistics. */
  save(file: string, metadata: Readonly<Record<string, string>>): Promise<void>;
}

/** Weight [classes, features] and bias of the classifier, torchvision's `fc`. */
function classifierSpecs(features: number, classes: number): ParameterSpec[] {
  return [
    { name: 'fc.weight', parts: [{ name: 'fc.weight', shape: [classes, features] }], layout: 'transposed' },
    { name: 'fc.bias', parts: [{ name: 'fc.bias', shape: [classes] }], layout: 'as stored' },
  ];
}

/** Batches over which BatchNorm's statistics are averaged when the model is stored. */
const statisticsBatches = 50;

/** Sets up classification of the pool's concepts. */
export function resnetPretraining(gpu: Gpu, images: CaptionedImages, size: number, batch: number, seed: number): ResnetPretraining {
  const config = smallResnet;
  const classes = images.concepts.length;
  const convolutions = resnetConvolutions(config);
  const random = new RandomSource(seed);
  const parameters = new Map<string, Tensor>();
  const specs = new Map<string, ParameterSpec>();
  const put = (spec: ParameterSpec, start: (shape: readonly number[]) => (i: number) => number): void => {
    const shape = parameterShape(spec);
    const value = start(shape);
    specs.set(spec.name, spec);
    parameters.set(spec.name, asParameter(tensor(gpu, Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(i)), shape, 'f32', spec.name)));
  };
  for (const { weight, scale, shift } of convolutions.values()) {
    // Kaiming normal over the outputs, as torchvision's ResNet starts.
    put(weight, ([height, width, , out]) => () => random.normal(0, Math.sqrt(2 / (height * width * out))));
    put(scale, () => () => 1);
    put(shift, () => () => 0);
  }
  for (const spec of classifierSpecs(config.featureWidth, classes)) put(spec, () => () => random.uniform(-1, 1) / Math.sqrt(config.featureWidth));
  const pixels = emptyTensor(gpu, [batch, 3, size, size], 'f32', 'images');
  const target = emptyTensor(gpu, [batch], 'u32', 'concepts');
  const order = [...convolutions.keys()];
  let labels: number[] = [];
  /** Records logits, and mean and variance of every BatchNorm in `order`. */
  const record = (): { readonly logits: Tensor; readonly statistics: readonly Tensor[] } => {
    const statistics = new Map<string, readonly [Tensor, Tensor]>();
    const features = resnetFeatures(config, channelsLast(pixels), (name, input, { stride, padding, relu, residual }) => {
      const { weight, scale, shift } = convolutions.get(name)!;
      const convolved = convolution(input, parameters.get(weight.name)!, { stride, padding });
      const { output, mean: batchMean, variance } = batchNorm(convolved, parameters.get(scale.name)!, parameters.get(shift.name)!);
      statistics.set(name, [batchMean, variance]);
      const summed = residual ? add(output, residual) : output;
      return relu ? activate(summed, 'relu') : summed;
    });
    return { logits: gemm(features, parameters.get('fc.weight')!, { bias: parameters.get('fc.bias')! }), statistics: order.flatMap((name) => statistics.get(name)!) };
  };
  const batches = new Batches(images, { kind: 'any', count: batch, size, seed });
  const write = (drawn: readonly CaptionedImage[]): void => {
    const area = size * size;
    const values = new Float32Array(batch * 3 * area);
    drawn.forEach(({ pixels: rgb }, i) => {
      for (let c = 0; c < 3; c++) for (let p = 0; p < area; p++) values[(i * 3 + c) * area + p] = (rgb[3 * p + c] / 255 - mean[c]) / std[c];
    });
    labels = drawn.map(({ concept }) => concept);
    writeTensor(gpu, pixels, values);
    writeTensor(gpu, target, labels);
  };
  /** Mean over many batches of every statistic, with the weights as they are: more exact than running averages. */
  const settledStatistics = async (): Promise<Float32Array[]> => {
    const program = await Program.record(gpu, () => record().statistics, { label: 'BatchNorm statistics' });
    const sums = program.outputs.map(({ size: count }) => new Float32Array(count));
    const statisticsRandom = new RandomSource(seed + 1);
    for (let run = 0; run < statisticsBatches; run++) {
      write(images.any(statisticsRandom, batch, size));
      await program.run();
      for (const [i, output] of program.outputs.entries()) (await readTensor(gpu, output)).forEach((value, c) => (sums[i][c] += value / statisticsBatches));
    }
    program.destroy();
    return sums;
  };
  return {
    name: 'ResNet pretraining',
    settings: { pictures: images.key, batch, size },
    parameters,
    lossWeights: { crossEntropy: 1 },
    record() {
      const { logits } = record();
      return { losses: { crossEntropy: crossEntropy(logits, target) }, outputs: [logits] };
    },
    writeBatch: async (step) => write(await batches.batch(step)),
    close: () => batches.close(),
    measure([logits]) {
      const hits = labels.filter((label, i) => {
        const row = logits.subarray(i * classes, (i + 1) * classes);
        return row.indexOf(Math.max(...row)) === label;
      }).length;
      return { accuracy: hits / batch };
    },
    async save(file, metadata) {
      const values = new Map<string, Float32Array>();
      for (const [name, parameter] of parameters) values.set(name, await readTensor(gpu, parameter));
      const stored = storedTensors([...specs.values()], (name) => values.get(name)!).map(({ name, shape, data }) => ({ name, shape, data, dtype: 'F16' as const }));
      const settled = await settledStatistics();
      const moments = order.flatMap((name, i) => {
        const { mean: meanSpec, variance: varianceSpec } = convolutions.get(name)!;
        return [meanSpec, varianceSpec].map((spec, which) => ({ name: spec.name, shape: parameterShape(spec), data: settled[2 * i + which], dtype: 'F32' as const }));
      });
      await writeSafetensors(file, [...stored, ...moments], metadata);
    },
  };
}
