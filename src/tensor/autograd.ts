import { apply, currentRecording, reshape } from './recording.ts';
import { type Storage, Tensor, formatShape } from './tensor.ts';

/**
 * Records the backward pass of everything on the tape that `seeds` depend on: each recorded op's own `backward`,
 * last one first. An input gets a gradient only where something trained lies upstream of it, so frozen weights and
 * the layers before the first trained tensor cost nothing.
 *
 * @param seeds tensors to start from, each with the gradient of the total loss with respect to it (same size)
 * @param accumulate adds two gradients of one tensor (`add` of `src/ops`)
 * @returns gives the gradient of a tensor, or undefined where none flows
 * @throws Error naming the op when an op on the way has no backward function
 */
export function backward(
  seeds: readonly { readonly tensor: Tensor; readonly gradient: Tensor }[],
  accumulate: (a: Tensor, b: Tensor) => Tensor,
): (of: Tensor) => Tensor | undefined {
  const recording = currentRecording();
  // Views share storage, so gradients are filed by storage and reshaped when they are asked for.
  const gradients = new Map<Storage, Tensor>();
  const contribute = (target: Tensor, gradient: Tensor): void => {
    if (gradient.size !== target.size) {
      throw new Error(`gradient ${formatShape(gradient.shape)} of ${target.toString()} has another size`);
    }
    const earlier = gradients.get(target.storage);
    gradients.set(target.storage, earlier ? accumulate(earlier, reshape(gradient, earlier.shape)) : gradient);
  };
  const gradientOf = (of: Tensor): Tensor | undefined => {
    const gradient = gradients.get(of.storage);
    return gradient && reshape(gradient, of.shape);
  };
  // What the recomputed parts gave the first time, and the same values computed again.
  const again = new Map<Storage, Storage>();
  const replayed = new Set<object>();
  const substitute = <T extends Tensor | undefined>(of: T): T => {
    const storage = of && again.get(of.storage);
    return storage ? (new Tensor(of.shape, of.dtype, storage, of.offset) as T) : of;
  };
  /** Records the ops of the recomputed part around an op again; those that no gradient needs drop out of the program. */
  const replay = (index: number): void => {
    const part = recording.recomputed.find(({ first, end }) => first <= index && index < end);
    if (!part || replayed.has(part)) return;
    replayed.add(part);
    for (let i = part.first; i < part.end; i++) {
      const { op, inputs, outputs, attributes, scope } = recording.ops[i];
      within(scope, 'again', () => {
        apply(op, inputs.map(substitute), attributes).forEach((output, o) => again.set(outputs[o].storage, output.storage));
      });
    }
  };
  const within = (scope: string, direction: string, build: () => void): void => {
    const outer = recording.scopes.splice(0, recording.scopes.length, ...(scope ? [scope] : []), direction);
    build();
    recording.scopes.splice(0, recording.scopes.length, ...outer);
  };
  const tape = [...recording.tape];
  recording.taping = false;
  try {
    // A detached view shares its storage with what it was taken from, which must get nothing through it.
    for (const { tensor, gradient } of seeds) if (tensor.requiresGradient) contribute(tensor, gradient);
    for (const index of tape.reverse()) {
      const { op, inputs, outputs, attributes, scope } = recording.ops[index];
      const outputGradients = outputs.map(gradientOf);
      if (outputGradients.every((gradient) => gradient === undefined)) continue;
      if (!op.backward) throw new Error(`${scope ? `${scope}/` : ''}${op.name} has no gradient, but something trained lies upstream of it`);
      const needs = inputs.map((input) => input?.requiresGradient ?? false);
      replay(index);
      within(scope, 'backward', () => {
        const inputGradients = op.backward!({ inputs: inputs.map(substitute), outputs: outputs.map(substitute), attributes, outputGradients, needs });
        inputGradients.forEach((gradient, i) => {
          const input = inputs[i];
          if (gradient && input && needs[i]) contribute(input, gradient);
        });
      });
    }
  } finally {
    recording.taping = true;
  }
  return gradientOf;
}
