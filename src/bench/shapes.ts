import { UserError } from '../errors.ts';
import { type BenchCase, type Op, type TensorType, bytesOfTypes } from '../tensor/op.ts';
import { formatShape } from '../tensor/tensor.ts';

/** What the numbers of `--shapes` are: those of an op or of a fusion study. */
export interface SizeNames {
  /** What each number is, in order. */
  readonly names: readonly string[];
  /** Numbers that make sense together, as many as names. */
  readonly example: readonly number[];
}

/** "rows x depth x columns, for example 37x67x5": what somebody who gives sizes wants to be told. */
export function describeSizes({ names, example }: SizeNames): string {
  return `${names.join(' x ')}, for example ${example.join('x')}`;
}

/** The names of an op's sizes; undefined where it has cases of its own only. */
export function sizeNamesOf({ sizes }: Pick<Op<unknown>, 'sizes'>): SizeNames | undefined {
  return sizes && { names: sizes.names, example: sizes.small.at(-1)! };
}

/** The error about one shape of `--shapes`. @param taker op or study that the sizes are for */
export function shapeProblem(shape: string, problem: string, taker: string, sizes: SizeNames): UserError {
  return new UserError(`--shapes ${shape}: ${problem}. ${taker} takes ${describeSizes(sizes)}.`);
}

/**
 * The numbers of `--shapes 1370x1024x1024,77x768x3072`, one list for each shape.
 *
 * @param taker op or study that the sizes are for
 * @throws UserError naming the shape and what its numbers mean, when they are no whole numbers or not as many as names
 */
export function parseShapes(text: string, taker: string, sizes: SizeNames): number[][] {
  return text.split(',').map((part) => {
    const shape = part.trim();
    const words = shape.split(/\s*[x×]\s*/i);
    if (!words.every((word) => /^\d{1,9}$/.test(word))) throw shapeProblem(shape, 'sizes must be whole numbers with x between them', taker, sizes);
    if (words.length !== sizes.names.length) throw shapeProblem(shape, `${words.length === 1 ? 'one number is' : `${words.length} numbers are`} given, not ${sizes.names.length}`, taker, sizes);
    return words.map(Number);
  });
}

/**
 * Why a tensor cannot be on the device; undefined where it can.
 *
 * @param largestBinding bytes that the adapter can bind at once
 * @param whose words that follow the tensor: " of the chain"
 */
export function tensorProblem(tensor: TensorType, largestBinding: number, whose = ''): string | undefined {
  if (!tensor.shape.every((size) => Number.isSafeInteger(size) && size >= 1)) return `there is no tensor ${formatShape(tensor.shape)}${whose}`;
  if (bytesOfTypes(tensor) > largestBinding) return `a tensor ${formatShape(tensor.shape)}${whose} does not fit into the ${largestBinding} bytes that this adapter binds at once`;
  return undefined;
}

/**
 * The cases of `--shapes 1370x1024x1024,77x768x3072`, named by their sizes.
 *
 * @param largestBinding bytes that the adapter can bind at once: no tensor may be larger
 * @throws UserError naming the shape and what its numbers mean for this op
 */
export function casesOfShapes<A>(op: Op<A>, text: string, largestBinding: number): BenchCase<A>[] {
  const sizeNames = sizeNamesOf(op as Op<unknown>);
  if (!sizeNames) throw new UserError(`--shapes: ${op.name} has cases of its own only`);
  return parseShapes(text, op.name, sizeNames).map((numbers) => {
    const name = numbers.join('x');
    const fail = (problem: string): UserError => shapeProblem(name, problem, op.name, sizeNames);
    let given: Omit<BenchCase<A>, 'name'>;
    let outputs: readonly TensorType[];
    try {
      given = op.sizes!.case(...numbers);
      outputs = op.outputs(given.inputs, given.attributes);
    } catch (error) {
      throw fail((error as Error).message);
    }
    for (const tensor of [...given.inputs, ...outputs]) {
      const problem = tensor && tensorProblem(tensor, largestBinding);
      if (problem) throw fail(problem);
    }
    return { ...given, name };
  });
}
