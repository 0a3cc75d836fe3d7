/** A value of a node's attribute; whole numbers are ints, so write floats as `{ float }`. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

/** A tensor that the model file holds. */
export interface Initializer {
  readonly name: string;
  readonly shape: readonly number[];
  readonly values: Float32Array | BigInt64Array;
  /** Also declared as an input with this as its default, so that nothing that depends on it is computed at load time. */
  readonly variable?: boolean;
}

interface Node {
  readonly operator: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** Field numbers and enumeration values are those of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto). */
const elementTypes = { float: 1, int64: 7 } as const;
const attributeTypes = { float: 1, int: 2, string: 3, ints: 7 } as const;
const irVersion = 8;
const opset = 17;

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  // Negative numbers are the 64-bit two's complement.
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    bytes.push(Number(rest & 0x7fn) | (rest > 0x7fn ? 0x80 : 0));
    rest >>= 7n;
  } while (rest > 0n);
  return Uint8Array.from(bytes);
}

const integer = (field: number, value: number): Uint8Array[] => [varint(field << 3), varint(value)];

function bytes(field: number, content: Uint8Array | readonly Uint8Array[]): Uint8Array[] {
  const parts = content instanceof Uint8Array ? [content] : content;
  return [varint((field << 3) | 2), varint(parts.reduce((sum, part) => sum + part.length, 0)), ...parts];
}

const text = (field: number, content: string): Uint8Array[] => bytes(field, new TextEncoder().encode(content));

function float(field: number, value: number): Uint8Array[] {
  const content = new Uint8Array(4);
  new DataView(content.buffer).setFloat32(0, value, true);
  return [varint((field << 3) | 5), content];
}

function attribute(name: string, value: Attribute): Uint8Array[] {
  const type = (kind: keyof typeof attributeTypes): Uint8Array[] => integer(20, attributeTypes[kind]);
  if (typeof value === 'number') return [...text(1, name), ...integer(3, value), ...type('int')];
  if (typeof value === 'string') return [...text(1, name), ...text(4, value), ...type('string')];
  if ('float' in value) return [...text(1, name), ...float(2, value.float), ...type('float')];
  return [...text(1, name), ...value.flatMap((item) => integer(8, item)), ...type('ints')];
}

function valueInfo(name: string, element: number, shape: readonly number[]): Uint8Array[] {
  const dimensions = shape.flatMap((size) => bytes(1, integer(1, size)));
  return [...text(1, name), ...bytes(2, bytes(1, [...integer(1, element), ...bytes(2, dimensions)]))];
}

/** Builds an ONNX model, node by node; values are referred to by name. */
export class OnnxModel {
  readonly #nodes: Node[] = [];
  readonly #initializers = new Map<string, Initializer>();
  #names = 0;

  /** Adds a tensor that the model holds; returns its name. */
  initializer(initializer: Initializer): string {
    this.#initializers.set(initializer.name, initializer);
    return initializer.name;
  }

  /** Adds a small tensor of int64, such as a shape. */
  integers(...values: number[]): string {
    const name = `integers_${values.join('_')}`;
    return this.initializer({ name, shape: [values.length], values: BigInt64Array.from(values, BigInt) });
  }

  /** Adds a number. */
  scalar(value: number): string {
    return this.initializer({ name: `scalar_${value}`, shape: [], values: Float32Array.of(value) });
  }

  /** Adds a node; an input '' is one left out. Returns the names of its outputs. */
  nodes(operator: string, inputs: readonly string[], outputs: number, attributes: Readonly<Record<string, Attribute>> = {}, domain = ''): string[] {
    const names = Array.from({ length: outputs }, () => `${operator}_${this.#names++}`);
    this.#nodes.push({ operator, domain, inputs, outputs: names, attributes });
    return names;
  }

  /** Adds a node of one output and returns its name. */
  node(operator: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}, domain = ''): string {
    return this.nodes(operator, inputs, 1, attributes, domain)[0];
  }

  /** The file. Outputs are f32 tensors of the given shapes. */
  encode(outputs: readonly { readonly name: string; readonly shape: readonly number[] }[]): Uint8Array {
    const initializers = [...this.#initializers.values()];
    const graph = [
      ...this.#nodes.flatMap(({ operator, domain, inputs, outputs: names, attributes }) =>
        bytes(1, [
          ...inputs.flatMap((name) => text(1, name)),
          ...names.flatMap((name) => text(2, name)),
          ...text(3, names[0]),
          ...text(4, operator),
          ...Object.entries(attributes).flatMap(([name, value]) => bytes(5, attribute(name, value))),
          ...text(7, domain),
        ]),
      ),
      ...text(2, 'benchmark'),
      ...initializers.flatMap(({ name, shape, values }) =>
        bytes(5, [
          ...shape.flatMap((size) => integer(1, size)),
          ...integer(2, values instanceof Float32Array ? elementTypes.float : elementTypes.int64),
          ...text(8, name),
          ...bytes(9, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)),
        ]),
      ),
      ...initializers.filter(({ variable }) => variable).flatMap(({ name, shape }) => bytes(11, valueInfo(name, elementTypes.float, shape))),
      ...outputs.flatMap(({ name, shape }) => bytes(12, valueInfo(name, elementTypes.float, shape))),
    ];
    const domains = new Map([['', opset], ...this.#nodes.filter(({ domain }) => domain).map(({ domain }) => [domain, 1] as const)]);
    const model = [
      ...integer(1, irVersion),
      ...text(2, 'mfp-clip benchmark'),
      ...bytes(7, graph),
      ...[...domains].flatMap(([domain, version]) => bytes(8, [...text(1, domain), ...integer(2, version)])),
    ];
    const whole = new Uint8Array(model.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of model) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }
}
