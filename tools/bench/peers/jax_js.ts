// jax-js on WebGPU. Its functions take over their arguments; `.ref` keeps one for another use.
import { provideWebGpu } from './webgpu.ts';
import { splitHeads, transposed } from './cases.ts';
import { type Engine, type Way, installedVersion, serve } from './engine.ts';

async function open(): Promise<Engine> {
  const adapter = await provideWebGpu();
  const jax = await import('@jax-js/jax');
  const { numpy: np, nn, lax } = jax;
  type Tensor = import('@jax-js/jax').Array;
  const devices = await jax.init('webgpu');
  if (!devices.includes('webgpu')) throw new Error('jax-js does not start on WebGPU');
  jax.defaultDevice('webgpu');

  const upload = (values: Float32Array, ...shape: number[]): Tensor => np.array(values as Float32Array<ArrayBuffer>, { shape });
  /** A way of a case: `compute`, compiled with `jit`, called again and again on the same arrays. */
  const way = (repeats: number, inputs: () => readonly Tensor[], compute: (...inputs: Tensor[]) => Tensor | Tensor[], layout = (values: Float32Array): Float32Array => values) => async (): Promise<Omit<Way, 'name'>> => {
    const arrays = inputs();
    const compiled = jax.jit(compute as (...inputs: Tensor[]) => Tensor[]);
    const once = (): Tensor[] => [compiled(...arrays.map((array) => array.ref)) as Tensor | Tensor[]].flat() as Tensor[];
    return {
      async run() {
        const results = Array.from({ length: repeats }, once).flat();
        await jax.blockUntilReady(results);
        for (const result of results) result.dispose();
      },
      // `data` takes the array over.
      outputs: async () => Promise.all(once().map(async (result) => layout((await result.data()) as Float32Array))),
      release() {
        compiled.dispose();
        for (const array of arrays) array.dispose();
      },
    };
  };

  const product: Engine['cases'][string] = ({ a, b }, _, repeats) => {
    const inner = 1024;
    return { matmul: way(repeats, () => [upload(a, a.length / inner, inner), upload(b, inner, b.length / inner)], (x, y) => np.matmul(x, y)) };
  };
  const image: Engine['cases'][string] = (inputs, { size, window, channels, columns, stride, padding, out }, repeats) => ({
    conv: way(
      repeats,
      () => [
        upload(transposed(inputs.input, [size, size, channels], [2, 0, 1]), 1, channels, size, size),
        upload(transposed(inputs.weight, [window, window, channels, columns], [3, 2, 0, 1]), columns, channels, window, window),
        upload(inputs.bias, columns, 1, 1),
      ],
      (x, weight, bias) => nn.relu(lax.conv(x, weight, [stride, stride], [[padding, padding], [padding, padding]]).add(bias)),
      (values) => transposed(values, [columns, out, out], [1, 2, 0]),
    ),
  });
  /** [heads, tokens, width] each. */
  const attend = (q: Tensor, k: Tensor, v: Tensor): Tensor => {
    const scale = 1 / Math.sqrt(q.shape[2]);
    return np.matmul(nn.softmax(np.matmul(q, np.transpose(k, [0, 2, 1])).mul(scale), -1), v);
  };
  const norm = (x: Tensor, weight: Tensor, bias: Tensor): Tensor => nn.standardize(x, -1).mul(weight).add(bias);

  return {
    version: installedVersion('@jax-js/jax'),
    adapter,
    cases: {
      gemm: product,
      gemm_mlp: product,
      attention(inputs, attributes, repeats) {
        const { tokens, width, heads } = attributes;
        const size = width / heads;
        const parts = (order: number[]) => (): Tensor[] => splitHeads(inputs.qkv, attributes).map((part) => upload(transposed(part, [heads, tokens, size], order), ...order.map((axis) => [heads, tokens, size][axis])));
        return {
          'matmul, softmax, matmul': way(repeats, parts([0, 1, 2]), attend, (values) => transposed(values, [heads, tokens, size], [1, 0, 2])),
          dotProductAttention: way(repeats, parts([1, 0, 2]), (q, k, v) => nn.dotProductAttention(q, k, v)),
        };
      },
      layer_norm(inputs, _, repeats) {
        const width = inputs.weight.length;
        return { standardize: way(repeats, () => [upload(inputs.input, inputs.input.length / width, width), upload(inputs.weight, width), upload(inputs.bias, width)], norm) };
      },
      softmax(inputs, { tokens, heads }, repeats) {
        return { softmax: way(repeats, () => [upload(inputs.input, heads, tokens, tokens)], (x) => nn.softmax(x, -1)) };
      },
      convolution_3x3: image,
      convolution_7x7: image,
      average_pool(inputs, { size, channels, window }, repeats) {
        const radius = (window - 1) / 2;
        const cells = (at: number): number => Math.min(size - 1, at + radius) - Math.max(0, at - radius) + 1;
        const share = Float32Array.from({ length: size * size }, (_, i) => 1 / (cells(Math.floor(i / size)) * cells(i % size)));
        const border: [number, number] = [radius, radius];
        const offsets = Array.from({ length: window }, (_, i) => i);
        return {
          reduceWindow: way(
            repeats,
            () => [upload(transposed(inputs.input, [size, size, channels], [2, 0, 1]), channels, size, size), upload(share, size, size)],
            (x, shares) => lax.reduceWindow(np.pad(x, [[0, 0], border, border]), (cellsOf) => np.sum(cellsOf), [window, window]).mul(shares),
            (values) => transposed(values, [channels, size, size], [1, 2, 0]),
          ),
          'sum of slices': way(
            repeats,
            () => [upload(inputs.input, size, size, channels), upload(share, size, size, 1)],
            (x, shares) => {
              const padded = np.pad(x, [border, border, [0, 0]]);
              const slices = offsets.flatMap((row) => offsets.map((column) => padded.ref.slice([row, row + size], [column, column + size], [])));
              padded.dispose();
              return slices.reduce((sum, slice) => sum.add(slice)).mul(shares);
            },
          ),
        };
      },
      vit_block(inputs, { tokens, width, heads }, repeats) {
        const hidden = inputs['fc1.bias'].length;
        const shapes: Record<string, number[]> = { input: [tokens, width], 'qkv.weight': [width, 3 * width], 'out.weight': [width, width], 'fc1.weight': [width, hidden], 'fc2.weight': [hidden, width] };
        const names = Object.keys(inputs);
        return {
          composed: way(
            repeats,
            () => names.map((name) => upload(inputs[name], ...(shapes[name] ?? [inputs[name].length]))),
            (...arrays) => {
              const of = (name: string): Tensor => arrays[names.indexOf(name)];
              const linear = (x: Tensor, name: string): Tensor => np.matmul(x, of(`${name}.weight`)).add(of(`${name}.bias`));
              const x = of('input');
              const qkv = np.transpose(linear(norm(x.ref, of('norm1.weight'), of('norm1.bias')), 'qkv').reshape([tokens, 3, heads, width / heads]), [1, 2, 0, 3]);
              const [q, k, v] = [qkv.ref.slice(0), qkv.ref.slice(1), qkv.slice(2)];
              const attended = x.add(linear(np.transpose(attend(q, k, v), [1, 0, 2]).reshape([tokens, width]), 'out'));
              const h = linear(norm(attended.ref, of('norm2.weight'), of('norm2.bias')), 'fc1');
              return attended.add(linear(h.ref.mul(nn.sigmoid(h.mul(1.702))), 'fc2'));
            },
          ),
        };
      },
      mlp_gradient(inputs, _, repeats) {
        const [hidden, out] = [inputs['fc1.bias'].length, inputs['fc2.bias'].length];
        const rows = inputs.gradient.length / out;
        const width = inputs.input.length / rows;
        return {
          vjp: way(
            repeats,
            () => [
              upload(inputs['fc1.weight'], width, hidden),
              upload(inputs['fc1.bias'], hidden),
              upload(inputs['fc2.weight'], hidden, out),
              upload(inputs['fc2.bias'], out),
              upload(inputs.input, rows, width),
              upload(inputs.gradient, rows, out),
            ],
            (w1, b1, w2, b2, x, gradient) => {
              const mlp = (weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor): Tensor => {
                const first = nn.leakyRelu(np.matmul(x, weight1).add(bias1), 0.01);
                return nn.leakyRelu(np.matmul(first, weight2).add(bias2), 0.01);
              };
              const [output, back] = jax.vjp(mlp, [w1, b1, w2, b2]);
              output.dispose();
              const gradients = back(gradient) as unknown as Tensor[];
              back.dispose();
              return gradients;
            },
          ),
        };
      },
    },
  };
}

await serve(open);
