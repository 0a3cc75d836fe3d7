import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../errors.ts';
import { bindSequence, runSequence, timeSequence } from '../gpu/commands.ts';
import { type Gpu, dawnVersion } from '../gpu/device.ts';
import { kernelSources } from '../gpu/kernels.ts';
import { writeFileAtomic } from '../io/files.ts';
import { dispatchRequest } from './dispatch.ts';
import { dtypeBytes, encode } from './dtype.ts';
import type { Op, OpCall, Variant } from './op.ts';
import { Tensor, bufferOf, emptyTensor, formatShape, freeTensor, readTensor, sizeOf } from './tensor.ts';

/** How variants are chosen on one device. */
export interface VariantPolicy {
  /** "default": the fixed table of each op. "measure": the fastest, measured on first use and remembered on disk. */
  readonly mode: 'default' | 'measure';
  /** Variants that are used whatever was measured, by op: `{ gemm: 'tiled' }`. */
  readonly forced?: Readonly<Record<string, string>>;
  /** Choices of an earlier run that this one goes on from, as `VariantTable.chosenNames` gave them; they come before measurements. */
  readonly pinned?: Readonly<Record<string, string>>;
  /** Where measurements are kept; default: `variants/<key>.json` in the user's cache folder. */
  readonly file?: string;
}

/** One measured choice, as kept on disk. */
export interface MeasuredChoice {
  readonly variant: string;
  /** Median milliseconds of each variant that was measured. */
  readonly milliseconds: Readonly<Record<string, number>>;
  /** Variants that gave other results than the fixed preference: they are never chosen. */
  readonly wrong?: readonly string[];
}

/** Why a variant runs. */
export type VariantReason = 'forced' | 'pinned' | 'measured' | 'default' | 'only one';

/** Timed runs of a variant; the median of an odd number is one of them. */
const measuredRuns = 3;
/**
 * Largest difference from the fixed preference's results, as a share of their largest, with which a variant is right: far above what the
 * order of a sum does, far below what a compiler's mistake does.
 */
const agreement = { f32: 1e-3, f16: 1e-2 } as const;
/** A variant whose first timed run is this many times slower than the best so far gets no further one. */
const hopeless = 2;

/**
 * Which variant of each op runs where. Forced choices come first, then what was measured on this adapter,
 * then the op's fixed preference. Measurements are filed under adapter, driver, Dawn version and kernel sources,
 * so two runs on one machine always choose alike and compute the same bits.
 */
export class VariantTable {
  readonly policy: VariantPolicy;
  readonly #gpu: Gpu;
  readonly #file: string;
  readonly #measured = new Map<string, MeasuredChoice>();
  /**
   * Everything chosen so far, by the call: op, inputs and attributes themselves. Calls of one shape class share a
   * measurement, but not always a variant: it may not run on all of them, and the fixed preferences look closer.
   */
  readonly chosen = new Map<string, { readonly op: string; readonly shapeClass: string; readonly variant: string; readonly reason: VariantReason }>();
  #writable = true;

  constructor(gpu: Gpu, policy: VariantPolicy) {
    this.#gpu = gpu;
    this.policy = policy;
    this.#file = policy.file ?? join(cacheFolder(), 'variants', `${cacheKey(gpu)}.json`);
    if (policy.mode === 'measure') this.#load();
  }

  get file(): string {
    return this.#file;
  }

