import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { link } from 'wesl/core';

/** One scalar of a kernel's `Params` struct, in declaration order. */
export interface ParamField {
  readonly name: string;
  readonly type: 'u32' | 'i32' | 'f32';
}

/** One storage binding of a kernel, as declared in its WGSL. */
export interface KernelBinding {
  readonly name: string;
  readonly binding: number;
  readonly access: 'read' | 'read_write';
  /** Scalar type of the elements after linking: what the tensor bound here must hold. */
  readonly element: 'f32' | 'f16' | 'u32' | 'i32';
}

/** A kernel after WESL linking: plain WGSL and what it binds. */
export interface LinkedKernel {
  readonly path: string;
  readonly conditions: readonly string[];
  readonly code: string;
  readonly params: readonly ParamField[];
  readonly bindings: readonly KernelBinding[];
}

/** Folder that holds the WGSL, the same seen from `src/gpu` and from the built `dist/gpu`. */
export const kernelFolder = fileURLToPath(new URL('../../kernels/', import.meta.url));

let sources: Record<string, string> | undefined;

/** All kernel sources, keyed by path inside `kernels/` ("gemm/tiled.wgsl"). Read once. */
export function kernelSources(): Record<string, string> {
  if (!sources) {
    sources = {};
    for (const entry of readdirSync(kernelFolder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith('.wgsl')) continue;
      const file = join(entry.parentPath, entry.name);
      sources[relative(kernelFolder, file).split(sep).join('/')] = readFileSync(file, 'utf8');
    }
  }
  return sources;
}

/** Canonical text for a set of conditions: the names that are on, sorted. */
export function conditionList(conditions: Readonly<Record<string, boolean>>): string[] {
  return Object.keys(conditions).filter((name) => conditions[name]).sort();
}

const linked = new Map<string, Promise<LinkedKernel>>();

/**
 * Links one kernel with WESL and reads from the result what it binds, so that no op has to repeat it.
 *
 * @param path module path inside `kernels/` without ending, for example "gemm/tiled"
 * @param conditions values of the `@if` conditions; a name that is not given is false
 * @throws Error when the file does not exist, does not link, or declares `Params` or bindings in a form the engine cannot read
 */
export function linkKernel(path: string, conditions: Readonly<Record<string, boolean>>): Promise<LinkedKernel> {
  const on = conditionList(conditions);
  const key = `${path}|${on.join(',')}`;
  let result = linked.get(key);
  if (!result) {
    result = linkOnce(path, on);
    linked.set(key, result);
  }
  return result;
}

/**
 * Names of WGSL extensions that WESL takes for misspelled ones. Kernels import them from `dawn`, whose declarations only
 * satisfy WESL: they are taken out of the result, where Dawn's compiler knows the names.
 */
const extensionNames = [
  'subgroup_matrix_left',
  'subgroup_matrix_right',
  'subgroup_matrix_result',
  'subgroupMatrixLoad',
  'subgroupMatrixStore',
  'subgroupMatrixMultiplyAccumulate',
  'row_major',
  'col_major',
];
const extensionDeclarations = extensionNames.map((name) => `const ${name} = 0;`).join('\n');
const extensionDeclaration = new RegExp(`^\\s*const (${extensionNames.join('|')}) = 0;\\s*$`, 'gm');

async function linkOnce(path: string, on: string[]): Promise<LinkedKernel> {
  const all = kernelSources();
  const own = all[`${path}.wgsl`];
  if (own === undefined) throw new Error(`kernel ${path}: there is no file kernels/${path}.wgsl`);
  // WESL asks for a value of every condition that it meets; everything not named is off.
  const conditions: Record<string, boolean> = {};
  for (const text of Object.values(all)) {
    for (const match of text.matchAll(/@(?:if|elif)\s*\(([^)]*(?:\([^)]*\)[^)]*)*)\)/g)) {
      for (const name of match[1].matchAll(/[A-Za-z_]\w*/g)) conditions[name[0]] = false;
    }
  }
  for (const name of on) {
    if (!(name in conditions)) throw new Error(`kernel ${path}: no WGSL file has the condition @if(${name})`);
    conditions[name] = true;
  }
  let code: string;
  try {
    const result = await link({ weslSrc: all, rootModuleName: path, conditions, virtualLibs: { dawn: () => extensionDeclarations } });
    code = result.dest.replace(extensionDeclaration, '');
  } catch (error) {
    throw new Error(`kernel ${path} [${on.join(', ')}] does not link: ${(error as Error).message}`, { cause: error });
  }
  return { path, conditions: on, code, params: readParams(path, code), bindings: readBindings(path, code) };
}

function withoutComments(code: string): string {
  return code.replace(/\/\/[^\n]*/g, '').replace(/\/\*[\s\S]*?\*\//g, '');
}

function readParams(path: string, code: string): ParamField[] {
  const body = /struct\s+Params\s*\{([^}]*)\}/.exec(withoutComments(code))?.[1];
  if (body === undefined) return [];
  return body
    .split(',')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      const match = /^(\w+)\s*:\s*(u32|i32|f32)$/.exec(line);
      if (!match) throw new Error(`kernel ${path}: Params may hold u32, i32 and f32 scalars only, not "${line}"`);
      return { name: match[1], type: match[2] as ParamField['type'] };
    });
}

function readBindings(path: string, code: string): KernelBinding[] {
  const text = withoutComments(code);
  const aliases = new Map([...text.matchAll(/alias\s+(\w+)\s*=\s*([^;]+);/g)].map((match) => [match[1], match[2].trim()]));
  const bindings: KernelBinding[] = [];
  const pattern = /@group\(0\)\s*@binding\((\d+)\)\s*var<storage(?:\s*,\s*(read|read_write))?>\s*(\w+)\s*:\s*([^;]+);/g;
  for (const match of text.matchAll(pattern)) {
    let element = match[4];
    for (let depth = 0; depth < 4; depth++) element = element.replace(/[A-Za-z_]\w*/g, (word) => aliases.get(word) ?? word);
    element = element.replace(/vec[234]([fuih])/g, (_, letter: string) => ({ f: 'f32', u: 'u32', i: 'i32', h: 'f16' })[letter]!);
    const scalar = /\b(f32|f16|u32|i32)\b/.exec(element)?.[1];
    if (!scalar) throw new Error(`kernel ${path}: cannot tell the element type of binding ${match[3]}: ${match[4]}`);
    bindings.push({
      name: match[3],
      binding: Number(match[1]),
      access: (match[2] ?? 'read') as KernelBinding['access'],
      element: scalar as KernelBinding['element'],
    });
  }
  return bindings.sort((a, b) => a.binding - b.binding);
}
