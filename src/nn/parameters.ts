import { UserError } from '../errors.ts';
import type { Gpu } from '../gpu/device.ts';
import type { Checkpoint } from '../io/safetensors.ts';
import { type Shape, type Tensor, formatShape, sizeOf, tensor } from '../tensor/tensor.ts';

/**
 * How a parameter lies on the device, compared with the file:
 *
 * - "as stored": the same order of elements
 * - "transposed": [out, ...in] in the file, [in, out] on the device, where a GEMM reads rows of inputs
 * - "convolution": [out, in, height, width] in the file, [height, width, in, out] on the device
 */
export type ParameterLayout = 'as stored' | 'transposed' | 'convolution';

/** One parameter of a model: where it is in a checkpoint and what it is on the device. */
export interface ParameterSpec {
  /** Name inside the model; also the label of its tensor. */
  readonly name: string;
  /** Tensors of the file, joined along their first axis: the three projections of attention become one. */
  readonly parts: readonly { readonly name: string; readonly shape: Shape }[];
  readonly layout: ParameterLayout;
}

/** Host values of a model's parameters, in device order, by the specs' names. */
export type ParameterValues = Map<string, { readonly shape: Shape; readonly values: Float32Array }>;

/** Shape of the parts joined, as in the file. */
function storedShape({ parts }: ParameterSpec): Shape {
  // Scalars have no axis to join along.
  if (parts.length === 1) return parts[0].shape;
  return [parts.reduce((sum, part) => sum + part.shape[0], 0), ...parts[0].shape.slice(1)];
}

/** Shape on the device. */
export function parameterShape(spec: ParameterSpec): Shape {
  const stored = storedShape(spec);
  switch (spec.layout) {
    case 'as stored':
      return stored;
    case 'transposed':
      return [sizeOf(stored.slice(1)), stored[0]];
    case 'convolution':
      return [stored[2], stored[3], stored[1], stored[0]];
  }
}

/** The transpositions [rows, columns] of every contiguous block that lead from file order to device order. */
function transpositions(spec: ParameterSpec): { readonly rows: number; readonly columns: number }[] {
  const stored = storedShape(spec);
  switch (spec.layout) {
    case 'as stored':
      return [];
    case 'transposed':
      return [{ rows: stored[0], columns: sizeOf(stored.slice(1)) }];
    case 'convolution':
      // [out, in, area] -> [in, area] per out swapped to [area, in], then out moved last: two plain transpositions.
      return [
        { rows: stored[1], columns: stored[2] * stored[3] },
        { rows: stored[0], columns: sizeOf(stored.slice(1)) },
      ];
  }
}

/** [..., rows, columns] -> [..., columns, rows], in blocks that stay in the processor's cache. */
function transposeValues(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length);
  const block = 32;
  for (let start = 0; start < values.length; start += rows * columns) {
    for (let r0 = 0; r0 < rows; r0 += block) {
      const r1 = Math.min(rows, r0 + block);
      for (let c0 = 0; c0 < columns; c0 += block) {
        const c1 = Math.min(columns, c0 + block);
        for (let c = c0; c < c1; c++) for (let r = r0; r < r1; r++) result[start + c * rows + r] = values[start + r * columns + c];
      }
    }
  }
  return result;
}

/** File order to device order. */
export function toDeviceOrder(spec: ParameterSpec, values: Float32Array): Float32Array {
  return transpositions(spec).reduce((current, { rows, columns }) => transposeValues(current, rows, columns), values);
}

/** Device order to file order: the inverse of `toDeviceOrder`. */
export function toFileOrder(spec: ParameterSpec, values: Float32Array): Float32Array {
  return transpositions(spec).reduceRight((current, { rows, columns }) => transposeValues(current, columns, rows), values);
}

/**
 * Checks that a checkpoint has every tensor of a model in the expected shape, before anything is read.
 *
 * @param because where the expected shapes come from, for the error: "config.json"
 * @param closed names of which the model takes all: others there would change what it computes, and it is another model's checkpoint
 * @throws UserError naming the file and the tensor that is missing, has another shape, or has no place in the model
 */
export function checkParameters(checkpoint: Checkpoint, specs: readonly ParameterSpec[], because: string, closed?: RegExp): void {
  for (const { parts } of specs) {
    for (const { name, shape } of parts) {
      const found = checkpoint.tensors.get(name);
      if (!found) throw new UserError(`${checkpoint.file}: there is no tensor "${name}", which ${because} asks for`);
      if (formatShape(found.shape) !== formatShape(shape)) {
        throw new UserError(`${checkpoint.file}: tensor "${name}" has the shape ${formatShape(found.shape)}, ${because} asks for ${formatShape(shape)}`);
      }
    }
  }
  if (!closed) return;
  const known = new Set(specs.flatMap(({ parts }) => parts.map(({ name }) => name)));
  for (const name of checkpoint.tensors.keys()) {
    if (closed.test(name) && !known.has(name)) throw new UserError(`${checkpoint.file}: tensor "${name}" has no place in the model that ${because} describes. It is the checkpoint of another one.`);
  }
}

/** Reads one parameter in file order. Check it first with `checkParameters`. */
export async function readParameter(checkpoint: Checkpoint, spec: ParameterSpec): Promise<Float32Array> {
  if (spec.parts.length === 1) return checkpoint.readFloat32(spec.parts[0].name);
  const whole = new Float32Array(sizeOf(storedShape(spec)));
  let offset = 0;
  for (const { name } of spec.parts) {
    const values = await checkpoint.readFloat32(name);
    whole.set(values, offset);
    offset += values.length;
  }
  return whole;
}

/**
 * Reads checked parameters one after the other into device tensors, so that the host holds one at a time.
 *
 * @returns tensors by the specs' names
 */
export async function loadParameters(gpu: Gpu, checkpoint: Checkpoint, specs: readonly ParameterSpec[], dtype: 'f32' | 'f16'): Promise<Map<string, Tensor>> {
  const result = new Map<string, Tensor>();
  for (const spec of specs) {
    const values = toDeviceOrder(spec, await readParameter(checkpoint, spec));
    result.set(spec.name, tensor(gpu, values, parameterShape(spec), dtype, spec.name));
  }
  return result;
}

/**
 * Tensors of a checkpoint from values in device order: what `writeSafetensors` takes.
 *
 * @param values by the specs' names
 */
export function storedTensors(specs: readonly ParameterSpec[], values: (name: string) => Float32Array): { name: string; shape: Shape; data: Float32Array }[] {
  return specs.flatMap((spec) => {
    const whole = toFileOrder(spec, values(spec.name));
    let offset = 0;
    return spec.parts.map(({ name, shape }) => {
      const data = whole.slice(offset, offset + sizeOf(shape));
      offset += data.length;
      return { name, shape, data };
    });
  });
}

/** A lookup that names what is missing: models fetch their parameters through it. */
export function parameterLookup(parameters: ReadonlyMap<string, Tensor>): (name: string) => Tensor {
  return (name) => {
    const found = parameters.get(name);
    if (!found) throw new Error(`no parameter "${name}" was loaded`);
    return found;
  };
}
