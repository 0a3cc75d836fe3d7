import { attention } from '../ops/attention.ts';
import { gemm } from '../ops/gemm.ts';
import { layerNorm } from '../ops/layer_norm.ts';
import { scope } from '../tensor/recording.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { ParameterSpec } from './parameters.ts';

/** Sizes of a transformer tower. */
export interface TransformerSize {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Width between the two Linears of each block. */
  readonly mlpWidth: number;
}

/** Names of the tensors of block `layer` in a checkpoint. */
export interface BlockNames {
  readonly norm1: string;
  /** Names of the query, key and value projections, or of one that holds all three; without ".weight" and ".bias". */
  readonly qkv: readonly { readonly weight: string; readonly bias: string }[];
  readonly out: string;
  readonly norm2: string;
  readonly fc1: string;
  readonly fc2: string;
}

/** The parameters of one block: `prefix` + "norm1.weight", "qkv.weight" and so on. */
export function attentionBlockParameters(prefix: string, { width, mlpWidth }: TransformerSize, names: BlockNames): ParameterSpec[] {
  const vector = (name: string, stored: string, size: number): ParameterSpec => ({ name: `${prefix}${name}`, parts: [{ name: stored, shape: [size] }], layout: 'as stored' });
  const matrix = (name: string, stored: string, out: number, input: number): ParameterSpec => ({
    name: `${prefix}${name}`,
    parts: [{ name: stored, shape: [out, input] }],
    layout: 'transposed',
  });
  const rows = (3 * width) / names.qkv.length;
  return [
    vector('norm1.weight', `${names.norm1}.weight`, width),
    vector('norm1.bias', `${names.norm1}.bias`, width),
    { name: `${prefix}qkv.weight`, parts: names.qkv.map(({ weight }) => ({ name: weight, shape: [rows, width] })), layout: 'transposed' },
    { name: `${prefix}qkv.bias`, parts: names.qkv.map(({ bias }) => ({ name: bias, shape: [rows] })), layout: 'as stored' },
    matrix('out.weight', `${names.out}.weight`, width, width),
    vector('out.bias', `${names.out}.bias`, width),
    vector('norm2.weight', `${names.norm2}.weight`, width),
    vector('norm2.bias', `${names.norm2}.bias`, width),
    matrix('fc1.weight', `${names.fc1}.weight`, mlpWidth, width),
    vector('fc1.bias', `${names.fc1}.bias`, mlpWidth),
    matrix('fc2.weight', `${names.fc2}.weight`, width, mlpWidth),
    vector('fc2.bias', `${names.fc2}.bias`, width),
  ];
}

/**
 * One residual attention block of CLIP (pre-LayerNorm, QuickGELU): five GEMMs and LayerNorms with everything
 * between them fused.
 *
 * @param x [batch, tokens, width]
 * @param parameter gives the block's parameters by name
 * @returns [batch, tokens, width]
 */
export function attentionBlock(x: Tensor, parameter: (name: string) => Tensor, heads: number, causal: boolean): Tensor {
  const attended = scope('attention', () => {
    const normal = layerNorm(x, parameter('norm1.weight'), parameter('norm1.bias'));
    const qkv = gemm(normal, parameter('qkv.weight'), { bias: parameter('qkv.bias') });
    return gemm(attention(qkv, { heads, causal }), parameter('out.weight'), { bias: parameter('out.bias'), residual: x });
  });
  return scope('mlp', () => {
    const normal = layerNorm(attended, parameter('norm2.weight'), parameter('norm2.bias'));
    const hidden = gemm(normal, parameter('fc1.weight'), { bias: parameter('fc1.bias'), activation: 'quick_gelu' });
    return gemm(hidden, parameter('fc2.weight'), { bias: parameter('fc2.bias'), residual: attended });
  });
}
