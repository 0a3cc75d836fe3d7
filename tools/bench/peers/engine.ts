import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { type PeerCase, inputsOf, sample } from './cases.ts';

/** One way in which an engine computes a case: where it has several, the fastest counts. */
export interface Way {
  readonly name: string;
  /** Computes the case once; returns the outputs, whole, in the layout of the cases. */
  outputs(): Promise<readonly Float32Array[]>;
  /** Submits the case as often as it was prepared for, and resolves when the adapter has finished. */
  run(): Promise<void>;
  /** Milliseconds of one run on the adapter's own clock, of an engine that can tell. */
  gpuMilliseconds?(): Promise<number>;
  release(): void | Promise<void>;
}

/** What the runner compares: one library on one device. */
export interface Engine {
  readonly version: string;
  /** Name of the adapter, where the library tells. */
  readonly adapter?: string;
  /** True when the adapter is a CPU in disguise. */
  readonly software?: boolean;
  /** By case: the ways to compute it on these inputs. A case that is missing is one that the engine cannot do. */
  readonly cases: Readonly<Record<string, (inputs: Record<string, Float32Array>, attributes: Readonly<Record<string, number>>, repeats: number) => Record<string, () => Promise<Omit<Way, 'name'>>>>>;
}

/** What the runner asks, one JSON object a line. */
export type Request =
  | { readonly ask: 'prepare'; readonly case: PeerCase; readonly repeats: number }
  | { readonly ask: 'keep'; readonly way: string }
  | { readonly ask: 'run' }
  | { readonly ask: 'gpu' }
  | { readonly ask: 'release' };

/** What an engine's process answers, one JSON object a line; the first one unasked, when it is ready. */
export interface Reply {
  readonly version?: string;
  readonly adapter?: string;
  readonly software?: boolean;
  /** The engine has no such op. */
  readonly absent?: boolean;
  /** By name: the ways that work, with elements of each output and the milliseconds of one run, 0 where there is but one way. */
  readonly ways?: Readonly<Record<string, { readonly samples: readonly (readonly number[])[]; readonly milliseconds: number }>>;
  /** Ways that failed, with what they said. */
  readonly failures?: Readonly<Record<string, string>>;
  readonly milliseconds?: number;
  /** Processor time of the engine's process: what an adapter that is a CPU took, whoever else wanted it. */
  readonly cpuMilliseconds?: number;
  readonly error?: string;
}

/** Version of a peer as it is installed; some packages do not export their `package.json`. */
export function installedVersion(name: string): string {
  return (JSON.parse(readFileSync(new URL(`./node_modules/${name}/package.json`, import.meta.url), 'utf8')) as { version: string }).version;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error)).trim().split('\n')[0];

async function timed(way: Pick<Way, 'run'>): Promise<{ readonly milliseconds: number; readonly cpuMilliseconds: number }> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await way.run();
  const milliseconds = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { milliseconds, cpuMilliseconds: (user + system) / 1000 };
}

/** Makes every way of a case and runs it once: the runner keeps the fastest of those that are right. */
async function prepare(engine: Engine, { case: wanted, repeats }: Extract<Request, { ask: 'prepare' }>): Promise<{ reply: Reply; ways: Way[] }> {
  if (!engine.cases[wanted.name]) return { reply: { absent: true }, ways: [] };
  const candidates = Object.entries(engine.cases[wanted.name](inputsOf(wanted), wanted.attributes, repeats));
  const failures: Record<string, string> = {};
  const found: [string, NonNullable<Reply['ways']>[string]][] = [];
  const ways: Way[] = [];
  for (const [name, make] of candidates) {
    try {
      const way = { name, ...(await make()) };
      ways.push(way);
      // This also compiles and warms up.
      const samples = (await way.outputs()).map((output) => sample(output));
      found.push([name, { samples, milliseconds: candidates.length > 1 ? (await timed(way)).milliseconds : 0 }]);
    } catch (error) {
      failures[name] = messageOf(error);
    }
  }
  return { reply: { ways: Object.fromEntries(found), failures }, ways };
}

/** Runs an engine's process: answers the runner's requests from stdin on stdout until stdin ends. */
export async function serve(open: () => Promise<Engine>): Promise<void> {
  // Libraries greet on the console, which is the runner's.
  console.log = console.info = console.debug = console.error;
  const answer = (reply: Reply): void => void process.stdout.write(`${JSON.stringify(reply)}\n`);
  let engine: Engine;
  try {
    engine = await open();
  } catch (error) {
    answer({ error: messageOf(error) });
    process.exit(1);
  }
  answer({ version: engine.version, adapter: engine.adapter, software: engine.software });
  let ways: Way[] = [];
  const release = async (unused: (way: Way) => boolean): Promise<void> => {
    const all = ways;
    ways = ways.filter((way) => !unused(way));
    for (const way of all) if (unused(way)) await way.release();
  };
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const request = JSON.parse(line) as Request;
      switch (request.ask) {
        case 'prepare': {
          const prepared = await prepare(engine, request);
          ways = prepared.ways;
          answer(prepared.reply);
          break;
        }
        case 'keep':
          await release(({ name }) => name !== request.way);
          answer({});
          break;
        case 'run':
          answer(await timed(ways[0]));
          break;
        case 'gpu':
          answer({ milliseconds: await ways[0].gpuMilliseconds?.() });
          break;
        case 'release':
          await release(() => true);
          answer({});
          break;
      }
    } catch (error) {
      answer({ error: messageOf(error) });
    }
  }
  process.exit(0);
}
