import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { UserError } from '../errors.ts';
import { fromFloat16Bits, toFloat16Bits } from '../tensor/dtype.ts';
import { writeFileAtomic } from './files.ts';

/** Bytes of one element of each type that the safetensors format names. Sub-byte types are not read. */
export const safetensorsTypeBytes = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
} as const;

/** An element type as the safetensors format writes it. */
export type SafetensorsType = keyof typeof safetensorsTypeBytes;

/** Where one tensor lies. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsType;
  readonly shape: readonly number[];
  /** The file that holds it: a shard of a sharded checkpoint. */
  readonly file: string;
  /** First byte, counted from the start of the file. */
  readonly offset: number;
  readonly bytes: number;
}

/** Tensors in one safetensors file or in the shards of one checkpoint. Tensor data is read on demand. */
export interface Checkpoint {
  /** The path that was opened. */
  readonly file: string;
  /** `__metadata__`; that of all shards together for a sharded checkpoint. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The entry of a tensor. @throws UserError naming the file when there is no such tensor */
  entry(name: string): TensorEntry;
  /** The tensor's bytes as they lie in the file (little-endian, row-major). */
  read(name: string): Promise<Uint8Array>;
  /** All elements as f32. f16, bf16, f64, integers and booleans are converted; 8-bit floats and complex numbers are not. */
  readFloat32(name: string): Promise<Float32Array>;
  /**
   * Some rows (indices along the first axis) as f32, one after the other, without reading the rest: for single rows of
   * a token embedding.
   *
   * @returns rows.length × (elements of one row)
   */
  readFloat32Rows(name: string, rows: readonly number[]): Promise<Float32Array>;
  close(): Promise<void>;
}

/** A tensor to write. Float32Array is converted to F32 or F16; bytes are written as they are. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsType;
  readonly shape: readonly number[];
  readonly data: Float32Array | Uint8Array;
}

/** The reference implementation's own limit on the header. */
const MAX_HEADER_BYTES = 100_000_000;

/** Bytes that are read and converted at once. */
const CHUNK_BYTES = 1 << 22;

/** The card's package has neither types nor an ES module that Node finds: of it, the header splitter is used. */
const { SafeTensor } = createRequire(import.meta.url)('safetensors') as {
  SafeTensor: new (headerWithLength: Uint8Array) => {
    readonly metadata: ReadonlyMap<string, { readonly dtype: SafetensorsType; readonly shape: number[]; readonly data_offsets: [number, number] }>;
  };
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** A value as it stands in a message: its JSON, cut short. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/**
 * Refuses what JSON.parse would swallow: a name that stands twice in one object (the later one would win silently), and
 * nesting deeper than a header ever has (tensor entries, their arrays), which could exhaust memory.
 */
function checkHeaderText(text: string, file: string): void {
  const open: (Set<string> | undefined)[] = [];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '{' || character === '[') {
      if (open.length === 4) throw new UserError(`${file}: the header is nested deeper than a safetensors header can be. The file is damaged.`);
      open.push(character === '{' ? new Set() : undefined);
    } else if (character === '}' || character === ']') {
      open.pop();
    } else if (character === '"') {
      const start = i;
      for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
      const names = open.at(-1);
      if (!names) continue;
      let after = i + 1;
      while (after < text.length && ' \t\r\n'.includes(text[after])) after++;
      if (text[after] !== ':') continue;
      let name: string;
      try {
        name = JSON.parse(text.slice(start, i + 1)) as string;
      } catch {
        return; // Not JSON: the parser says where.
      }
      if (names.has(name)) throw new UserError(`${file}: "${name}" stands twice in the header. The file is damaged.`);
      names.add(name);
    }
  }
}

/**
 * Checks everything that the header claims against the size of the file, then has the `safetensors` package split it.
 *
 * @param header the JSON bytes after the 8-byte length
 * @param dataBytes bytes of the file after the header
 */
