import type { DType } from './dtype.ts';
import { dtypeBytes } from './dtype.ts';
import { type Op, type TensorType, shapeError } from './op.ts';
import { type Shape, Storage, Tensor, formatShape, sizeOf } from './tensor.ts';

/** One op applied to tensors: a node of the recorded sequence. */
export interface RecordedOp {
  readonly op: Op<any>;
  readonly inputs: readonly (Tensor | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly attributes: any;
  /** Where in the model it stands: "vision/layer 3/attention". */
  readonly scope: string;
}

/**
 * A sequence of ops over fixed shapes. Nothing runs while it is recorded: a Program plans its memory, chooses
 * variants, compiles its pipelines and can then run it any number of times.
 */
export class Recording {
  readonly ops: RecordedOp[] = [];
  readonly scopes: string[] = [];
  /** Positions in `ops` whose outputs carry gradients: the tape. */
  readonly tape: number[] = [];
  /** Ranges of `ops` that the backward pass computes again instead of keeping what is inside them. */
  readonly recomputed: { readonly first: number; readonly end: number }[] = [];
  /** False while a backward pass is recorded: gradients of gradients are not needed. */
  taping = true;
}

let current: Recording | undefined;

/** Runs `build` with its ops going into `recording`. `build` must not be asynchronous. */
export function recordInto<T>(recording: Recording, build: () => T): T {
  const outer = current;
  current = recording;
  try {
    const result = build();
    if (result instanceof Promise) throw new Error('a recording must be built without await: load weights and data before it');
    return result;
  } finally {
    current = outer;
  }
}

/** The recording that ops go into. */
export function currentRecording(): Recording {
  if (!current) throw new Error('ops are recorded, not run: call them inside Program.record(gpu, () => ...)');
  return current;
}

/** Names a part of the model for profiles and errors; parts nest. */
export function scope<T>(name: string, build: () => T): T {
  const recording = currentRecording();
  recording.scopes.push(name);
  try {
    return build();
  } finally {
    recording.scopes.pop();
  }
}

/** A new intermediate tensor; the memory plan gives it its buffer. */
export function plannedTensor(shape: Shape, dtype: DType, label: string): Tensor {
  return new Tensor([...shape], dtype, new Storage(sizeOf(shape) * dtypeBytes[dtype], label));
}

/** A kernel is not dispatched over nothing. @throws Error naming the operand that has an axis without elements */
function checkSizes(op: Op<any>, inputs: readonly (Tensor | undefined)[]): void {
  if (inputs.some((input) => input?.shape.some((size) => !(Number.isInteger(size) && size > 0)))) {
    throw shapeError(op, inputs, 'every axis must have at least one element');
  }
}

/**
 * Applies an op: checks shapes, records it and returns its outputs.
 * Every function in `src/ops` is a typed front of this one.
 *
 * @throws Error of the op's shape rule, naming the op, its operands and their shapes
 */
export function apply<Attributes>(op: Op<Attributes>, inputs: readonly (Tensor | undefined)[], attributes: Attributes): Tensor[] {
  const recording = currentRecording();
  const path = [...recording.scopes, op.name].join('/');
  let types: readonly TensorType[];
  try {
    checkSizes(op, inputs);
    types = op.outputs(inputs, attributes);
  } catch (error) {
    // Where in the model it stands, beside what the shape rule says.
    if (recording.scopes.length) (error as Error).message = `in ${recording.scopes.join('/')}: ${(error as Error).message}`;
    throw error;
  }
  const outputs = types.map(({ shape, dtype }) => plannedTensor(shape, dtype, path));
  // The tape holds only what something trained flows into: frozen towers record nothing.
  if (recording.taping && inputs.some((input) => input?.requiresGradient)) {
    recording.tape.push(recording.ops.length);
    for (const output of outputs) output.requiresGradient = true;
  }
  recording.ops.push({ op, inputs, outputs, attributes, scope: recording.scopes.join('/') });
  return outputs;
}

/** The same elements under another shape; costs nothing. */
export function reshape(input: Tensor, shape: Shape): Tensor {
  if (sizeOf(shape) !== input.size) {
    throw new Error(`reshape: ${formatShape(input.shape)} has ${input.size} elements, ${formatShape(shape)} has ${sizeOf(shape)}`);
  }
  const view = new Tensor([...shape], input.dtype, input.storage, input.offset);
  view.requiresGradient = input.requiresGradient;
  return view;
}

/** The same tensor, but gradients stop at it (torch.Tensor.detach). */
export function detach(input: Tensor): Tensor {
  return new Tensor(input.shape, input.dtype, input.storage, input.offset);
}

/**
 * Records a part of the model whose intermediates are not kept for the backward pass but computed again there from the
 * part's inputs (torch.utils.checkpoint): less memory for one more forward pass. Parts must not nest.
 *
 * @throws Error when something in it works in place: `accumulate`, `adam`
 */
export function recompute<T>(build: () => T): T {
  const recording = currentRecording();
  const first = recording.ops.length;
  const result = build();
  const inPlace = recording.ops.slice(first).find(({ outputs }) => !outputs.length);
  if (inPlace) throw new Error(`recompute: ${inPlace.op.name} works in place, and would do its work twice. Record it outside of what is recomputed.`);
  recording.recomputed.push({ first, end: recording.ops.length });
  return result;
}
