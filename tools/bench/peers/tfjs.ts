// TensorFlow.js on its WebGPU backend.
import { createRequire } from 'node:module';
import { provideWebGpu } from './webgpu.ts';
import { splitHeads, transposed } from './cases.ts';
import { type Engine, type Way, serve } from './engine.ts';

async function open(): Promise<Engine> {
  const adapter = await provideWebGpu();
  // The backend registers itself where it finds a GPU, so it must be loaded after.
  const tf = await import('@tensorflow/tfjs-core');
  await import('@tensorflow/tfjs-backend-webgpu');
  // Where the package `@tensorflow/tfjs` gets them from, too. The file imports folders, which only `require` can.
  createRequire(import.meta.url)('@tensorflow/tfjs-core/dist/register_all_gradients');
  if (!(await tf.setBackend('webgpu'))) throw new Error('the backend "webgpu" of TensorFlow.js does not start');
  await tf.ready();
  type Tensor = import('@tensorflow/tfjs-core').Tensor;
  type Matrix = import('@tensorflow/tfjs-core').Tensor2D;
  type Vector = import('@tensorflow/tfjs-core').Tensor1D;

  /** A way of a case: calls `compute` again and again, and waits for one element of the last result. The inputs live as long as the process. */
  const way = (repeats: number, compute: () => Tensor | Tensor[], layout = (values: Float32Array): Float32Array => values) => async (): Promise<Omit<Way, 'name'>> => {
    const once = (): Tensor[] => {
      const result = tf.tidy(compute);
      return Array.isArray(result) ? result : [result];
    };
    return {
      async run() {
        const results = Array.from({ length: repeats }, once);
        const last = results.at(-1)!.at(-1)!;
        const element = tf.tidy(() => tf.slice(tf.reshape(last, [-1]), [0], [1]));
        await element.data();
        tf.dispose([element, ...results.flat()]);
      },
      async outputs() {
        const results = once();
        const values = await Promise.all(results.map(async (result) => layout((await result.data()) as Float32Array)));
        tf.dispose(results);
        return values;
      },
      release() {},
    };
  };

  const product: Engine['cases'][string] = (inputs, _, repeats) => {
    const inner = 1024;
    const a = tf.tensor2d(inputs.a, [inputs.a.length / inner, inner]);
    const b = tf.tensor2d(inputs.b, [inner, inputs.b.length / inner]);
    return { matMul: way(repeats, () => tf.matMul(a, b)) };
  };
  const image: Engine['cases'][string] = (inputs, { size, window, channels, columns, stride, padding }, repeats) => {
    const x = tf.tensor4d(inputs.input, [1, size, size, channels]);
    const filter = tf.tensor4d(inputs.weight, [window, window, channels, columns]);
    const bias = tf.tensor1d(inputs.bias);
    return { 'fused.conv2d': way(repeats, () => tf.fused.conv2d({ x, filter, strides: stride, pad: padding, bias, activation: 'relu' })) };
  };
  /** [heads, tokens, width] each. */
  const attend = (q: Tensor, k: Tensor, v: Tensor): Tensor => tf.matMul(tf.softmax(tf.matMul(tf.mul(q, 1 / Math.sqrt(q.shape[2]!)), k, false, true)), v);
  /** LayerNorm over the last axis, its end in one kernel: `batchNorm` broadcasts like any other op. */
  const fusedNorm = (x: Matrix, weight: Vector, bias: Vector): Matrix => {
    const { mean, variance } = tf.moments(x, 1, true);
    return tf.batchNorm2d(x, mean as Matrix, variance as Matrix, tf.reshape(bias, [1, bias.size]) as Matrix, tf.reshape(weight, [1, weight.size]) as Matrix, 1e-5);
  };
  const plainNorm = (x: Matrix, weight: Vector, bias: Vector): Matrix => {
    const { mean, variance } = tf.moments(x, 1, true);
    return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, 1e-5))), weight), bias);
  };

  return {
    version: tf.version_core,
    adapter,
    cases: {
      gemm: product,
      gemm_mlp: product,
      attention(inputs, attributes, repeats) {
        const { tokens, width, heads } = attributes;
        const [q, k, v] = splitHeads(inputs.qkv, attributes).map((part) => tf.tensor3d(part, [heads, tokens, width / heads]));
        return { 'matMul, softmax, matMul': way(repeats, () => attend(q, k, v), (values) => transposed(values, [heads, tokens, width / heads], [1, 0, 2])) };
      },
      layer_norm(inputs, _, repeats) {
        const [weight, bias] = [tf.tensor1d(inputs.weight), tf.tensor1d(inputs.bias)];
        const x = tf.tensor2d(inputs.input, [inputs.input.length / weight.size, weight.size]);
        return { 'moments, batchNorm': way(repeats, () => fusedNorm(x, weight, bias)), 'moments, elementwise': way(repeats, () => plainNorm(x, weight, bias)) };
      },
      softmax(inputs, { tokens, heads }, repeats) {
        const x = tf.tensor3d(inputs.input, [heads, tokens, tokens]);
        return { softmax: way(repeats, () => tf.softmax(x)) };
      },
      convolution_3x3: image,
      convolution_7x7: image,
      average_pool(inputs, { size, channels, window }, repeats) {
        const x = tf.tensor4d(inputs.input, [1, size, size, channels]);
        return { avgPool: way(repeats, () => tf.avgPool(x, window, 1, 'same')) };
      },
      vit_block(inputs, { tokens, width, heads }, repeats) {
        const hidden = inputs['fc1.bias'].length;
        const x = tf.tensor2d(inputs.input, [tokens, width]);
        const vector = Object.fromEntries(Object.entries(inputs).filter(([name]) => /bias|norm/.test(name)).map(([name, values]) => [name, tf.tensor1d(values)]));
        const matrix = {
          qkv: tf.tensor2d(inputs['qkv.weight'], [width, 3 * width]),
          out: tf.tensor2d(inputs['out.weight'], [width, width]),
          fc1: tf.tensor2d(inputs['fc1.weight'], [width, hidden]),
          fc2: tf.tensor2d(inputs['fc2.weight'], [hidden, width]),
        };
        const linear = (input: Matrix, name: keyof typeof matrix): Matrix => tf.fused.matMul({ a: input, b: matrix[name], bias: vector[`${name}.bias`] }) as Matrix;
        const block = (): Tensor => {
          const qkv = linear(fusedNorm(x, vector['norm1.weight'], vector['norm1.bias']), 'qkv');
          const [q, k, v] = tf.unstack(tf.transpose(tf.reshape(qkv, [tokens, 3, heads, width / heads]), [1, 2, 0, 3]));
          const attended = tf.add(x, linear(tf.reshape(tf.transpose(attend(q, k, v), [1, 0, 2]), [tokens, width]), 'out')) as Matrix;
          const h = linear(fusedNorm(attended, vector['norm2.weight'], vector['norm2.bias']), 'fc1');
          return tf.add(attended, linear(tf.mul(h, tf.sigmoid(tf.mul(h, 1.702))), 'fc2'));
        };
        return { composed: way(repeats, block) };
      },
      mlp_gradient(inputs, _, repeats) {
        const [bias1, bias2] = [tf.tensor1d(inputs['fc1.bias']), tf.tensor1d(inputs['fc2.bias'])];
        const rows = inputs.gradient.length / bias2.size;
        const width = inputs.input.length / rows;
        const x = tf.tensor2d(inputs.input, [rows, width]);
        const weight1 = tf.tensor2d(inputs['fc1.weight'], [width, bias1.size]);
        const weight2 = tf.tensor2d(inputs['fc2.weight'], [bias1.size, bias2.size]);
        const gradient = tf.tensor2d(inputs.gradient, [rows, bias2.size]);
        const parameters: Tensor[] = [weight1, bias1, weight2, bias2];
        const gradients = (linear: (input: Tensor, weight: Tensor, bias: Tensor) => Tensor) => {
          const gradientsAt = tf.grads((w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) => tf.leakyRelu(linear(tf.leakyRelu(linear(x, w1, b1), 0.01), w2, b2), 0.01));
          return () => gradientsAt(parameters, gradient);
        };
        return {
          'grads of fused.matMul': way(repeats, gradients((a, b, bias) => tf.fused.matMul({ a, b, bias }))),
          'grads of matMul, add': way(repeats, gradients((a, b, bias) => tf.add(tf.matMul(a, b), bias))),
        };
      },
    },
  };
}

await serve(open);