function parseHeader(header: Uint8Array, dataBytes: number, file: string): { metadata: Record<string, string>; tensors: Map<string, TensorEntry> } {
  let text: string;
  let parsed: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    throw new UserError(`${file}: the header is not UTF-8 text. It is not a safetensors file, or it is damaged.`);
  }
  checkHeaderText(text, file);
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file}: the header is not JSON (${(error as Error).message}). It is not a safetensors file, or it is damaged.`);
  }
  if (!isObject(parsed)) throw new UserError(`${file}: the header is ${shown(parsed)}, not a JSON object of tensors. It is not a safetensors file, or it is damaged.`);

  const { __metadata__: rawMetadata = {}, ...entries } = parsed;
  if (!isObject(rawMetadata)) throw new UserError(`${file}: __metadata__ is ${shown(rawMetadata)}, not an object of strings.`);
  for (const [key, value] of Object.entries(rawMetadata)) {
    if (typeof value !== 'string') throw new UserError(`${file}: "${key}" in __metadata__ is ${shown(value)}, not a string.`);
  }

  for (const [name, entry] of Object.entries(entries)) checkEntry(name, entry, dataBytes, file);
  checkLayout(entries as Record<string, { data_offsets: [number, number] }>, dataBytes, file);

  const headerAlone = Buffer.from(JSON.stringify(entries));
  // A buffer of its own: the package reads the length from the start of the underlying memory.
  const withLength = new Uint8Array(8 + headerAlone.length);
  new DataView(withLength.buffer).setBigUint64(0, BigInt(headerAlone.length), true);
  withLength.set(headerAlone, 8);
  const moved = 8 + header.length - withLength.length;
  const tensors = new Map<string, TensorEntry>();
  for (const [name, { dtype, shape, data_offsets: [begin, end] }] of new SafeTensor(withLength).metadata) {
    tensors.set(name, { name, dtype, shape, file, offset: begin + moved, bytes: end - begin });
  }
  return { metadata: rawMetadata as Record<string, string>, tensors };
}

/** One tensor's entry on its own: types, sizes, and that they agree. */
function checkEntry(name: string, entry: unknown, dataBytes: number, file: string): void {
  const fail = (what: string): never => {
    throw new UserError(`${file}: tensor "${name}": ${what}. The file is damaged.`);
  };
  if (!isObject(entry)) fail(`its entry is ${shown(entry)}, not an object`);
  const { dtype, shape, data_offsets: offsets } = entry as Record<string, unknown>;
  if (typeof dtype !== 'string' || !Object.hasOwn(safetensorsTypeBytes, dtype)) {
    throw new UserError(`${file}: tensor "${name}": unknown dtype ${shown(dtype)}; known are ${Object.keys(safetensorsTypeBytes).join(', ')}.`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) fail(`its shape is ${shown(shape)}, not a list of sizes`);
  let bytes: number = safetensorsTypeBytes[dtype as SafetensorsType];
  for (const size of shape as number[]) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) fail(`its shape [${(shape as number[]).join(', ')}] is too large to be real`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) fail(`its data_offsets are ${shown(offsets)}, not two positions`);
  const [begin, end] = offsets as [number, number];
  if (end < begin) fail(`its data ends at ${end}, before it begins at ${begin}`);
  if (end > dataBytes) {
    throw new UserError(
      `${file}: tensor "${name}": its data ends at byte ${end}, but the file has only ${dataBytes} bytes of data. The file is truncated or damaged; get it again.`,
    );
  }
  if (end - begin !== bytes) fail(`${dtype} [${(shape as number[]).join(', ')}] takes ${bytes} bytes, but its data_offsets span ${end - begin}`);
}

/** All entries together: they cover the data without overlap and without gaps, as the format demands. */
function checkLayout(entries: Record<string, { data_offsets: [number, number] }>, dataBytes: number, file: string): void {
  const order = Object.entries(entries).sort(([, { data_offsets: a }], [, { data_offsets: b }]) => a[0] - b[0] || a[1] - b[1]);
  let covered = 0;
  let previous = '';
  for (const [name, { data_offsets: [begin, end] }] of order) {
    if (begin < covered) throw new UserError(`${file}: tensor "${name}": its data at ${begin} overlaps that of "${previous}", which ends at ${covered}. The file is damaged.`);
    if (begin > covered) throw new UserError(`${file}: tensor "${name}": ${begin - covered} bytes before its data at ${begin} belong to no tensor. The file is damaged.`);
    covered = end;
    previous = name;
  }
  if (covered !== dataBytes) throw new UserError(`${file}: ${dataBytes - covered} bytes after the last tensor belong to no tensor. The file is damaged.`);
}

async function openFile(file: string): Promise<FileHandle> {
  try {
    // A named pipe would block on opening: look before.
    const status = await stat(file);
    if (!status.isFile()) throw new Error('it is not a file');
    return await open(file, 'r');
  } catch (error) {
    throw new UserError(`cannot read ${file}: ${(error as Error).message}.`);
  }
}

/** Fills `target` from a position; a file that has become shorter since it was opened is an error. */
async function readExactly(handle: FileHandle, target: Uint8Array, position: number, file: string): Promise<void> {
  let done = 0;
  while (done < target.length) {
    // The system reads at most 2 GiB at once.
    const length = Math.min(target.length - done, 1 << 30);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0) throw new UserError(`${file} ends at byte ${position + done}, sooner than when it was opened: something else is writing it.`);
    done += bytesRead;
  }
}

/** The value of every f16 bit pattern, made on first use. */
let halfValues: Float32Array | undefined;

/** Converts elements in `source` (whole elements, at the start of its buffer) to f32, written to `target` from `at`. */
function convert(source: Uint8Array, dtype: SafetensorsType, target: Float32Array, at: number): void {
  const { buffer, byteLength } = source;
  const count = byteLength / safetensorsTypeBytes[dtype];
  switch (dtype) {
    case 'F32':
      target.set(new Float32Array(buffer, 0, count), at);
      break;
    case 'F64':
      target.set(new Float64Array(buffer, 0, count), at);
      break;
    case 'F16': {
      const table = (halfValues ??= Float32Array.from({ length: 65536 }, (_, bits) => fromFloat16Bits(bits)));
      const bits = new Uint16Array(buffer, 0, count);
      for (let i = 0; i < count; i++) target[at + i] = table[bits[i]];
      break;
    }
    case 'BF16': {
      // bf16 is the upper half of an f32.
      const bits = new Uint16Array(buffer, 0, count);
      const words = new Uint32Array(target.buffer, target.byteOffset + 4 * at, count);
      for (let i = 0; i < count; i++) words[i] = bits[i] << 16;
      break;
    }
    case 'U8':
    case 'BOOL':
      target.set(source, at);
      break;
    case 'I8':
      target.set(new Int8Array(buffer, 0, count), at);
      break;
    case 'U16':
      target.set(new Uint16Array(buffer, 0, count), at);
      break;
    case 'I16':
      target.set(new Int16Array(buffer, 0, count), at);
      break;
    case 'U32':
      target.set(new Uint32Array(buffer, 0, count), at);
      break;
    case 'I32':
      target.set(new Int32Array(buffer, 0, count), at);
      break;
    case 'U64':
    case 'I64': {
      const values = dtype === 'U64' ? new BigUint64Array(buffer, 0, count) : new BigInt64Array(buffer, 0, count);
      for (let i = 0; i < count; i++) target[at + i] = Number(values[i]);
      break;
    }
    default:
      throw new Error(`no conversion from ${dtype}`);
  }
}

/** One open file, or the open shards of one checkpoint. */
class TensorFiles implements Checkpoint {
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  private readonly handles: ReadonlyMap<string, FileHandle>;

  constructor(file: string, metadata: Record<string, string>, tensors: ReadonlyMap<string, TensorEntry>, handles: ReadonlyMap<string, FileHandle>) {
    this.file = file;
    this.metadata = metadata;
    this.tensors = tensors;
    this.handles = handles;
  }

  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (!entry) throw new UserError(`${this.file}: tensor "${name}" is missing.`);
    return entry;
  }

  async read(name: string): Promise<Uint8Array> {
    const { file, offset, bytes } = this.entry(name);
    const result = new Uint8Array(bytes);
    await readExactly(this.handles.get(file)!, result, offset, file);
    return result;
  }

  async readFloat32(name: string): Promise<Float32Array> {
    const entry = this.entry(name);
    const result = new Float32Array(entry.bytes / safetensorsTypeBytes[entry.dtype]);
    await this.readInto(entry, 0, result.length, result, 0);
    return result;
  }

  async readFloat32Rows(name: string, rows: readonly number[]): Promise<Float32Array> {
    const entry = this.entry(name);
    const [count, ...rest] = entry.shape;
    if (count === undefined) throw new UserError(`${entry.file}: tensor "${name}" is a single number and has no rows.`);
    for (const row of rows) {
      if (!Number.isInteger(row) || row < 0 || row >= count) throw new UserError(`${entry.file}: tensor "${name}" [${entry.shape.join(', ')}] has no row ${row}.`);
    }
    const length = rest.reduce((product, size) => product * size, 1);
    const result = new Float32Array(rows.length * length);
    for (let i = 0; i < rows.length; ) {
      // Padding repeats one row many times.
      if (i > 0 && rows[i] === rows[i - 1]) {
        result.copyWithin(i * length, (i - 1) * length, i * length);
        i++;
        continue;
      }
      let run = 1;
      while (i + run < rows.length && rows[i + run] === rows[i] + run) run++;
      await this.readInto(entry, rows[i] * length, run * length, result, i * length);
      i += run;
    }
    return result;
  }

  /** Reads `count` elements from element `first` on, converted, in chunks, so that a big tensor is not held twice. */
  private async readInto(entry: TensorEntry, first: number, count: number, target: Float32Array, at: number): Promise<void> {
    const { name, file, dtype, offset } = entry;
    if (dtype.startsWith('F8') || dtype === 'C64') throw new UserError(`${file}: tensor "${name}" is ${dtype}, which cannot be read as f32. Save it as F32, F16 or BF16.`);
    const handle = this.handles.get(file)!;
    const elementBytes = safetensorsTypeBytes[dtype];
    if (dtype === 'F32') {
      await readExactly(handle, new Uint8Array(target.buffer, target.byteOffset + 4 * at, 4 * count), offset + 4 * first, file);
      return;
    }
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, count * elementBytes));
    const perChunk = chunk.length / elementBytes;
    for (let done = 0; done < count; done += perChunk) {
      const part = chunk.subarray(0, Math.min(perChunk, count - done) * elementBytes);
      await readExactly(handle, part, offset + (first + done) * elementBytes, file);
      convert(part, dtype, target, at + done);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.handles.values()].map((handle) => handle.close()));
  }
}

/** What a file that is not safetensors may be, for the error message. */
function guessFormat(start: Uint8Array): string {
  const text = Buffer.from(start).toString('latin1');
  if (text.startsWith('PK') || text.startsWith('\x80\x02')) return ' It looks like a PyTorch file: save its tensors with safetensors.torch.save_file.';
  if (text.startsWith('version ')) return ' It looks like a Git LFS pointer: fetch the real file with `git lfs pull`.';
  if (text.startsWith('{')) return ' It looks like a JSON file.';
  if (text.startsWith('<')) return ' It looks like a web page: the download did not get the file itself.';
  return '';
}

/** One open file and what its header says. */
interface OpenFile {
  readonly handle: FileHandle;
  readonly metadata: Record<string, string>;
  readonly tensors: Map<string, TensorEntry>;
}

async function openHeader(file: string): Promise<OpenFile> {
  const handle = await openFile(file);
  try {
    const { size } = await handle.stat();
    if (size < 8) throw new UserError(`${file}: ${size} bytes are too few for a safetensors file. The file is truncated.`);
    const start = new Uint8Array(8);
    await readExactly(handle, start, 0, file);
    const headerBytes = new DataView(start.buffer).getBigUint64(0, true);
    if (headerBytes > BigInt(MAX_HEADER_BYTES)) {
      throw new UserError(`${file}: the header would have ${headerBytes} bytes, more than the ${MAX_HEADER_BYTES} that the format allows. It is not a safetensors file, or it is damaged.${guessFormat(start)}`);
    }
    if (headerBytes > BigInt(size - 8)) {
      throw new UserError(`${file}: the header would have ${headerBytes} bytes, but only ${size - 8} follow its length. The file is truncated; get it again.`);
    }
    const header = new Uint8Array(Number(headerBytes));
    await readExactly(handle, header, 8, file);
    return { handle, ...parseHeader(header, size - 8 - header.length, file) };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/**
 * Opens a safetensors file: its header is read and checked against the file's size, its tensors stay on disk.
 * Nothing that the header claims is allocated before it is checked.
 *
 * @throws UserError naming the file and the tensor when the file is truncated, damaged or not safetensors
 */
export async function openSafetensors(file: string): Promise<Checkpoint> {
  const { handle, metadata, tensors } = await openHeader(file);
  return new TensorFiles(file, metadata, tensors, new Map([[file, handle]]));
}

/** The JSON of an index file, with names that stand twice refused. */
async function readIndex(index: string): Promise<unknown> {
  const handle = await openFile(index);
  try {
    const { size } = await handle.stat();
    if (size > MAX_HEADER_BYTES) throw new UserError(`${index}: ${size} bytes are too many for an index of tensors.`);
    const bytes = new Uint8Array(size);
    await readExactly(handle, bytes, 0, index);
    const text = new TextDecoder().decode(bytes);
    checkHeaderText(text, index);
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${index}: it is not JSON (${(error as Error).message}).`);
  } finally {
    await handle.close();
  }
}