  /** All that was measured on this adapter, now or earlier, for `doctor`. */
  get measurements(): (MeasuredChoice & { readonly op: string; readonly dtype: string; readonly shapeClass: string })[] {
    return [...this.#measured].map(([key, choice]) => {
      const [op, dtype, shapeClass] = key.split('|');
      return { op, dtype, shapeClass, ...choice };
    });
  }

  /** The variant of each call so far and of those that were pinned, in alphabetical order: what a run pins that goes on from this one. */
  get chosenNames(): Readonly<Record<string, string>> {
    const names = new Map([...Object.entries(this.policy.pinned ?? {}), ...[...this.chosen].map(([call, { variant }]) => [call, variant] as const)]);
    return Object.fromEntries([...names].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Takes over what the file holds, which goes before what this process measured itself: others may have used it. */
  #load(): void {
    if (!existsSync(this.#file)) return;
    try {
      const parsed = JSON.parse(readFileSync(this.#file, 'utf8')) as { choices?: Record<string, MeasuredChoice> };
      for (const [key, choice] of Object.entries(parsed.choices ?? {})) {
        if (typeof choice?.variant === 'string') this.#measured.set(key, choice);
      }
    } catch {
      // A damaged cache is only a cache: what it held is measured and written anew.
    }
  }

  /** Chooses the variant for one call; measures when the policy says so and nothing is known. */
  async choose<A>(op: Op<A>, call: OpCall<A>): Promise<Variant<A>> {
    const supported = op.variants.filter((variant) => variant.supports?.(call) ?? true);
    if (!supported.length) throw new Error(`${op.name}: no variant runs on ${this.#gpu.adapter.description} with ${call.inputs.join(', ')}`);
    const shape = op.shapeClass?.(call.inputs, call.attributes) ?? '';
    const exact = `${op.name}|${call.inputs.map((input) => (input ? `${input.dtype}${formatShape(input.shape)}` : '-')).join(' ')}|${JSON.stringify(call.attributes)}`;
    const note = (variant: Variant<A>, reason: VariantReason): Variant<A> => {
      this.chosen.set(exact, { op: op.name, shapeClass: shape, variant: variant.name, reason });
      return variant;
    };
    const forced = this.policy.forced?.[op.name];
    if (forced !== undefined) {
      const variant = supported.find((candidate) => candidate.name === forced);
      if (variant) return note(variant, 'forced');
      if (!op.variants.some((candidate) => candidate.name === forced)) {
        throw new UserError(`--variant ${op.name}=${forced}: ${op.name} has the variants ${op.variants.map((v) => v.name).join(', ')}`);
      }
      // The forced variant exists but not for these inputs: the others stand in.
    }
    const pinned = supported.find((variant) => variant.name === this.policy.pinned?.[exact]);
    if (pinned) return note(pinned, 'pinned');
    const serious = supported.filter(({ reference, gpuOnly }) => !reference && !(gpuOnly && this.#gpu.adapter.software));
    const candidates = serious.length ? serious : supported;
    if (candidates.length === 1) return note(candidates[0], 'only one');
    const preference = op.preferred?.(call);
    const fallback = candidates.find((variant) => variant.name === preference) ?? candidates[0];
    if (this.policy.mode === 'default') return note(fallback, 'default');
    // The candidates are part of the key: a variant that is new, or that only some inputs of a shape class allow, gets its turn, and
    // the choice among the others stays as it was.
    const key = [op.name, call.inputs.find((input) => input)?.dtype ?? '', shape, candidates.map(({ name }) => name).join(',')].join('|');
    const known = (): Variant<A> | undefined => candidates.find((variant) => variant.name === this.#measured.get(key)?.variant);
    if (!known()) {
      // What cannot be remembered must not be used, or the next run could choose otherwise and give other bits.
      if (!this.#writable) return note(fallback, 'default');
      const own = await this.#measure(op, call, candidates, fallback);
      // Another process may have measured meanwhile; whoever wrote first is followed.
      this.#load();
      if (!known()) this.#measured.set(key, own);
      await this.#save();
      if (!this.#writable) {
        this.#measured.delete(key);
        return note(fallback, 'default');
      }
    }
    return note(known()!, 'measured');
  }

  async #save(): Promise<void> {
    const content = { ...measurementKey(this.#gpu), choices: Object.fromEntries([...this.#measured].sort(([a], [b]) => (a < b ? -1 : 1))) };
    try {
      await writeFileAtomic(this.#file, `${JSON.stringify(content, null, 2)}\n`);
    } catch {
      this.#writable = false;
    }
  }

  /** @param trusted one of the candidates, whose results the others' are held against */
  async #measure<A>(op: Op<A>, call: OpCall<A>, candidates: readonly Variant<A>[], trusted: Variant<A>): Promise<MeasuredChoice> {
    const gpu = this.#gpu;
    const wrong: string[] = [];
    const temporary: Tensor[] = [];
    const standIn = (model: Tensor): Tensor => {
      const copy = emptyTensor(gpu, model.shape, model.dtype, `measuring ${op.name}`);
      temporary.push(copy);
      return copy;
    };
    const milliseconds: Record<string, number> = {};
    try {
      const inputs = call.inputs.map((input, i) => {
        if (!input) return undefined;
        const copy = standIn(input);
        fillWithNoise(gpu, copy, i);
        return copy;
      });
      const outputs = call.outputs.map(standIn);
      // An op without outputs works in place.
      const results = outputs.length ? outputs : inputs.filter((input) => input !== undefined);
      const prepare = (): void => {
        if (!outputs.length) inputs.forEach((input, i) => input && fillWithNoise(gpu, input, i));
        // NaN: an element that is not written shows.
        for (const output of outputs) gpu.write(bufferOf(output), new Uint8Array(bufferOf(output).size).fill(0xff));
      };
      let best = Number.POSITIVE_INFINITY;
      let expected: Float32Array[] | undefined;
      for (const variant of [trusted, ...candidates.filter((candidate) => candidate !== trusted)]) {
        const kernels = variant.kernels({
          ...call,
          inputs,
          outputs,
          scratch: (shape, dtype) => standIn(new Tensor(shape, dtype, { bytes: sizeOf(shape) * dtypeBytes[dtype] } as never)),
        });
        const sequence = await bindSequence(gpu, kernels.map(dispatchRequest), `measuring ${op.name} ${variant.name}`);
        const once = async (): Promise<number> => {
          if (gpu.timestamps) return (await timeSequence(gpu, sequence, op.name)).reduce((a, b) => a + b, 0) / 1e6;
          const start = performance.now();
          await runSequence(gpu, sequence, op.name);
          await gpu.finish();
          return performance.now() - start;
        };
        // The first run is not counted: lavapipe compiles a kernel when it first runs, for longer than most of them take.
        prepare();
        await once();
        const found = await numbersOf(gpu, results);
        if (!expected) expected = found;
        else if (results.some(({ dtype }, i) => !agree(found[i], expected![i], dtype === 'f16' ? agreement.f16 : agreement.f32))) {
          wrong.push(variant.name);
          process.stderr.write(`warning: ${op.name} ${variant.name} gives other results than ${trusted.name} on ${gpu.adapter.description}. It is not used; mfp-clip doctor lists it. Please report it.\n`);
          sequence.uniforms?.destroy();
          continue;
        }
        const times = [await once()];
        while (times.length < measuredRuns && times[0] < hopeless * best) times.push(await once());
        times.sort((a, b) => a - b);
        milliseconds[variant.name] = times[times.length >> 1];
        best = Math.min(best, milliseconds[variant.name]);
        sequence.uniforms?.destroy();
      }
    } finally {
      await gpu.finish();
      for (const unused of temporary) freeTensor(gpu, unused);
      // Of the sizes of one op, which a model may never ask for again.
      gpu.memory.trim();
    }
    const variant = Object.keys(milliseconds).reduce((a, b) => (milliseconds[b] < milliseconds[a] ? b : a));
    // As the op lists them, not as they ran.
    const inOrder = Object.fromEntries(candidates.flatMap(({ name }) => (name in milliseconds ? [[name, milliseconds[name]]] : [])));
    return { variant, milliseconds: inOrder, ...(wrong.length && { wrong }) };
  }
}

/** What tensors hold; nothing of those that are not of numbers. */
async function numbersOf(gpu: Gpu, tensors: readonly Tensor[]): Promise<Float32Array[]> {
  const numbers = [];
  for (const source of tensors) numbers.push(['f32', 'f16'].includes(source.dtype) ? await readTensor(gpu, source) : new Float32Array());
  return numbers;
}

/** Whether no element is further from the expected one than this share of the largest. */
function agree(actual: Float32Array, expected: Float32Array, share: number): boolean {
  const largest = expected.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
  return expected.every((value, i) => Object.is(value, actual[i]) || Math.abs(value - actual[i]) <= share * largest);
}

/**
 * Fills a tensor with numbers between 0 and 1, for timing: zeros would flatter a kernel, denormals would slow a CPU down, and of a negative
 * probability or length there would be nothing but NaN, which is the same whatever a variant does wrong.
 *
 * @param which the inputs of an op get different noise: where two are equal, what a gradient should be can cancel, and nothing but rounding is left
 */
export function fillWithNoise(gpu: Gpu, target: Tensor, which = 0): void {
  const values = new Float32Array(target.size);
  let state = Math.imul(which, 0x9e3779b9) + 1;
  for (let i = 0; i < values.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = target.dtype === 'u32' || target.dtype === 'u8' ? 0 : 0.02 + 0.96 * (state / 2 ** 32);
  }
  gpu.write(bufferOf(target), encode(values, target.dtype));
}

/** Folder for files that can be made again. */
export function cacheFolder(): string {
  return join(process.env.MFP_CLIP_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'mfp-clip'));
}

/** What measurements depend on and are filed under: a change of any of these starts anew. */
export function measurementKey(gpu: Gpu): { readonly adapter: string; readonly dawn: string; readonly kernels: string } {
  const hash = createHash('sha256');
  for (const [path, text] of Object.entries(kernelSources()).sort(([a], [b]) => (a < b ? -1 : 1))) hash.update(path).update(text);
  return { adapter: gpu.key, dawn: dawnVersion(), kernels: hash.digest('hex').slice(0, 16) };
}

function cacheKey(gpu: Gpu): string {
  return createHash('sha256').update(JSON.stringify(measurementKey(gpu))).digest('hex').slice(0, 16);
}

const tables = new WeakMap<Gpu, VariantTable>();

/** Sets how variants are chosen on a device; call it before programs are made. */
export function configureVariants(gpu: Gpu, policy: VariantPolicy): VariantTable {
  const table = new VariantTable(gpu, policy);
  tables.set(gpu, table);
  return table;
}

/** The device's variant table; the fixed preferences when none was configured. */
export function variantsOf(gpu: Gpu): VariantTable {
  return tables.get(gpu) ?? configureVariants(gpu, { mode: 'default' });
}
