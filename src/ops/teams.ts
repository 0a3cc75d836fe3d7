import type { Gpu } from '../gpu/device.ts';
import { type KernelCall, type OpCall, type Variant, foldWorkgroups } from '../tensor/op.ts';

/** How a kernel that is written for teams (`kernels/common/team.wgsl`) is launched. */
export interface Teams {
  /** To be among the kernel's conditions. */
  readonly conditions: { readonly subgroups: boolean };
  /** To be among the kernel's constants. */
  readonly constants: { readonly THREADS: number };
  /** Workgroups that bring one team to each of so many tasks. */
  workgroups(tasks: number): [number, number];
}

/** Invocations of a workgroup: a team, or several teams of one subgroup each (at most 128 lanes in WebGPU). */
const threads = 128;

function workgroupTeams(): Teams {
  return { conditions: { subgroups: false }, constants: { THREADS: threads }, workgroups: foldWorkgroups };
}

function subgroupTeams(gpu: Gpu): Teams {
  // Where subgroups come in several sizes, the largest gives the fewest teams; the kernel checks the bound.
  const teams = Math.floor(threads / (gpu.adapter.subgroupMaxSize || threads));
  return { conditions: { subgroups: true }, constants: { THREADS: threads }, workgroups: (tasks) => foldWorkgroups(Math.ceil(tasks / teams)) };
}

/**
 * The two variants of an op whose kernels are written for teams: "workgroup" and, where the adapter has them, "subgroup".
 *
 * @param kernels the dispatches, given how teams are launched
 */
export function teamVariants<Attributes>(kernels: (call: OpCall<Attributes>, teams: Teams) => readonly KernelCall[]): Variant<Attributes>[] {
  return [
    {
      name: 'workgroup',
      purpose: 'one workgroup per row or chunk, sums in workgroup memory: GPUs',
      kernels: (call) => kernels(call, workgroupTeams()),
    },
    {
      name: 'subgroup',
      purpose: 'one subgroup per row or chunk, no barriers: software adapters, and GPUs when rows are many and short',
      supports: ({ gpu }) => gpu.subgroups,
      kernels: (call) => kernels(call, subgroupTeams(call.gpu)),
    },
  ];
}

/** The variant of `teamVariants` where nothing was measured: barriers are what costs on a CPU. */
export function preferredTeams({ gpu }: Pick<OpCall<never>, 'gpu'>): string {
  return gpu.adapter.software ? 'subgroup' : 'workgroup';
}

/** Whether rows of a width can be read four elements at a time (`kernels/common/item.wgsl`), and how many reads that makes. */
export function itemsOf(width: number): { readonly vectors: boolean; readonly items: number } {
  return width % 4 === 0 ? { vectors: true, items: width / 4 } : { vectors: false, items: width };
}

/** Items that one team of a reduction over a whole tensor adds up: enough to be worth a team, few enough for many teams. */
const itemsPerChunk = 256;

/** How a reduction over a whole tensor is cut for its first stage, one team per chunk. */
export function chunksOf(size: number): { readonly vectors: boolean; readonly items: number; readonly chunk: number; readonly chunks: number } {
  const { vectors, items } = itemsOf(size);
  return { vectors, items, chunk: itemsPerChunk, chunks: Math.ceil(items / itemsPerChunk) };
}
