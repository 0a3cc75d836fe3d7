import { type BoundSequence, bindSequence, runSequence, traceSequence } from '../gpu/commands.ts';
import type { Gpu } from '../gpu/device.ts';
import { dispatchRequest } from './dispatch.ts';
import { linkKernel } from '../gpu/kernels.ts';
import { pipelineName } from '../gpu/pipelines.ts';
import type { Cost, KernelCall, OpCall } from './op.ts';
import { type Lifetime, type MemoryPlan, planMemory } from './plan.ts';
import { type RecordedOp, Recording, plannedTensor, recordInto } from './recording.ts';
import type { Storage, Tensor } from './tensor.ts';
import { variantsOf } from './variants.ts';

/** GPU time of one dispatch of a run. */
export interface KernelTime {
  /** Pipeline: kernel path, conditions and constants. */
  readonly kernel: string;
  readonly op: string;
  /** Where in the model: "vision/layer 3". */
  readonly scope: string;
  readonly variant: string;
  /** When it began, in nanoseconds since the first dispatch of the run did. */
  readonly start: number;
  readonly nanoseconds: number;
  /** Bytes of the intermediates that are alive while it runs. */
  readonly aliveBytes: number;
}

/** One op of a program. */
export interface ProgramOp {
  readonly op: string;
  readonly scope: string;
  readonly variant: string;
  /** Pipelines of its dispatches, in order. */
  readonly kernels: readonly string[];
  /** What the op states, and the bytes that pass through its scratch tensors: written once and read once. */
  readonly cost: Cost;
}

/** Tensors that a recording returns: one, or a structure of them. */
export type Tensors = Tensor | readonly Tensors[] | { readonly [name: string]: Tensors } | undefined;

/** How to compile a recording. */
export interface ProgramOptions {
  /** Name for labels and errors. */
  readonly label?: string;
  /** Fill every intermediate with NaN before each run, so that an element nobody writes is seen. For tests. */
  readonly poison?: boolean;
}

/** What a program would need, found without giving it memory or compiling a pipeline. */
export interface ProgramPlan {
  readonly memory: MemoryPlan;
  /** Number of dispatches of one run. */
  readonly dispatches: number;
}

interface Step {
  readonly node: RecordedOp;
  readonly variant: string;
  readonly call: KernelCall;
}

/**
 * A recorded sequence of ops, compiled: memory planned, variants chosen, pipelines and bind groups made.
 * `run` replays it; new inputs are written into its persistent tensors before.
 */
export class Program<Outputs extends Tensors> {
  /** What the recording returned. These tensors keep their content until the next run. */
  readonly outputs: Outputs;
  readonly memory: MemoryPlan;
  readonly #gpu: Gpu;
  readonly #label: string;
  readonly #steps: readonly Step[];
  readonly #sequence: BoundSequence;
  readonly #slots: readonly GPUBuffer[];
  readonly #storages: readonly Storage[];
  readonly #poison: boolean;
  #destroyed = false;

  private constructor(gpu: Gpu, label: string, outputs: Outputs, memory: MemoryPlan, steps: readonly Step[], sequence: BoundSequence, slots: readonly GPUBuffer[], storages: readonly Storage[], poison: boolean) {
    this.#gpu = gpu;
    this.#label = label;
    this.outputs = outputs;
    this.memory = memory;
    this.#steps = steps;
    this.#sequence = sequence;
    this.#slots = slots;
    this.#storages = storages;
    this.#poison = poison;
  }

