import type { Gpu } from '../gpu/device.ts';
import { attention } from '../ops/attention.ts';
import { cosineSoftmax } from '../ops/cosine_softmax.ts';
import { gemm } from '../ops/gemm.ts';
import { layerNorm } from '../ops/layer_norm.ts';
import { Program } from '../tensor/program.ts';
import { RandomSource } from '../tensor/random.ts';
import { type Shape, type Tensor, freeTensor, readTensor, sizeOf, tensor } from '../tensor/tensor.ts';

/** One kernel held against a float64 computation on the host. */
export interface SelfCheck {
  readonly op: string;
  /** Largest error relative to the largest expected value. */
  readonly error: number;
  readonly passed: boolean;
}

/** What DESIGN asks of f32 kernels. */
const tolerance = 1e-4;

interface Case {
  readonly op: string;
  readonly inputs: readonly Shape[];
  build(...inputs: Tensor[]): Tensor;
  expected(...inputs: Float32Array[]): Float64Array;
}

const [rows, inner, columns] = [67, 129, 35];
const [tokens, heads, headSize] = [37, 2, 16];
const [patches, width] = [19, 45];

const cases: readonly Case[] = [
  {
    op: 'gemm',
    inputs: [[rows, inner], [inner, columns], [columns]],
    build: (a, b, bias) => gemm(a, b, { bias, activation: 'quick_gelu' }),
    expected(a, b, bias) {
      const output = new Float64Array(rows * columns);
      for (let i = 0; i < rows; i++) {
        for (let j = 0; j < columns; j++) {
          let sum = bias[j];
          for (let k = 0; k < inner; k++) sum += a[i * inner + k] * b[k * columns + j];
          output[i * columns + j] = sum / (1 + Math.exp(-1.702 * sum));
        }
      }
      return output;
    },
  },
  {
    op: 'attention',
    inputs: [[1, tokens, 3 * heads * headSize]],
    build: (qkv) => attention(qkv, { heads, causal: true }),
    expected(qkv) {
      const all = heads * headSize;
      const at = (token: number, part: number, head: number, c: number): number => qkv[(token * 3 + part) * all + head * headSize + c];
      const output = new Float64Array(tokens * all);
      for (let head = 0; head < heads; head++) {
        for (let i = 0; i < tokens; i++) {
          const logits: number[] = [];
          for (let j = 0; j <= i; j++) {
            let sum = 0;
            for (let c = 0; c < headSize; c++) sum += at(i, 0, head, c) * at(j, 1, head, c);
            logits.push(sum / Math.sqrt(headSize));
          }
          const most = Math.max(...logits);
          const weights = logits.map((logit) => Math.exp(logit - most));
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          for (let c = 0; c < headSize; c++) output[i * all + head * headSize + c] = weights.reduce((sum, weight, j) => sum + (weight / total) * at(j, 2, head, c), 0);
        }
      }
      return output;
    },
  },
  {
    op: 'layer_norm',
    inputs: [[rows, inner], [inner], [inner]],
    build: (x, weight, bias) => layerNorm(x, weight, bias),
    expected(x, weight, bias) {
      const output = new Float64Array(x.length);
      for (let row = 0; row < rows; row++) {
        const values = x.subarray(row * inner, (row + 1) * inner);
        const mean = values.reduce((sum, value) => sum + value, 0) / inner;
        const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / inner;
        values.forEach((value, i) => (output[row * inner + i] = ((value - mean) / Math.sqrt(variance + 1e-5)) * weight[i] + bias[i]));
      }
      return output;
    },
  },
  {
    op: 'cosine_softmax',
    inputs: [[1, patches, width], [1, 2, width]],
    build: (x, text) => cosineSoftmax(x, text, { temperature: 10 }),
    expected(x, text) {
      const norm = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
      return Float64Array.from({ length: patches }, (_, p) => {
        const patch = x.subarray(p * width, (p + 1) * width);
        const [normal, abnormal] = [0, 1].map((row) => {
          const words = text.subarray(row * width, (row + 1) * width);
          return patch.reduce((sum, value, i) => sum + value * words[i], 0) / norm(patch) / norm(words);
        });
        return 1 / (1 + Math.exp(10 * (normal - abnormal)));
      });
    },
  },
];

/** Runs a few kernels of every family, with the variants that the device would use, against float64. */
export async function selfCheck(gpu: Gpu): Promise<SelfCheck[]> {
  const results: SelfCheck[] = [];
  for (const { op, inputs, build, expected } of cases) {
    const random = new RandomSource(1);
    const values = inputs.map((shape) => Float32Array.from({ length: sizeOf(shape) }, () => random.uniform(-1, 1)));
    const tensors = inputs.map((shape, i) => tensor(gpu, values[i], shape, 'f32', `input ${i}`));
    const program = await Program.record(gpu, () => build(...tensors), { label: `self-check of ${op}`, poison: true });
    try {
      await program.run();
      const output = await readTensor(gpu, program.outputs);
      const wanted = expected(...values);
      let largest = 0;
      let error = 0;
      wanted.forEach((value, i) => {
        largest = Math.max(largest, Math.abs(value));
        const difference = Math.abs(output[i] - value);
        error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(error, difference);
      });
      results.push({ op, error: error / largest, passed: error <= tolerance * largest });
    } finally {
      program.destroy();
      for (const unused of tensors) freeTensor(gpu, unused);
    }
  }
  return results;
}