/**
 * Opens a sharded checkpoint through its index (`model.safetensors.index.json`, as Hugging Face writes it): every name in
 * `weight_map` must be in the shard named for it, and the shards must lie in the index's folder.
 */
async function openSharded(index: string): Promise<Checkpoint> {
  const folder = dirname(index);
  const parsed = await readIndex(index);
  const weightMap = isObject(parsed) ? parsed.weight_map : undefined;
  if (!isObject(weightMap) || Object.keys(weightMap).length === 0) throw new UserError(`${index}: "weight_map" is missing or not an object of file names.`);

  const shards = new Map<string, OpenFile>();
  const tensors = new Map<string, TensorEntry>();
  try {
    for (const [name, shardName] of Object.entries(weightMap)) {
      if (typeof shardName !== 'string' || !(await liesInside(folder, shardName))) {
        throw new UserError(`${index}: tensor "${name}": its file ${shown(shardName)} is not the name of a file in this folder.`);
      }
      const file = join(folder, shardName);
      const shard = shards.get(file) ?? (await openHeader(file));
      shards.set(file, shard);
      const entry = shard.tensors.get(name);
      if (!entry) throw new UserError(`${index}: tensor "${name}" is not in ${shardName}, where the index says it is.`);
      tensors.set(name, entry);
    }
  } catch (error) {
    for (const { handle } of shards.values()) await handle.close();
    throw error;
  }
  const metadata = Object.assign({}, ...[...shards.values()].map((shard) => shard.metadata)) as Record<string, string>;
  return new TensorFiles(index, metadata, tensors, new Map([...shards].map(([file, { handle }]) => [file, handle])));
}

