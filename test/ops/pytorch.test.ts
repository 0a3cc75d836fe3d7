import { join } from 'node:path';
import { test } from 'uvu';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { activate } from '../../src/ops/activation.ts';
import { attention } from '../../src/ops/attention.ts';
import { batchNorm } from '../../src/ops/batch_norm.ts';
import { binaryCrossEntropy } from '../../src/ops/binary_cross_entropy.ts';
import { contrastiveLoss } from '../../src/ops/contrastive_loss.ts';
import { convolution } from '../../src/ops/convolution.ts';
import { cosineSoftmax } from '../../src/ops/cosine_softmax.ts';
import { crossEntropy } from '../../src/ops/cross_entropy.ts';
import { diceLoss } from '../../src/ops/dice_loss.ts';
import { embedding } from '../../src/ops/embedding.ts';
import { focalLoss } from '../../src/ops/focal_loss.ts';
import { gemm } from '../../src/ops/gemm.ts';
import { globalAveragePool } from '../../src/ops/global_average_pool.ts';
import { gradients } from '../../src/ops/gradients.ts';
import { l2Normalize } from '../../src/ops/l2_normalize.ts';
import { layerNorm } from '../../src/ops/layer_norm.ts';
import { maskMultiply } from '../../src/ops/mask_multiply.ts';
import { maxPool } from '../../src/ops/max_pool.ts';
import { maximum } from '../../src/ops/maximum.ts';
import { neighbourhoodPool } from '../../src/ops/neighbourhood_pool.ts';
import { patchEmbedding } from '../../src/ops/patch_embedding.ts';
import { resizePosition } from '../../src/ops/resize_position.ts';
import { slice } from '../../src/ops/slice.ts';
import { transpose } from '../../src/ops/transpose.ts';
import { upsampleMean } from '../../src/ops/upsample_mean.ts';
import { Program } from '../../src/tensor/program.ts';
import { reshape } from '../../src/tensor/recording.ts';
import { type Tensor, asParameter, freeTensor, readTensor, tensor } from '../../src/tensor/tensor.ts';
import { configureVariants } from '../../src/tensor/variants.ts';
import { goldenFolder } from '../support/golden.ts';
import { assertClose, testGpu } from '../support/gpu.ts';

// Every op beside PyTorch's own (tools/oracle/ops.py): output and gradients. Layouts are turned inside the recording, so
// that inputs and gradients are PyTorch's own arrays.

const golden = await openSafetensors(join(goldenFolder, 'ops.safetensors'));
const parameters = JSON.parse(golden.metadata.parameters) as Record<string, Record<string, number>>;

/** [out, in] to [in, out]. */
const linearWeight = (weight: Tensor): Tensor => transpose(weight);
/** NCHW to NHWC. */
const channelsLast = (x: Tensor): Tensor => {
  const [batch, channels, height, width] = x.shape;
  return reshape(transpose(reshape(x, [batch, channels, height * width])), [batch, height, width, channels]);
};
/** NHWC to NCHW. */
const channelsFirst = (x: Tensor): Tensor => {
  const [batch, height, width, channels] = x.shape;
  return reshape(transpose(reshape(x, [batch, height * width, channels])), [batch, channels, height, width]);
};
/** [out, in, height, width] to [height, width, in, out]. */
const convolutionWeight = (weight: Tensor): Tensor => {
  const [out, input, height, width] = weight.shape;
  const inner = transpose(reshape(weight, [out, input, height * width]));
  return reshape(transpose(reshape(inner, [out, height * width * input])), [height, width, input, out]);
};

type Inputs = Record<string, Tensor>;

/** Ops by the first word of a case's name; `p` are the case's numbers, `constant` makes a tensor of zeros. */
const builds: Record<string, (inputs: Inputs, p: Record<string, number>, zeros: (shape: number[]) => Tensor) => Tensor> = {
  attention: ({ qkv }, p) => attention(qkv, { heads: p.heads, causal: p.causal === 1 }),
  layer_norm: ({ input, weight, bias }, p) => layerNorm(input, weight, bias, p.epsilon),
  linear: ({ input, weight, bias }) => gemm(input, linearWeight(weight), { bias }),
  quick_gelu: ({ input }) => activate(input, 'quick_gelu'),
  leaky_relu: ({ input }) => activate(input, 'leaky_relu'),
  embedding: ({ ids, table }) => embedding(ids, table),
  patch_embedding({ image, weight }, p, zeros) {
    const [batch, , height, width] = image.shape;
    const patches = (height / p.patch) * (width / p.patch);
    const out = weight.shape[0];
    const embedded = patchEmbedding(image, transpose(reshape(weight, [out, weight.size / out])), zeros([out]), zeros([1 + patches, out]), { patch: p.patch });
    return reshape(slice(embedded, 1, 1, patches), [batch, patches, out]);
  },
  resize_position: ({ position }, p) => resizePosition(position, { from: p.from, to: p.to }),
  convolution: ({ input, weight, bias }, p) => channelsFirst(convolution(channelsLast(input), convolutionWeight(weight), { bias, activation: 'relu', stride: p.stride, padding: p.padding })),
  batch_norm: ({ input, weight, bias }) => channelsFirst(batchNorm(channelsLast(input), weight, bias).output),
  max_pool: ({ input }, p) => channelsFirst(maxPool(channelsLast(input), { size: p.size, stride: p.stride, padding: p.padding })),
  global_average_pool: ({ input }) => globalAveragePool(channelsLast(input)),
  neighbourhood_pool: ({ tokens }, p) => neighbourhoodPool(tokens, { rows: p.rows, columns: p.columns, size: p.size }),
  cosine_softmax: ({ patches, text }, p) => cosineSoftmax(patches, text, { temperature: p.temperature }),
  upsample_mean: ({ maps }, p) => upsampleMean(maps, { rows: p.rows, columns: p.columns, height: p.height, width: p.width }),
  mask_multiply: ({ image, mask }) => maskMultiply(image, mask),
  maximum: ({ input }) => maximum(input),
  focal_loss: ({ probability, mask }, p) => focalLoss(probability, mask, { gamma: p.gamma }),
  dice_loss: ({ probability, mask }) => diceLoss(probability, mask),
  binary_cross_entropy: ({ score, target }) => binaryCrossEntropy(score, target),
  cross_entropy: ({ logits, target }) => crossEntropy(logits, target),
  contrastive_loss: ({ image, text, logit_scale: scale }) => contrastiveLoss(l2Normalize(image), l2Normalize(text), reshape(scale, [1])),
};

