import { UserError } from '../errors.ts';
import { type Checkpoint, type TensorToWrite, openSafetensors, writeSafetensors } from '../io/safetensors.ts';
import { PixelRecords, type RecordPlace } from './exact_pixels.ts';
import type { EvaluationIdentity } from './identity.ts';
import { PixelCounts } from './pixel_counts.ts';
import { SCORE_BINS, scoreKeyOfBits } from './score_key.ts';

/** A part of an evaluation: every `count`-th image of the data set, from the `index`-th on. */
export interface Shard {
  /** From 1. */
  readonly index: number;
  readonly count: number;
}

/** Everything, in one part. */
export const wholeShard: Shard = { index: 1, count: 1 };

/** Whether an image, by its place in the data set, is in a shard. */
export function inShard({ index, count }: Shard, place: number): boolean {
  return place % count === index - 1;
}

/** What is kept of each image. */
export interface ImageRecord {
  /** Its place in the data set, from 0. */
  readonly index: number;
  /** As the data set spells it: "metal_nut". */
  readonly class: string;
  /** Path in the data set. */
  readonly file: string;
  /** Path of its mask in the data set; null for a normal image. */
  readonly mask: string | null;
  /** 1 for an abnormal image. */
  readonly label: 0 | 1;
  readonly defect: string;
  /** The largest value of its map. */
  readonly score: number;
  /** AUROC of its own pixels, from the binned scores; null where it has no defect or nothing but defect. */
  readonly pixelAuroc: number | null;
  /** Where its pixels are kept, in an exact evaluation. */
  readonly pixels?: RecordPlace;
}

/** What the metadata of a state file holds, as JSON under "evaluation". */
interface StateHeader {
  readonly format: 1;
  readonly identity: EvaluationIdentity;
  readonly shard: Shard;
  readonly images: readonly ImageRecord[];
  /** Number of defect regions by class. */
  readonly regions: Readonly<Record<string, number>>;
  /** Bytes of the pixel file that are in use, in an exact evaluation. */
  readonly pixelBytes?: number;
}

/** The file with the pixels of an exact evaluation, beside the state. */
function pixelFile(file: string): string {
  return file.replace(/\.safetensors$/, '.pixels');
}

/** Counts of a class as tensors of the state file: of the bins that have any. */
const countTensors = { bins: 'U32', normal: 'U64', abnormal: 'U64', overlap: 'U64', most: 'U32', least: 'U32' } as const;
type CountTensor = keyof typeof countTensors;

function storedCounts(name: string, counts: PixelCounts): TensorToWrite[] {
  const used: number[] = [];
  for (let bin = 0; bin < SCORE_BINS; bin++) if (counts.normal[bin] > 0 || counts.abnormal[bin] > 0) used.push(bin);
  const bins = Uint32Array.from(used);
  const bytes = (data: BigUint64Array | Uint32Array): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const wide = (values: Float64Array): Uint8Array => bytes(BigUint64Array.from(bins, (bin) => BigInt(values[bin])));
  const data: Record<CountTensor, Uint8Array> = {
    bins: bytes(bins),
    normal: wide(counts.normal),
    abnormal: wide(counts.abnormal),
    overlap: bytes(BigUint64Array.from(bins, (bin) => counts.overlapped[bin])),
    most: bytes(bins.map((bin) => counts.most[bin])),
    least: bytes(bins.map((bin) => counts.least[bin])),
  };
  return (Object.keys(countTensors) as CountTensor[]).map((part) => ({ name: `${name}/${part}`, dtype: countTensors[part], shape: [bins.length], data: data[part] }));
}

async function readCounts(file: Checkpoint, name: string, regions: number): Promise<PixelCounts> {
  const counts = new PixelCounts();
  const damaged = (what: string): UserError => new UserError(`${file.file}: the counts of "${name}" are damaged: ${what}; evaluate again`);
  const length = file.tensors.get(`${name}/bins`)?.shape[0];
  const part = async (kind: CountTensor): Promise<ArrayBuffer> => {
    const entry = file.tensors.get(`${name}/${kind}`);
    if (!entry || entry.dtype !== countTensors[kind] || entry.shape.length !== 1 || entry.shape[0] !== length) throw damaged(`"${name}/${kind}" is missing or of another type or length`);
    return (await file.read(entry.name)).slice().buffer;
  };
  const bins = new Uint32Array(await part('bins'));
  const normal = new BigUint64Array(await part('normal'));
  const abnormal = new BigUint64Array(await part('abnormal'));
  const overlap = new BigUint64Array(await part('overlap'));
  const most = new Uint32Array(await part('most'));
  const least = new Uint32Array(await part('least'));
  bins.forEach((bin, i) => {
    if (bin >= SCORE_BINS || (i > 0 && bin <= bins[i - 1])) throw damaged('its bins are not in order');
    if (![least[i], most[i]].every((bits) => scoreKeyOfBits(bits) === bin)) throw damaged('its smallest and largest scores are not those of their bins');
    if (Math.max(Number(normal[i]), Number(abnormal[i])) > Number.MAX_SAFE_INTEGER) throw damaged('a count is too large');
    counts.normal[bin] = Number(normal[i]);
    counts.abnormal[bin] = Number(abnormal[i]);
    counts.overlapped[bin] = overlap[i];
    counts.most[bin] = most[i];
    counts.least[bin] = least[i];
  });
  counts.addRegions(regions);
  return counts;
}