/**
 * Whether a name from outside stays in the folder, by its text and once linked subfolders are followed. The file itself
 * may be a link to elsewhere, as the Hugging Face cache has it.
 */
async function liesInside(folder: string, name: string): Promise<boolean> {
  if (isAbsolute(name) || /[\\\0]/.test(name) || name.split('/').some((part) => part === '' || part === '.' || part === '..')) return false;
  try {
    const path = relative(await realpath(folder), await realpath(dirname(join(folder, name))));
    return path !== '..' && !path.startsWith(`..${sep}`) && !isAbsolute(path);
  } catch {
    return true; // There is no such folder: opening the file says so.
  }
}

/**
 * Opens the checkpoint in a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` names.
 *
 * @throws UserError naming the files that were looked for, or the file and tensor that are wrong
 */
export async function openSafetensorsFolder(folder: string): Promise<Checkpoint> {
  const names = await readdir(folder).catch((error: Error) => {
    throw new UserError(`cannot read ${folder}: ${error.message}.`);
  });
  if (names.includes('model.safetensors')) return openSafetensors(join(folder, 'model.safetensors'));
  if (names.includes('model.safetensors.index.json')) return openSharded(join(folder, 'model.safetensors.index.json'));
  const others = names.filter((name) => name.endsWith('.safetensors'));
  if (others.length === 1) return openSafetensors(join(folder, others[0]));
  const found =
    others.length > 1
      ? ` It has ${others.slice(0, 5).join(', ')}: name one of them.`
      : names.some((name) => /\.(bin|pt|pth)$/.test(name))
        ? ' It has PyTorch files: save their tensors with safetensors.torch.save_file.'
        : '';
  throw new UserError(`${folder} has no checkpoint: looked for model.safetensors and model.safetensors.index.json.${found}`);
}

