// ONNX Runtime, on the provider that the command line names: `webgpu` (on a Dawn of its own) or `cpu`.
import { prepareDriver } from '../../../src/gpu/driver.ts';
import { splitHeads, transposed } from './cases.ts';
import { type Engine, type Way, installedVersion, serve } from './engine.ts';
import { OnnxModel } from './onnx_model.ts';

const provider = process.argv[2] as 'webgpu' | 'cpu';
/** Domain of ONNX Runtime's own operators. */
const own = 'com.microsoft';

/** Adds a case's operators to a model and returns the name of its output. */
type Build = (model: OnnxModel) => string;

async function open(): Promise<Engine> {
  prepareDriver();
  const ort = await import('onnxruntime-node');
  const options = {
    executionProviders: [provider],
    logSeverityLevel: 3 as const,
    extra: {
      // The runs of one submission are equal, and would be merged.
      optimization: { disable_specified_optimizers: 'CommonSubexpressionElimination' },
      session: {
        // The threads of a session must not take the processor from the engine whose turn is next.
        force_spinning_stop: '1',
        // What the provider cannot do is an error, not a detour.
        disable_cpu_ep_fallback: provider === 'cpu' ? '0' : '1',
      },
    },
  };

  /**
   * A way of a case: a model that computes it so many times over. Its data lie in the model as variables: on the
   * device before a run starts, and not computed away when the model is loaded. Of every result one element comes back.
   */
  const way = (repeats: number, shape: readonly number[], build: Build, layout = (values: Float32Array): Float32Array => values) => async (): Promise<Omit<Way, 'name'>> => {
    const ones = shape.map(() => 1);
    const model = new OnnxModel();
    const results = Array.from({ length: repeats }, () => build(model));
    const elements = results.map((result) => model.node('Slice', [result, model.integers(...shape.map(() => 0)), model.integers(...ones)]));
    const element = repeats > 1 ? model.node('Concat', elements, { axis: 0 }) : elements[0];
    const file = model.encode([
      { name: results[0], shape },
      { name: element, shape: [repeats, ...ones.slice(1)] },
    ]);
    const session = await ort.InferenceSession.create(file, options);
    return {
      // Outputs that are not asked for stay on the device.
      outputs: async () => [layout((await session.run({}, [results[0]]))[results[0]].data as Float32Array)],
      async run() {
        await session.run({}, [element]);
      },
      release: () => session.release(),
    };
  };
  const variable = (model: OnnxModel, name: string, values: Float32Array, ...shape: number[]): string => model.initializer({ name, shape, values, variable: true });
  const constant = (model: OnnxModel, name: string, values: Float32Array, ...shape: number[]): string => model.initializer({ name, shape, values });

  const product: Engine['cases'][string] = ({ a, b }, _, repeats) => {
    const inner = 1024;
    const [rows, columns] = [a.length / inner, b.length / inner];
    const operands = (model: OnnxModel): string[] => [variable(model, 'a', a, rows, inner), constant(model, 'b', b, inner, columns)];
    return {
      MatMul: way(repeats, [rows, columns], (model) => model.node('MatMul', operands(model))),
      Gemm: way(repeats, [rows, columns], (model) => model.node('Gemm', operands(model))),
    };
  };
  const image: Engine['cases'][string] = (inputs, { size, window, channels, columns, stride, padding, out }, repeats) => {
    const x = transposed(inputs.input, [size, size, channels], [2, 0, 1]);
    const weight = transposed(inputs.weight, [window, window, channels, columns], [3, 2, 0, 1]);
    return {
      'Conv, Relu': way(
        repeats,
        [1, columns, out, out],
        (model) => {
          const operands = [variable(model, 'x', x, 1, channels, size, size), constant(model, 'weight', weight, columns, channels, window, window), constant(model, 'bias', inputs.bias, columns)];
          return model.node('Relu', [model.node('Conv', operands, { kernel_shape: [window, window], strides: [stride, stride], pads: [padding, padding, padding, padding] })]);
        },
        (values) => transposed(values, [columns, out, out], [1, 2, 0]),
      ),
    };
  };
  /** q, v [heads, tokens, width], k [heads, width, tokens]. */
  const attend = (model: OnnxModel, q: string, k: string, v: string, size: number): string =>
    model.node('MatMul', [model.node('Softmax', [model.node('MatMul', [model.node('Mul', [q, model.scalar(1 / Math.sqrt(size))]), k])], { axis: -1 }), v]);
  const multiHead = (model: OnnxModel, q: string, k: string, v: string, heads: number): string => model.node('MultiHeadAttention', [q, k, v], { num_heads: heads }, own);

  const cases: Engine['cases'] = {
    gemm: product,
    gemm_mlp: product,
    attention(inputs, attributes, repeats) {
      const { tokens, width, heads } = attributes;
      const size = width / heads;
      const [q, k, v] = splitHeads(inputs.qkv, attributes);
      const rows = (part: Float32Array): Float32Array => transposed(part, [heads, tokens, size], [1, 0, 2]);
      return {
        MultiHeadAttention: way(repeats, [1, tokens, width], (model) => {
          const [query, key, value] = [['q', q] as const, ['k', k] as const, ['v', v] as const].map(([name, part]) => variable(model, name, rows(part), 1, tokens, width));
          return multiHead(model, query, key, value, heads);
        }),
        'MatMul, Softmax, MatMul': way(
          repeats,
          [heads, tokens, size],
          (model) =>
            attend(
              model,
              variable(model, 'q', q, heads, tokens, size),
              variable(model, 'k', transposed(k, [heads, tokens, size], [0, 2, 1]), heads, size, tokens),
              variable(model, 'v', v, heads, tokens, size),
              size,
            ),
          (values) => transposed(values, [heads, tokens, size], [1, 0, 2]),
        ),
      };
    },
    layer_norm(inputs, _, repeats) {
      const width = inputs.weight.length;
      const rows = inputs.input.length / width;
      return {
        LayerNormalization: way(repeats, [rows, width], (model) =>
          model.node('LayerNormalization', [variable(model, 'x', inputs.input, rows, width), constant(model, 'weight', inputs.weight, width), constant(model, 'bias', inputs.bias, width)], { axis: -1, epsilon: { float: 1e-5 } }),
        ),
      };
    },
    softmax(inputs, { tokens, heads }, repeats) {
      return { Softmax: way(repeats, [heads, tokens, tokens], (model) => model.node('Softmax', [variable(model, 'x', inputs.input, heads, tokens, tokens)], { axis: -1 })) };
    },
    convolution_3x3: image,
    convolution_7x7: image,
    average_pool(inputs, { size, channels, window }, repeats) {
      const padding = (window - 1) / 2;
      const x = transposed(inputs.input, [size, size, channels], [2, 0, 1]);
      return {
        AveragePool: way(
          repeats,
          [1, channels, size, size],
          (model) => model.node('AveragePool', [variable(model, 'x', x, 1, channels, size, size)], { kernel_shape: [window, window], strides: [1, 1], pads: [padding, padding, padding, padding], count_include_pad: 0 }),
          (values) => transposed(values, [channels, size, size], [1, 2, 0]),
        ),
      };
    },
    vit_block(inputs, { tokens, width, heads }, repeats) {
      const hidden = inputs['fc1.bias'].length;
      const size = width / heads;
      const shapes: Record<string, number[]> = { 'qkv.weight': [width, 3 * width], 'out.weight': [width, width], 'fc1.weight': [width, hidden], 'fc2.weight': [hidden, width] };
      const block = (attention: (model: OnnxModel, qkv: string) => string, linear: (model: OnnxModel, x: string, weight: string, bias: string) => string): Build => (model) => {
        const of = (name: string): string => constant(model, name, inputs[name], ...(shapes[name] ?? [inputs[name].length]));
        const norm = (x: string, name: string): string => model.node('LayerNormalization', [x, of(`${name}.weight`), of(`${name}.bias`)], { axis: -1, epsilon: { float: 1e-5 } });
        const layer = (x: string, name: string): string => linear(model, x, of(`${name}.weight`), of(`${name}.bias`));
        const x = variable(model, 'input', inputs.input, tokens, width);
        const attended = model.node('Add', [x, layer(attention(model, layer(norm(x, 'norm1'), 'qkv')), 'out')]);
        const h = layer(norm(attended, 'norm2'), 'fc1');
        return model.node('Add', [attended, layer(model.node('QuickGelu', [h], { alpha: { float: 1.702 } }, own), 'fc2')]);
      };
      const fused = (model: OnnxModel, qkv: string): string => {
        const parts = model.nodes('Split', [model.node('Reshape', [qkv, model.integers(1, tokens, 3 * width)]), model.integers(width, width, width)], 3, { axis: 2 });
        return model.node('Reshape', [multiHead(model, parts[0], parts[1], parts[2], heads), model.integers(tokens, width)]);
      };
      const composed = (model: OnnxModel, qkv: string): string => {
        const [q, k, v] = model.nodes('Split', [qkv, model.integers(width, width, width)], 3, { axis: 1 }).map((part) => model.node('Reshape', [part, model.integers(tokens, heads, size)]));
        const across = (part: string, ...perm: number[]): string => model.node('Transpose', [part], { perm });
        return model.node('Reshape', [across(attend(model, across(q, 1, 0, 2), across(k, 1, 2, 0), across(v, 1, 0, 2), size), 1, 0, 2), model.integers(tokens, width)]);
      };
      const gemm = (model: OnnxModel, x: string, weight: string, bias: string): string => model.node('Gemm', [x, weight, bias]);
      const matMul = (model: OnnxModel, x: string, weight: string, bias: string): string => model.node('Add', [model.node('MatMul', [x, weight]), bias]);
      return {
        'MultiHeadAttention, Gemm': way(repeats, [tokens, width], block(fused, gemm)),
        'composed attention, MatMul': way(repeats, [tokens, width], block(composed, matMul)),
      };
    },
  };
  return { version: installedVersion('onnxruntime-node'), cases };
}

await serve(open);
