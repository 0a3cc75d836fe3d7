import { open } from 'node:fs/promises';
import { UserError } from '../errors.ts';
import { writeFileAtomic } from './files.ts';

const magic = Buffer.from('\x93NUMPY', 'latin1');

/** Longer headers describe structured types, which are not read. */
const MAX_HEADER_BYTES = 65536;

/** An array as NumPy keeps it, row-major. */
export interface NpyArray {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * Writes a float32 array in NumPy's format (version 1.0, little-endian, row-major) for `numpy.load`, atomically.
 *
 * @param data as many elements as the shape has
 * @throws UserError when the file cannot be written
 */
export async function writeNpy(file: string, data: Float32Array, shape: readonly number[]): Promise<void> {
  const elements = shape.reduce((product, size) => product * size, 1);
  if (data.length !== elements) throw new Error(`writeNpy: ${data.length} elements, but the shape is [${shape.join(', ')}]`);
  // A tuple of one is written with a comma.
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const description = `{'descr': '<f4', 'fortran_order': False, 'shape': (${tuple}), }`;
  // The data begins at a multiple of 64; the header ends in a new line.
  const padded = Math.ceil((magic.length + 4 + description.length + 1) / 64) * 64;
  const header = Buffer.alloc(padded, ' ');
  magic.copy(header);
  header.writeUInt8(1, 6);
  header.writeUInt8(0, 7);
  header.writeUInt16LE(padded - 10, 8);
  header.write(description, 10, 'latin1');
  header.write('\n', padded - 1, 'latin1');
  async function* contents(): AsyncGenerator<Uint8Array> {
    yield header;
    yield new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  await writeFileAtomic(file, contents());
}

/**
 * Reads a float32 array in NumPy's format (versions 1 to 3, little-endian, row-major). The header is checked against the
 * file's size before anything is allocated for the data.
 *
 * @throws UserError naming the file when it is truncated, damaged, or holds another type
 */
export async function readNpy(file: string): Promise<NpyArray> {
  const handle = await open(file, 'r').catch((error: Error) => {
    throw new UserError(`cannot read ${file}: ${error.message}.`);
  });
  try {
    const { size } = await handle.stat();
    const read = async (target: Uint8Array, position: number): Promise<void> => {
      const { bytesRead } = await handle.read(target, 0, target.length, position);
      if (bytesRead !== target.length) throw new UserError(`${file}: the file is truncated: it ends at byte ${position + bytesRead}.`);
    };
    const start = Buffer.alloc(12);
    await read(start.subarray(0, 10), 0);
    if (!start.subarray(0, 6).equals(magic)) throw new UserError(`${file}: it is not a NumPy array file (.npy).`);
    const version = start[6];
    if (version < 1 || version > 3) throw new UserError(`${file}: version ${version} of NumPy's format is not known.`);
    const headerAt = version === 1 ? 10 : 12;
    if (version > 1) await read(start, 0);
    const headerBytes = version === 1 ? start.readUInt16LE(8) : start.readUInt32LE(8);
    if (headerBytes > MAX_HEADER_BYTES || headerAt + headerBytes > size) throw new UserError(`${file}: its header would have ${headerBytes} bytes. The file is truncated or damaged.`);
    const header = Buffer.alloc(headerBytes);
    await read(header, headerAt);
    const text = header.toString('latin1');
    const type = /'descr':\s*'([^']*)'/.exec(text)?.[1];
    const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
    const sizes = /'shape':\s*\(([\d,\s]*)\)/.exec(text)?.[1];
    if (type === undefined || order === undefined || sizes === undefined) throw new UserError(`${file}: its header cannot be understood: ${text.trim().slice(0, 80)}`);
    if (type !== '<f4' || order !== 'False') throw new UserError(`${file}: it holds ${type}${order === 'True' ? ' in column order' : ''}; only little-endian float32 ("<f4") in row order is read.`);
    const shape = sizes.split(',').flatMap((part) => (part.trim() ? [Number(part)] : []));
    const bytes = shape.reduce((product, count) => product * count, 4);
    if (bytes !== size - headerAt - headerBytes) {
      throw new UserError(`${file}: its shape (${shape.join(', ')}) takes ${bytes} bytes, but ${size - headerAt - headerBytes} follow the header. The file is truncated or damaged.`);
    }
    const data = new Float32Array(bytes / 4);
    await read(new Uint8Array(data.buffer), headerAt + headerBytes);
    return { shape, data };
  } finally {
    await handle.close();
  }
}
