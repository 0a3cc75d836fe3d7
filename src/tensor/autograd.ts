import { currentRecording, reshape } from './recording.ts';
import { type Storage, type Tensor, formatShape } from './tensor.ts';

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
  const tape = [...recording.tape];
  recording.taping = false;
  try {
    for (const { tensor, gradient } of seeds) contribute(tensor, gradient);
    for (const index of tape.reverse()) {
      const { op, inputs, outputs, attributes, scope } = recording.ops[index];
      const outputGradients = outputs.map(gradientOf);
      if (outputGradients.every((gradient) => gradient === undefined)) continue;
      if (!op.backward) throw new Error(`${scope ? `${scope}/` : ''}${op.name} has no gradient, but something trained lies upstream of it`);
      const needs = inputs.map((input) => input?.requiresGradient ?? false);
      const outer = recording.scopes.splice(0, recording.scopes.length, scope, 'backward');
      const inputGradients = op.backward({ inputs, outputs, attributes, outputGradients, needs });
      recording.scopes.splice(0, recording.scopes.length, ...outer);
      inputGradients.forEach((gradient, i) => {
        const input = inputs[i];
        if (gradient && input && needs[i]) contribute(input, gradient);
      });
    }
  } finally {
    recording.taping = true;
  }
  return gradientOf;
}
