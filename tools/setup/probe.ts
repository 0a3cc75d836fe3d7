import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Gpu } from '../../src/gpu/device.ts';

/** What a fresh process finds: the adapter's name, or why there is none. */
export interface Probe {
  readonly adapter?: string;
  readonly problem?: string;
}

/** Opens the adapter in a process of its own: Dawn looks for drivers only once in a process, and a bad one can kill it. */
export function probeAdapter(): Probe {
  const result = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), '--probe'], { encoding: 'utf8', timeout: 120_000 });
  const answer = /^\{.*\}$/m.exec(result.stdout ?? '')?.[0];
  if (answer) return JSON.parse(answer) as Probe;
  return { problem: `the process that asked for an adapter ended with ${result.signal ?? result.status}: ${result.error?.message ?? result.stderr.trim()}` };
}

if (process.argv[2] === '--probe') {
  try {
    const gpu = await Gpu.open();
    const answer: Probe = { adapter: gpu.key };
    gpu.close();
    console.log(JSON.stringify(answer));
  } catch (error) {
    const answer: Probe = { problem: (error as Error).message };
    console.log(JSON.stringify(answer));
  }
}
