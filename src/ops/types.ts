import { type BenchInput, type Op, type TensorType, shapeError } from '../tensor/op.ts';
import { formatShape } from '../tensor/tensor.ts';

/** What an error of a shape rule says of its op. */
export type OpNames = Pick<Op<never>, 'name' | 'inputNames'>;

/** An input of a benchmark case that is f32 in every precision: a statistic, a mask, the gradient of an f32 result. */
export interface SingleInput extends BenchInput {
  readonly single: true;
}

/** An f32 input of a benchmark case that stays f32 where the case is timed in f16. */
export function single(...shape: number[]): SingleInput {
  return { shape, dtype: 'f32', single: true };
}

/** Whether an input of a benchmark case was made by `single`. */
export function isSingle(input: BenchInput): input is SingleInput {
  return 'single' in input;
}

/**
 * The usual shape rule of a gradient, whose operands are known from the forward op: says which operand must be what.
 *
 * @param expected type of each operand, in order; undefined for one that may be anything or absent
 * @throws Error of `shapeError` where an operand is absent, or has another element type or shape
 */
export function checkTypes(op: OpNames, inputs: readonly (TensorType | undefined)[], expected: readonly (TensorType | undefined)[]): void {
  const text = ({ dtype, shape }: TensorType): string => `${dtype}${formatShape(shape)}`;
  expected.forEach((wanted, i) => {
    const given = inputs[i];
    if (wanted && (!given || text(given) !== text(wanted))) throw shapeError(op, inputs, `${op.inputNames[i]} must be ${text(wanted)}`);
  });
}
