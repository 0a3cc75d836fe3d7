import { type BenchInput, type KernelCall, type TensorType, bytesOfTypes, defineOp, f32, foldWorkgroups, shapeError } from '../tensor/op.ts';
import { apply } from '../tensor/recording.ts';
import { type Tensor, sizeOf } from '../tensor/tensor.ts';
import { itemsOf, preferredTeams, teamVariants } from './teams.ts';
import { checkTypes } from './types.ts';

/** Tokens all over the table. */
const idsOf = (tokens: number, rows: number): BenchInput => ({ shape: [tokens], dtype: 'u32', values: () => Uint32Array.from({ length: tokens }, (_, i) => (i * 7919) % rows) });

export const embeddingOp = defineOp<Record<string, never>>({
  name: 'embedding',
  inputNames: ['ids', 'table'],
  outputs(inputs) {
    const [ids, table] = inputs;
    if (ids!.dtype !== 'u32' || table!.shape.length !== 2) throw shapeError(embeddingOp, inputs, 'ids must be u32[...] and table [rows, width]');
    return [{ shape: [...ids!.shape, table!.shape[1]], dtype: table!.dtype }];
  },
  variants: teamVariants(({ inputs: [ids, table], outputs: [output] }, teams) => {
    const [rows, width] = table!.shape;
    const { vectors, items } = itemsOf(width);
    return [
      {
        kernel: 'embedding/embedding',
        conditions: { f16: table!.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { ids: ids!, table: table!, output },
        params: { positions: ids!.size, items, rows },
        workgroups: teams.workgroups(ids!.size),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: ([ids], outputs) => ({ flops: 0, bytes: bytesOfTypes(ids) + 2 * bytesOfTypes(...outputs) }),
  backward: ({ inputs: [ids, table], outputGradients: [gradient] }) => [undefined, apply(embeddingBackwardOp, [ids, gradient], { rows: table!.shape[0] })[0]],
  sizes: {
    names: ['tokens', 'rows', 'width'],
    small: [[9, 11, 37], [70, 5, 64]],
    case: (tokens, rows, width) => ({ inputs: [idsOf(tokens, rows), f32(rows, width)], attributes: {} }),
  },
  benchCases: [{ name: 'pretraining captions', inputs: [{ shape: [64, 32], dtype: 'u32' }, { shape: [2000, 256], dtype: 'f32' }], attributes: {} }],
});

/** Gradient of `embedding` with respect to the table, which is written whole: for tables of a size that training can afford. */
export const embeddingBackwardOp = defineOp<{ readonly rows: number }>({
  name: 'embedding_backward',
  inputNames: ['ids', 'output gradient'],
  outputs(inputs, { rows }) {
    const [ids, gradient] = inputs;
    const table: TensorType = { shape: [rows, gradient!.shape.at(-1)!], dtype: gradient!.dtype };
    checkTypes(embeddingBackwardOp, inputs, [undefined, ...embeddingOp.outputs([ids, table], {})]);
    return [table];
  },
  variants: teamVariants(({ inputs: [ids, gradient], outputs: [output], attributes: { rows }, scratch }, teams): KernelCall[] => {
    const positions = ids!.size;
    const { vectors, items } = itemsOf(output.shape[1]);
    const order = scratch([positions, 2], 'u32');
    return [
      {
        kernel: 'embedding/embedding_order',
        bindings: { ids: ids!, order },
        params: { positions, rows },
        workgroups: foldWorkgroups(Math.ceil(positions / 64)),
      },
      {
        kernel: 'embedding/embedding_backward',
        conditions: { f16: output.dtype === 'f16', vectors, ...teams.conditions },
        constants: teams.constants,
        bindings: { order, output_gradient: gradient!, table_gradient: output },
        params: { rows, items, positions },
        workgroups: teams.workgroups(rows),
      },
    ];
  }),
  preferred: preferredTeams,
  cost: (inputs, outputs) => ({ flops: sizeOf(inputs[1]!.shape), bytes: bytesOfTypes(...inputs, ...outputs) }),
  sizes: {
    names: ['tokens', 'rows', 'width'],
    small: [[9, 11, 37], [70, 5, 64]],
    case: (tokens, rows, width) => ({ inputs: [idsOf(tokens, rows), f32(tokens, width)], attributes: { rows } }),
  },
  benchCases: [
    { name: 'pretraining captions', inputs: [{ shape: [64, 32], dtype: 'u32' }, { shape: [64, 32, 256], dtype: 'f32' }], attributes: { rows: 2000 } },
  ],
});

/**
 * A row of the table for every token (torch.nn.functional.embedding). The gradient orders the positions by comparing
 * all pairs and writes the whole table, so training is meant for up to some ten thousand positions and rows.
 *
 * @param ids u32[...], each below rows; the tokenizer sees to that, a larger one reads the last row
 * @param table [rows, width]
 * @returns [..., width]
 */
export function embedding(ids: Tensor, table: Tensor): Tensor {
  return apply(embeddingOp, [ids, table], {})[0];
}