/** BatchNorm in evaluation mode, folded into a convolution's weight: what the ResNet loader does. */
async function fold(name: string): Promise<Map<string, Float32Array>> {
  const read = (key: string): Promise<Float32Array> => golden.readFloat32(`${name}.${key}`);
  const [weight, scale, shift, mean, variance] = [await read('weight'), await read('bn_weight'), await read('bn_bias'), await read('running_mean'), await read('running_var')];
  const factors = scale.map((value, c) => value / Math.sqrt(variance[c] + parameters[name].epsilon));
  const perOutput = weight.length / scale.length;
  return new Map([
    ['weight', weight.map((value, i) => value * factors[Math.floor(i / perOutput)])],
    ['bias', shift.map((value, c) => value - mean[c] * factors[c])],
  ]);
}

// "attention.causal" of "attention.causal.qkv_gradient"; the optimizer has a test of its own.
const cases = [...new Set([...golden.tensors.keys()].map((key) => key.slice(0, key.lastIndexOf('.'))))].filter((name) => !name.startsWith('adam') && name !== 'contrastive_loss.normalised');

for (const name of cases) {
  test(`agrees with PyTorch: ${name}`, async () => {
    const gpu = await testGpu();
    configureVariants(gpu, { mode: 'default' });
    const op = name.split('.')[0];
    const keys = [...golden.tensors.keys()].filter((key) => key.slice(0, key.lastIndexOf('.')) === name).map((key) => key.slice(name.length + 1));
    const differentiable = keys.filter((key) => keys.includes(`${key}_gradient`) && key !== 'output');
    const folded = op === 'convolution' ? await fold(name) : new Map<string, Float32Array>();
    const results = ['output', 'loss', 'normalised', 'log_sum_exp', 'mean', 'variance'];
    const made: Tensor[] = [];
    const inputs: Inputs = {};
    for (const key of [...keys, ...folded.keys()]) {
      if (results.includes(key) || key.endsWith('_gradient') || key in inputs || (op === 'convolution' && /^(bn_|running_)/.test(key)) || key.endsWith('_after')) continue;
      const values = folded.get(key) ?? (await golden.readFloat32(`${name}.${key}`));
      const shape = key === 'bias' && op === 'convolution' ? [values.length] : golden.entry(`${name}.${key}`).shape;
      const dtype = golden.tensors.get(`${name}.${key}`)?.dtype === 'I32' ? 'u32' : 'f32';
      inputs[key] = tensor(gpu, values, shape, dtype, key);
      made.push(inputs[key]);
      if (differentiable.includes(key)) asParameter(inputs[key]);
    }
    const zeros = (shape: number[]): Tensor => {
      const zero = tensor(gpu, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape, 'f32', 'zeros');
      made.push(zero);
      return zero;
    };
    const hasOutput = keys.includes('output');
    const seedValues = hasOutput ? await golden.readFloat32(`${name}.output_gradient`) : Float32Array.of(1);
    const seed = tensor(gpu, seedValues, [seedValues.length], 'f32', 'seed');
    made.push(seed);
    const numbers = { ...parameters[name], causal: name.endsWith('causal') ? 1 : 0 };
    // A frozen BatchNorm scales the weight, so its gradient is not that of the folded one.
    const checked = differentiable.filter((key) => !(op === 'convolution' && key !== 'input'));
    const program = await Program.record(
      gpu,
      () => {
        const output = builds[op](inputs, numbers, zeros);
        const gradientOf = gradients([{ tensor: output, gradient: reshape(seed, output.shape) }]);
        return [output, ...checked.map((key) => gradientOf(inputs[key])!)];
      },
      { poison: true, label: name },
    );
    await program.run();
    assertClose(await readTensor(gpu, program.outputs[0]), await golden.readFloat32(`${name}.${hasOutput ? 'output' : 'loss'}`), 1e-5, `${name} output`);
    for (const [i, key] of checked.entries()) assertClose(await readTensor(gpu, program.outputs[i + 1]), await golden.readFloat32(`${name}.${key}_gradient`), 1e-4, `${name} gradient of ${key}`);
    program.destroy();
    for (const unused of made) freeTensor(gpu, unused);
  });
}

test.run();
