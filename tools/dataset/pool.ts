// Renders samples in several processes (threads would not understand TypeScript without help). A sample depends on its
// options alone, so the order in which processes finish does not matter.
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { UserError } from '../../src/errors.ts';
import type { RenderedSample, SampleOptions } from './sample.ts';

/** What a process answers. */
export type Answer = { readonly sample: RenderedSample } | { readonly message: string; readonly forPerson: boolean };

interface Task {
  readonly options: SampleOptions;
  readonly resolve: (sample: RenderedSample) => void;
  readonly reject: (error: Error) => void;
}

/** Processes that render. Close it, or this process stays alive. */
export class RenderPool {
  readonly #processes = new Set<ChildProcess>();
  readonly #idle: ChildProcess[] = [];
  readonly #waiting: Task[] = [];
  readonly #running = new Map<ChildProcess, Task>();
  #closed = false;

  /** @param count processes; default: one per core */
  constructor(count: number = availableParallelism()) {
    for (let k = 0; k < count; k++) {
      const child = fork(new URL('./render_process.ts', import.meta.url), { serialization: 'advanced' });
      child.on('message', (answer) => this.#finish(child, answer as Answer));
      child.on('error', (error) => this.#lose(child, error));
      child.on('exit', (code, signal) => this.#lose(child, new Error(`a process that renders samples has ended (${signal ?? `exit code ${code}`})`)));
      this.#processes.add(child);
      this.#idle.push(child);
    }
  }

  /** As `renderSample`, in the next free process. */
  render(options: SampleOptions): Promise<RenderedSample> {
    return new Promise((resolve, reject) => {
      if (!this.#processes.size) return reject(new Error('no process is left to render samples'));
      this.#waiting.push({ options, resolve, reject });
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
      const task = this.#waiting.shift()!;
      this.#running.set(child, task);
      child.send(task.options);
    }
  }

  #finish(child: ChildProcess, answer: Answer): void {
    const task = this.#running.get(child)!;
    this.#running.delete(child);
    this.#idle.push(child);
    if ('sample' in answer) task.resolve(answer.sample);
    else task.reject(answer.forPerson ? new UserError(answer.message) : new Error(answer.message));
    this.#next();
  }

  /** A process that has ended takes its task along; without any process, nothing that waits would ever be done. */
  #lose(child: ChildProcess, error: Error): void {
    if (this.#closed || !this.#processes.delete(child)) return;
    this.#running.get(child)?.reject(error);
    this.#running.delete(child);
    const place = this.#idle.indexOf(child);
    if (place >= 0) this.#idle.splice(place, 1);
    if (!this.#processes.size) for (const task of this.#waiting.splice(0)) task.reject(error);
  }
}
