// Work for several processes (threads would not understand TypeScript without help).
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { UserError } from '../../src/errors.ts';
import type { RenderedSample, SampleOptions } from './sample.ts';

/** What a process answers. */
type Answer<Result> = { readonly result: Result } | { readonly message: string; readonly forPerson: boolean };

interface Waiting<Task, Result> {
  readonly task: Task;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: Error) => void;
}

/** Answers the tasks that a ProcessPool sends to this process, until it closes the channel. */
export function answerTasks<Task, Result>(work: (task: Task) => Result): void {
  process.on('message', (task: Task) => {
    let answer: Answer<Result>;
    try {
      answer = { result: work(task) };
    } catch (error) {
      answer = { message: (error as Error).message, forPerson: error instanceof UserError };
    }
    process.send!(answer);
  });
}

/** Processes that run a program which calls `answerTasks`. Close it, or this process stays alive. */
export class ProcessPool<Task extends object, Result> {
  readonly #processes = new Set<ChildProcess>();
  readonly #idle: ChildProcess[] = [];
  readonly #waiting: Waiting<Task, Result>[] = [];
  readonly #running = new Map<ChildProcess, Waiting<Task, Result>>();
  #closed = false;

  constructor(program: URL, count: number) {
    for (let k = 0; k < count; k++) {
      const child = fork(program, { serialization: 'advanced' });
      child.on('message', (answer) => this.#finish(child, answer as Answer<Result>));
      child.on('error', (error) => this.#lose(child, error));
      child.on('exit', (code, signal) => this.#lose(child, new Error(`a process of ${program.pathname.split('/').at(-1)} has ended (${signal ?? `exit code ${code}`})`)));
      this.#processes.add(child);
      this.#idle.push(child);
    }
  }

  /** Has the next free process do a task. Tasks begin in the order of the calls. */
  run(task: Task): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (!this.#processes.size) return reject(new Error('no process is left to work'));
      this.#waiting.push({ task, resolve, reject });
      this.#next();
    });
  }

  /** Lets the processes end; nothing may be waited for any more. */
  close(): void {
    this.#closed = true;
    for (const child of this.#processes) if (child.connected) child.disconnect();
  }

  #next(): void {
    while (this.#idle.length && this.#waiting.length) {
      const child = this.#idle.pop()!;
      const next = this.#waiting.shift()!;
      this.#running.set(child, next);
      child.send(next.task);
    }
  }

  #finish(child: ChildProcess, answer: Answer<Result>): void {
    const { resolve, reject } = this.#running.get(child)!;
    this.#running.delete(child);
    this.#idle.push(child);
    if ('result' in answer) resolve(answer.result);
    else reject(answer.forPerson ? new UserError(answer.message) : new Error(answer.message));
    this.#next();
  }

  /** A process that has ended takes its task along; without any process, nothing that waits would ever be done. */
  #lose(child: ChildProcess, error: Error): void {
    if (this.#closed || !this.#processes.delete(child)) return;
    this.#running.get(child)?.reject(error);
    this.#running.delete(child);
    const place = this.#idle.indexOf(child);
    if (place >= 0) this.#idle.splice(place, 1);
    if (!this.#processes.size) for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}

/** Processes that do what `renderSample` does. A sample depends on its options alone, so it does not matter which finishes first. */
export type RenderPool = ProcessPool<SampleOptions, RenderedSample>;

/** @param count processes; default: one per core */
export function renderPool(count: number = availableParallelism()): RenderPool {
  return new ProcessPool(new URL('./render_process.ts', import.meta.url), count);
}
