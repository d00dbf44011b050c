// Where a benchmark keeps its data, and all that it has started: ended and removed again, also when it is interrupted. After a failure
// the directory stays, for its logs.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker, type WorkerOptions } from './worker.ts';

export class Scratch {
  readonly dir: string;
  readonly #stops: (() => Promise<void>)[] = [];

  private constructor(dir: string) {
    this.dir = dir;
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => void this.stop().finally(() => process.exit(130)));
  }

  /** `parent`: default the system's temporary directory. */
  static async make(parent = tmpdir()): Promise<Scratch> {
    return new Scratch(await mkdtemp(join(parent, 'layby-bench-')));
  }

  /** Ends it when the benchmark ends; the last that came goes first. */
  keep<Part extends { stop(): Promise<void> }>(part: Part): Part {
    this.#stops.push(() => part.stop());
    return part;
  }

  /** As the constructor of Worker. */
  worker<Question extends object, Answer>(file: string, options?: WorkerOptions): Worker<Question, Answer> {
    return this.keep(new Worker<Question, Answer>(file, options));
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops.splice(0).reverse()) await stop();
    if (process.exitCode === 1) console.error(`bench: the logs are in ${this.dir}`);
    else await rm(this.dir, { recursive: true, force: true });
  }
}