function isRecord(value: unknown): value is ImageRecord {
  const image = value as ImageRecord;
  return (
    typeof value === 'object' &&
    value !== null &&
    Number.isSafeInteger(image.index) &&
    image.index >= 0 &&
    [image.class, image.file, image.defect].every((text) => typeof text === 'string') &&
    (image.mask === null || typeof image.mask === 'string') &&
    (image.label === 0 || image.label === 1) &&
    Number.isFinite(image.score) &&
    (image.pixelAuroc === null || Number.isFinite(image.pixelAuroc)) &&
    (image.pixels === undefined || (Array.isArray(image.pixels) && image.pixels.length === 2 && image.pixels.every(Number.isSafeInteger)))
  );
}

/** The header of a state file. @throws UserError when the file is something else */
function parseHeader(file: Checkpoint): StateHeader {
  const json = file.metadata.evaluation;
  if (json === undefined) throw new UserError(`${file.file} is not the state of an evaluation: its metadata has no "evaluation"`);
  let header: StateHeader;
  try {
    header = JSON.parse(json) as StateHeader;
  } catch (error) {
    throw new UserError(`${file.file}: the "evaluation" in its metadata is not valid JSON: ${(error as Error).message}`);
  }
  if (header?.format !== 1) throw new UserError(`${file.file} was written by another version of this program; evaluate again`);
  const { identity, shard, images, regions } = header;
  const sound =
    typeof identity?.software === 'string' &&
    typeof identity.data?.fingerprint === 'string' &&
    Number.isSafeInteger(identity.data.images) &&
    typeof identity.model?.config === 'object' &&
    Number.isSafeInteger(shard?.index) &&
    Number.isSafeInteger(shard.count) &&
    Array.isArray(images) &&
    images.every((image) => isRecord(image) && image.index < identity.data.images && (image.pixels !== undefined) === identity.exact) &&
    typeof regions === 'object' &&
    regions !== null;
  if (!sound) throw new UserError(`${file.file}: the "evaluation" in its metadata is damaged; evaluate again`);
  return header;
}

/**
 * What an evaluation has found so far: one record for each image, and the pixels of each class, as counts or, in an exact
 * evaluation, one by one. It can be written to a file at any time, and states of different parts can be put together.
 */
export class EvaluationState {
  readonly identity: EvaluationIdentity;
  readonly shard: Shard;
  /** In the order in which they were evaluated. */
  readonly images: ImageRecord[] = [];
  /** By class; empty in an exact evaluation. */
  readonly counts = new Map<string, PixelCounts>();
  /** Defect regions by class. */
  readonly regions = new Map<string, number>();
  /** Where the state is kept; undefined: in memory alone. */
  readonly file: string | undefined;
  /** The pixels of an exact evaluation. */
  readonly records: PixelRecords | undefined;

  private constructor(identity: EvaluationIdentity, shard: Shard, file: string | undefined, records: PixelRecords | undefined) {
    this.identity = identity;
    this.shard = shard;
    this.file = file;
    this.records = records;
  }

  /** A state without images. @param file where it will be kept, ending in ".safetensors" */
  static async create(identity: EvaluationIdentity, shard: Shard = wholeShard, file?: string): Promise<EvaluationState> {
    return new EvaluationState(identity, shard, file, identity.exact ? (file === undefined ? PixelRecords.inMemory() : await PixelRecords.append(pixelFile(file), 0)) : undefined);
  }

  /**
   * Reads a state file.
   *
   * @param goOn whether more images will be added: the pixels of an exact evaluation are then opened for writing
   * @throws UserError naming the file when it is something else or damaged
   */
  static async read(file: string, { goOn = false }: { readonly goOn?: boolean } = {}): Promise<EvaluationState> {
    const checkpoint = await openSafetensors(file);
    try {
      const header = parseHeader(checkpoint);
      const { identity, shard } = header;
      const records = identity.exact ? (goOn ? await PixelRecords.append(pixelFile(file), header.pixelBytes ?? 0) : await PixelRecords.read(pixelFile(file))) : undefined;
      const state = new EvaluationState(identity, shard, file, records);
      for (const image of header.images) state.images.push(image);
      for (const [name, regions] of Object.entries(header.regions)) {
        state.regions.set(name, regions);
        if (!identity.exact) state.counts.set(name, await readCounts(checkpoint, name, regions));
      }
      const uncounted = state.images.find((image) => !state.regions.has(image.class));
      if (uncounted) throw new UserError(`${file}: it has no counts of the class "${uncounted.class}"; evaluate again`);
      return state;
    } finally {
      await checkpoint.close();
    }
  }

  /** Number of images that belong to this part. */
  get total(): number {
    const { index, count } = this.shard;
    return Math.max(0, Math.ceil((this.identity.data.images - (index - 1)) / count));
  }

  /** The counts of a class, which are made when it has none yet. */
  countsOf(className: string): PixelCounts {
    let counts = this.counts.get(className);
    if (!counts) this.counts.set(className, (counts = new PixelCounts()));
    return counts;
  }

  /** Writes the state to its file, atomically: a run that is killed meanwhile leaves the state before. */
  async write(): Promise<void> {
    if (this.file === undefined) return;
    await this.records?.flush();
    const header: StateHeader = {
      format: 1,
      identity: this.identity,
      shard: this.shard,
      images: this.images,
      regions: Object.fromEntries(this.regions),
      ...(this.records ? { pixelBytes: this.records.end } : {}),
    };
    await writeSafetensors(this.file, [...this.counts].flatMap(([name, counts]) => storedCounts(name, counts)), { evaluation: JSON.stringify(header) });
  }

  /** Closes what the state holds open. */
  async close(): Promise<void> {
    await this.records?.close();
  }
}