  /**
   * Records the ops that `build` calls and compiles them.
   *
   * @param build calls ops and returns the tensors that should be readable after a run
   * @throws Error of a shape rule, a kernel that does not compile, or UserError when memory does not suffice
   */
  static async record<Outputs extends Tensors>(gpu: Gpu, build: () => Outputs, options: ProgramOptions = {}): Promise<Program<Outputs>> {
    const label = options.label ?? 'program';
    const { outputs, steps, plan, storages } = await planRecording(gpu, build);
    const slots: GPUBuffer[] = [];
    try {
      for (const [i, bytes] of plan.slots.entries()) slots.push(gpu.memory.acquire(bytes, `${label} memory ${i}`));
      for (const [storage, slot] of storages) storage.buffer = slots[slot];
      const sequence = await bindSequence(gpu, steps.map((step) => dispatchRequest(step.call)), label);
      return new Program(gpu, label, outputs, plan, steps, sequence, slots, [...storages.keys()], options.poison ?? false);
    } catch (error) {
      for (const buffer of slots) gpu.memory.release(buffer);
      throw error;
    }
  }

  /**
   * Plans the ops that `build` calls: the same plan that `record` carries out, for tensors that may be declared only
   * (`declaredTensor`). Needs no device memory, unless variants are chosen by measurement.
   *
   * @throws Error of a shape rule
   */
  static async plan(gpu: Gpu, build: () => Tensors): Promise<ProgramPlan> {
    const { steps, plan } = await planRecording(gpu, build);
    return { memory: plan, dispatches: steps.length };
  }

  /** Number of dispatches of one run. */
  get dispatches(): number {
    return this.#steps.length;
  }

  /** Pipelines and the shapes they run on, in order: what this program does, in a form to read. */
  describe(): string[] {
    return this.#steps.map(({ node, variant, call }, i) => `${node.scope ? `${node.scope}/` : ''}${node.op.name} (${variant}): ${this.#sequence.dispatches[i].name} x ${call.workgroups.join('x')}`);
  }

