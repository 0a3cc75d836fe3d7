import { UserError } from '../errors.ts';
import { type BenchCase, type Op, type TensorType, bytesOfTypes } from '../tensor/op.ts';
import { formatShape } from '../tensor/tensor.ts';

/** "rows x depth x columns, for example 37x67x5": what an op wants to be told. */
export function describeSizes({ sizes }: Pick<Op<unknown>, 'sizes'>): string {
  return `${sizes!.names.join(' x ')}, for example ${sizes!.small.at(-1)!.join('x')}`;
}

/**
 * The cases of `--shapes 1370x1024x1024,77x768x3072`, named by their sizes.
 *
 * @param largestBinding bytes that the adapter can bind at once: no tensor may be larger
 * @throws UserError naming the shape and what its numbers mean for this op
 */
export function casesOfShapes<A>(op: Op<A>, text: string, largestBinding: number): BenchCase<A>[] {
  if (!op.sizes) throw new UserError(`--shapes: ${op.name} has cases of its own only`);
  return text.split(',').map((part) => {
    const shape = part.trim();
    const fail = (problem: string): UserError => new UserError(`--shapes ${shape}: ${problem}. ${op.name} takes ${describeSizes(op as Op<unknown>)}.`);
    const words = shape.split(/\s*[x×]\s*/i);
    if (!words.every((word) => /^\d{1,9}$/.test(word))) throw fail('sizes must be whole numbers with x between them');
    const names = op.sizes!.names;
    if (words.length !== names.length) throw fail(`${words.length === 1 ? 'one number is' : `${words.length} numbers are`} given, not ${names.length}`);
    const numbers = words.map(Number);
    let given: Omit<BenchCase<A>, 'name'>;
    let outputs: readonly TensorType[];
    try {
      given = op.sizes!.case(...numbers);
      outputs = op.outputs(given.inputs, given.attributes);
    } catch (error) {
      throw fail((error as Error).message);
    }
    for (const tensor of [...given.inputs, ...outputs]) {
      if (!tensor) continue;
      if (!tensor.shape.every((size) => Number.isSafeInteger(size) && size >= 1)) throw fail(`there is no tensor ${formatShape(tensor.shape)}`);
      if (bytesOfTypes(tensor) > largestBinding) throw fail(`a tensor ${formatShape(tensor.shape)} does not fit into the ${largestBinding} bytes that this adapter binds at once`);
    }
    return { ...given, name: numbers.join('x') };
  });
}
