// mfp-clip itself as an engine of the comparison.
import { createRequire } from 'node:module';
import { softmax } from '../../../src/bench/fusion/steps.ts';
import { Gpu } from '../../../src/gpu/device.ts';
import { attentionBlock } from '../../../src/nn/attention_block.ts';
import { attention } from '../../../src/ops/attention.ts';
import { convolution } from '../../../src/ops/convolution.ts';
import { gemm } from '../../../src/ops/gemm.ts';
import { gradients } from '../../../src/ops/gradients.ts';
import { layerNorm } from '../../../src/ops/layer_norm.ts';
import { neighbourhoodPool } from '../../../src/ops/neighbourhood_pool.ts';
import { dtypeBytes } from '../../../src/tensor/dtype.ts';
import { Program } from '../../../src/tensor/program.ts';
import { type Shape, type Tensor, asParameter, bufferOf, freeTensor, readTensor, tensor } from '../../../src/tensor/tensor.ts';
import { configureVariants } from '../../../src/tensor/variants.ts';
import { type Engine, type Way, serve } from './engine.ts';

/** Runs with timestamps, of which the median counts. */
const timestampRuns = 5;

async function open(): Promise<Engine> {
  const gpu = await Gpu.open();
  // As the commands do it: variants are timed on first use and remembered.
  configureVariants(gpu, { mode: 'measure' });
  const upload = (values: Float32Array, ...shape: number[]): Tensor => tensor(gpu, values, shape, 'f32', 'input');

  /** The one way of a case: a recorded program, replayed. */
  const way = (repeats: number, tensors: readonly Tensor[], build: () => Tensor | Tensor[]) => ({
    program: async (): Promise<Omit<Way, 'name'>> => {
      const program = await Program.record(gpu, () => [build()].flat());
      return {
        async outputs() {
          await program.run();
          const values: Float32Array[] = [];
          for (const output of program.outputs) values.push(await readTensor(gpu, output));
          return values;
        },
        async run() {
          await Promise.all(Array.from({ length: repeats }, () => program.run()));
          // One element comes back, as with the other engines.
          const last = program.outputs.at(-1)!;
          await gpu.read(bufferOf(last), last.offset * dtypeBytes[last.dtype], 4);
        },
        async gpuMilliseconds() {
          const times: number[] = [];
          for (let run = 0; gpu.timestamps && run < timestampRuns; run++) times.push((await program.time()).reduce((sum, { nanoseconds }) => sum + nanoseconds, 0) / 1e6);
          return times.sort((a, b) => a - b)[times.length >> 1];
        },
        release() {
          program.destroy();
          for (const unused of tensors) freeTensor(gpu, unused);
        },
      };
    },
  });

  /** Uploads named inputs under their shapes. */
  const uploadAll = (inputs: Record<string, Float32Array>, shapes: Readonly<Record<string, Shape>>): Record<string, Tensor> =>
    Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, upload(values, ...(shapes[name] ?? [values.length]))]));

  const product = (inner: number): Engine['cases'][string] => (inputs, _, repeats) => {
    const [a, b] = [upload(inputs.a, inputs.a.length / inner, inner), upload(inputs.b, inner, inputs.b.length / inner)];
    return way(repeats, [a, b], () => gemm(a, b));
  };
  const image: Engine['cases'][string] = (inputs, { size, window, channels, columns, stride, padding }, repeats) => {
    const [input, weight, bias] = [upload(inputs.input, 1, size, size, channels), upload(inputs.weight, window, window, channels, columns), upload(inputs.bias, columns)];
    return way(repeats, [input, weight, bias], () => convolution(input, weight, { bias, activation: 'relu', stride, padding }));
  };

  return {
    version: (createRequire(import.meta.url)('../../../package.json') as { version: string }).version,
    adapter: gpu.key,
    software: gpu.adapter.software,
    cases: {
      gemm: product(1024),
      gemm_mlp: product(1024),
      attention(inputs, { tokens, width, heads }, repeats) {
        const qkv = upload(inputs.qkv, 1, tokens, 3 * width);
        return way(repeats, [qkv], () => attention(qkv, { heads, causal: false }));
      },
      layer_norm(inputs, _, repeats) {
        const width = inputs.weight.length;
        const [input, weight, bias] = [upload(inputs.input, inputs.input.length / width, width), upload(inputs.weight, width), upload(inputs.bias, width)];
        return way(repeats, [input, weight, bias], () => layerNorm(input, weight, bias));
      },
      softmax(inputs, { tokens, heads }, repeats) {
        const input = upload(inputs.input, heads, tokens, tokens);
        return way(repeats, [input], () => softmax(input));
      },
      convolution_3x3: image,
      convolution_7x7: image,
      average_pool(inputs, { size, channels, window }, repeats) {
        const input = upload(inputs.input, 1, size * size, channels);
        return way(repeats, [input], () => neighbourhoodPool(input, { rows: size, columns: size, size: window }));
      },
      vit_block(inputs, { tokens, width, heads }, repeats) {
        const hidden = inputs['fc1.bias'].length;
        const tensors = uploadAll(inputs, {
          input: [1, tokens, width],
          'qkv.weight': [width, 3 * width],
          'out.weight': [width, width],
          'fc1.weight': [width, hidden],
          'fc2.weight': [hidden, width],
        });
        return way(repeats, Object.values(tensors), () => attentionBlock(tensors.input, (name) => tensors[name], heads, false));
      },
      mlp_gradient(inputs, _, repeats) {
        const [hidden, out] = [inputs['fc1.bias'].length, inputs['fc2.bias'].length];
        const width = inputs['fc1.weight'].length / hidden;
        const rows = inputs.input.length / width;
        const tensors = uploadAll(inputs, { input: [rows, width], 'fc1.weight': [width, hidden], 'fc2.weight': [hidden, out], gradient: [rows, out] });
        const parameters = ['fc1.weight', 'fc1.bias', 'fc2.weight', 'fc2.bias'].map((name) => asParameter(tensors[name]));
        return way(repeats, Object.values(tensors), () => {
          const first = gemm(tensors.input, parameters[0], { bias: parameters[1], activation: 'leaky_relu' });
          const second = gemm(first, parameters[2], { bias: parameters[3], activation: 'leaky_relu' });
          const gradientOf = gradients([{ tensor: second, gradient: tensors.gradient }]);
          return parameters.map((parameter) => gradientOf(parameter)!);
        });
      },
    },
  };
}

await serve(open);