  /** Its ops in order, each with the kernels that it was given and what they cost. */
  get ops(): ProgramOp[] {
    const calls = new Map<RecordedOp, Step[]>();
    for (const step of this.#steps) calls.set(step.node, [...(calls.get(step.node) ?? []), step]);
    return [...calls].map(([node, steps]) => {
      const stated = node.op.cost(node.inputs, node.outputs, node.attributes);
      const outside = new Set([...node.inputs, ...node.outputs].map((tensor) => tensor?.storage));
      const scratch = new Set(steps.flatMap(({ call }) => Object.values(call.bindings).map(({ storage }) => storage)));
      const scratchBytes = [...scratch].reduce((sum, storage) => sum + (outside.has(storage) ? 0 : storage.bytes), 0);
      return {
        op: node.op.name,
        scope: node.scope,
        variant: steps[0].variant,
        kernels: steps.map(({ call }) => pipelineName(call)),
        cost: { flops: stated.flops, bytes: stated.bytes + 2 * scratchBytes },
      };
    });
  }

  /** Encodes and submits everything once; resolves when Dawn has accepted it, reading an output waits for the rest. */
  async run(): Promise<void> {
    this.#prepare();
    await runSequence(this.#gpu, this.#sequence, this.#label);
  }

  /** Runs once with every dispatch timed on the GPU's clock. */
  async time(): Promise<KernelTime[]> {
    this.#prepare();
    const spans = await traceSequence(this.#gpu, this.#sequence, this.#label);
    return this.#steps.map(({ node, variant, call }, i) => ({ kernel: pipelineName(call), op: node.op.name, scope: node.scope, variant, ...spans[i], aliveBytes: this.memory.alive[i] ?? 0 }));
  }

  #prepare(): void {
    if (this.#destroyed) throw new Error(`${this.#label} was destroyed: its memory belongs to others now`);
    if (!this.#poison) return;
    // All bits set is NaN in f32 and in f16.
    for (const buffer of this.#slots) this.#gpu.write(buffer, new Uint8Array(buffer.size).fill(0xff));
  }

  /** Gives the program's memory back. It cannot run any more, and its outputs have no content. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    for (const storage of this.#storages) storage.buffer = undefined;
    for (const buffer of this.#slots) this.#gpu.memory.release(buffer);
    this.#sequence.uniforms?.destroy();
  }
}

/** The times of programs that run one after the other, as those of one. */
export function joinTimes(parts: readonly (readonly KernelTime[])[]): KernelTime[] {
  const joined: KernelTime[] = [];
  let end = 0;
  for (const part of parts) {
    const offset = end;
    for (const time of part) {
      const start = offset + time.start;
      joined.push({ ...time, start });
      end = Math.max(end, start + time.nanoseconds);
    }
  }
  return joined;
}

/** All tensors in a structure. */
export function listTensors(tensors: Tensors): Tensor[] {
  if (tensors === undefined) return [];
  if ('storage' in tensors && 'dtype' in tensors) return [tensors as Tensor];
  return Object.values(tensors as Record<string, Tensors>).flatMap(listTensors);
}

/** The ops that something depends on: those that write in place, and those whose outputs are returned or read by such ops. */
function liveOps(ops: readonly RecordedOp[], outputs: Tensors): RecordedOp[] {
  const needed = new Set(listTensors(outputs).map((output) => output.storage));
  const live: RecordedOp[] = [];
  for (const node of [...ops].reverse()) {
    if (node.outputs.length && !node.outputs.some((output) => needed.has(output.storage))) continue;
    live.push(node);
    for (const input of node.inputs) if (input) needed.add(input.storage);
  }
  return live.reverse();
}

/** A recording with its variants chosen and its memory planned. */
interface PlannedRecording<Outputs extends Tensors> {
  readonly outputs: Outputs;
  readonly steps: readonly Step[];
  readonly plan: MemoryPlan;
  /** Each intermediate's place among the plan's slots. */
  readonly storages: ReadonlyMap<Storage, number>;
}

async function planRecording<Outputs extends Tensors>(gpu: Gpu, build: () => Outputs): Promise<PlannedRecording<Outputs>> {
  const recording = new Recording();
  const outputs = recordInto(recording, build);
  const steps: Step[] = [];
  for (const node of liveOps(recording.ops, outputs)) {
    const call: OpCall<unknown> = {
      gpu,
      inputs: node.inputs,
      outputs: node.outputs,
      attributes: node.attributes,
      scratch: (shape, dtype) => plannedTensor(shape, dtype, `${node.op.name} scratch`),
    };
    const variant = await variantsOf(gpu).choose(node.op, call);
    for (const kernelCall of variant.kernels(call)) steps.push({ node, variant: variant.name, call: kernelCall });
  }
  return { outputs, steps, ...(await planSteps(steps, outputs)) };
}

async function planSteps(steps: readonly Step[], outputs: Tensors): Promise<{ plan: MemoryPlan; storages: Map<Storage, number> }> {
  const lives = new Map<Storage, { first: number; last: number }>();
  for (const [i, { node, call }] of steps.entries()) {
    const kernel = await linkKernel(call.kernel, call.conditions ?? {});
    for (const binding of kernel.bindings) {
      const storage = call.bindings[binding.name]?.storage;
      if (!storage || storage.persistent) continue;
      const life = lives.get(storage);
      if (life) life.last = i;
      else if (binding.access === 'read') throw new Error(`${node.op.name}: ${call.bindings[binding.name].toString()} is read before anything writes it`);
      else lives.set(storage, { first: i, last: i });
    }
  }
  for (const { storage } of listTensors(outputs)) {
    if (storage.persistent) continue;
    const life = lives.get(storage);
    if (!life) throw new Error(`the recording returns ${storage.label}, which none of its ops writes`);
    life.last = steps.length;
  }
  const storages = [...lives.keys()];
  const lifetimes: Lifetime[] = storages.map((storage) => ({ bytes: Math.max(16, storage.bytes), ...lives.get(storage)! }));
  const plan = planMemory(lifetimes);
  return { plan, storages: new Map(storages.map((storage, i) => [storage, plan.assignment[i]])) };
}
