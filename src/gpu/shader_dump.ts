import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { writeFileAtomic } from '../io/files.ts';
import type { LinkedKernel } from './kernels.ts';
import type { PipelineKey } from './pipelines.ts';

/** Longest file name before its ending; file systems take 255 bytes, and a file is written under a longer name first. */
const longestName = 180;

/** Where a pipeline's WGSL goes below the folder of `--dump-shaders`: `gemm/tiled+bias+f16+STEP=16.wgsl`. */
export function shaderFile({ kernel, conditions = {}, constants = {} }: PipelineKey): string {
  const on = Object.keys(conditions).filter((name) => conditions[name]).sort();
  const values = Object.entries(constants).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => `${name}=${value}`);
  const flags = [...on, ...values].map((flag) => `+${flag}`).join('');
  const short = flags.length <= longestName ? flags : `${flags.slice(0, longestName)}~${createHash('sha256').update(flags).digest('hex').slice(0, 8)}`;
  return `${kernel}${short}.wgsl`;
}

/** An arithmetic expression of whole numbers and of constants that are known, as a number: "GROUP_ROWS * 4u". Anything else as it is. */
function evaluated(expression: string, known: ReadonlyMap<string, string>): string {
  const tokens = expression.match(/[\w.]+|\S/g) ?? [];
  let at = 0;
  const factor = (): number => {
    const token = tokens[at++] ?? '';
    if (token === '(') {
      const value = sum();
      return tokens[at++] === ')' ? value : Number.NaN;
    }
    const definition = known.get(token);
    return definition !== undefined ? Number(evaluated(definition, known)) : Number.parseFloat(/^\d+[iu]?$/.test(token) ? token : '');
  };
  const product = (): number => {
    let value = factor();
    while (tokens[at] === '*' || tokens[at] === '/') value = tokens[at++] === '*' ? value * factor() : Math.trunc(value / factor());
    return value;
  };
  const sum = (): number => {
    let value = product();
    while (tokens[at] === '+' || tokens[at] === '-') value = tokens[at++] === '+' ? value + product() : value - product();
    return value;
  };
  const value = sum();
  return at === tokens.length && Number.isInteger(value) ? String(value) : expression;
}

/**
 * Linked WGSL with a comment before it that says all that the pipeline has beside it.
 *
 * @param name `pipelineName(key)`
 */
export function describeShader(name: string, key: PipelineKey, { code, conditions, params, bindings }: LinkedKernel): string {
  const constants: Readonly<Record<string, number>> = key.constants ?? {};
  const values = new Map<string, string>();
  const overrides: string[] = [];
  // A definition may come after its use.
  for (const [, kind, constant, value] of code.matchAll(/^\s*(override|const)\s+(\w+)(?:\s*:\s*\w+)?(?:\s*=\s*([^;]+))?;/gm)) {
    values.set(constant, String(constants[constant] ?? value));
    if (kind === 'override') overrides.push(constant);
  }
  const workgroup = /@workgroup_size\(([^)]*)\)/.exec(code)?.[1] ?? '';
  const lines = [
    name,
    `from kernels/${key.kernel}.wgsl${conditions.length ? `, with the conditions ${conditions.join(', ')}` : ''}`,
    `workgroup size: ${workgroup.split(',').map((part) => evaluated(part.trim(), values)).join(' x ')}`,
    ...overrides.map((constant) => `override ${constant} = ${evaluated(values.get(constant)!, values)}${constant in constants ? ', set by the op' : ''}`),
    ...(params.length ? [`binding 0: uniform Params { ${params.map(({ name, type }) => `${name}: ${type}`).join(', ')} }`] : []),
    ...bindings.map(({ binding, name, access, element }) => `binding ${binding}: ${name}, ${element}, ${access}`),
  ];
  return `${lines.map((line) => `// ${line}`).join('\n')}\n\n${code.trim()}\n`;
}

/** Writes what a pipeline is compiled from. @throws UserError when it cannot be written */
export async function dumpShader(folder: string, name: string, key: PipelineKey, kernel: LinkedKernel): Promise<void> {
  await writeFileAtomic(join(folder, ...shaderFile(key).split('/')), describeShader(name, key, kernel));
}