/**
 * Opens a checkpoint by its path: a safetensors file, the index of a sharded one, or a folder with either.
 *
 * @throws UserError as openSafetensors and openSafetensorsFolder do
 */
export async function openCheckpoint(path: string): Promise<Checkpoint> {
  const status = await stat(path).catch((error: Error) => {
    throw new UserError(`cannot read ${path}: ${error.message}.`);
  });
  if (status.isDirectory()) return openSafetensorsFolder(path);
  return path.endsWith('.index.json') ? openSharded(path) : openSafetensors(path);
}

/**
 * Writes a safetensors file, atomically. The same tensors and metadata give the same bytes, in whatever order they come:
 * tensors lie by falling element size, then by name (as the reference implementation puts them, which keeps each
 * aligned), and the header is padded so that the data begins at a multiple of 8.
 *
 * @throws UserError when a value does not fit f16 or the file cannot be written; nothing is left behind
 */
export async function writeSafetensors(file: string, tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>> = {}): Promise<void> {
  const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const ordered = [...tensors].sort((a, b) => safetensorsTypeBytes[b.dtype] - safetensorsTypeBytes[a.dtype] || byText(a.name, b.name));
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = Object.fromEntries(Object.entries(metadata).sort(([a], [b]) => byText(a, b)));
  let offset = 0;
  for (const tensor of ordered) {
    const { name, dtype, shape } = tensor;
    if (Object.hasOwn(header, name) || name === '__metadata__') throw new Error(`writeSafetensors: two tensors are called "${name}"`);
    const bytes = checkTensor(tensor, file);
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  start.writeBigUInt64LE(BigInt(start.length - 8));
  json.copy(start, 8);
  async function* contents(): AsyncGenerator<Uint8Array> {
    yield start;
    for (const tensor of ordered) yield* bytesOf(tensor);
  }
  await writeFileAtomic(file, contents());
}

/** The bytes that a tensor will take, once its data is known to agree with its type and shape. */
function checkTensor({ name, dtype, shape, data }: TensorToWrite, file: string): number {
  const elements = shape.reduce((product, size) => product * size, 1);
  const bytes = elements * safetensorsTypeBytes[dtype];
  const given = data instanceof Float32Array ? data.length : data.length / safetensorsTypeBytes[dtype];
  if (given !== elements) throw new Error(`writeSafetensors: "${name}" has ${given} elements, but its shape is [${shape.join(', ')}]`);
  if (!(data instanceof Float32Array)) return bytes;
  if (dtype !== 'F32' && dtype !== 'F16') throw new Error(`writeSafetensors: "${name}": f32 values can be written as F32 or F16, not as ${dtype}`);
  if (dtype === 'F16') {
    // 65520 is the least number that rounds to infinity.
    const tooLarge = data.findIndex((value) => Math.abs(value) >= 65520 && Number.isFinite(value));
    if (tooLarge >= 0) throw new UserError(`${file}: tensor "${name}": element ${tooLarge} is ${data[tooLarge]}, too large for f16. Write it as f32.`);
  }
  return bytes;
}

/** A tensor's bytes; f16 is made in chunks, so that no second copy of a big tensor is held. */
function* bytesOf({ dtype, data }: TensorToWrite): Generator<Uint8Array> {
  if (!(data instanceof Float32Array) || dtype === 'F32') {
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return;
  }
  for (let first = 0; first < data.length; first += CHUNK_BYTES / 2) {
    yield new Uint8Array(Uint16Array.from(data.subarray(first, first + CHUNK_BYTES / 2), toFloat16Bits).buffer);
  }
}
