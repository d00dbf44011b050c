// A part of the mesh as a child that is kept alive: it is started again, with growing pauses, until it is told to stop.
//
//   starting → running → (ended) → pausing → starting …          stop() → stopped, from any of them

import { setTimeout as sleep } from 'node:timers/promises';
import { type Child, type ChildExit, spawnChild } from '../parts/child.ts';
import { timerMs } from '../platform/timer.ts';
import type { Logger } from '../telemetry/log.ts';

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5_000;
/** One that lived for so long is not failing at its start: pauses begin anew. */
const HEALTHY_MS = 3_000;

export interface PartOptions {
  name: string;
  command: string;
  args: string[];
  env: NodeJS.ProcessEnv;
  log: Logger;
  /** Takes what it writes, where that is log lines already. */
  onOutput?: (output: Buffer) => void;
}

export class Part {
  readonly name: string;
  #options: PartOptions;
  #child: Child | undefined;
  #stopping = new AbortController();
  #ended: Promise<void> = Promise.resolve();
  /** Ends so far that nobody asked for. */
  restarts = 0;

  constructor(options: PartOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves once the process runs. `onEnd` hears of each end that nobody asked for; `true` from it gives the part up.
   *  Rejects with LAYBY_CHILD_NOT_STARTED. */
  async start(onEnd: (exit: ChildExit) => boolean): Promise<void> {
    this.#child = await this.#spawn();
    this.#ended = this.#keep(this.#child, onEnd);
  }

  #spawn(): Promise<Child> {
    const { name, command, args, env, log, onOutput } = this.#options;
    return spawnChild(name, command, args, { env, log, ...(onOutput ? { onOutput } : {}) });
  }

  async #keep(first: Child, onEnd: (exit: ChildExit) => boolean): Promise<void> {
    let child = first;
    let pause = FIRST_PAUSE_MS;
    for (;;) {
      const startedAt = Date.now();
      const exit = await child.exited;
      if (this.#stopping.signal.aborted) return;
      this.restarts += 1;
      if (onEnd(exit)) return;
      if (Date.now() - startedAt > HEALTHY_MS) pause = FIRST_PAUSE_MS;
      this.#options.log.error(
        { child: this.name, code: exit.code, signal: exit.signal, pause, said: exit.lastLines.slice(-1)[0] },
        'a part ended; starting it again',
      );
      for (;;) {
        await sleep(timerMs(pause), undefined, { signal: this.#stopping.signal }).catch(() => {});
        if (this.#stopping.signal.aborted) return;
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
        try {
          child = await this.#spawn();
          this.#child = child;
          break;
        } catch (error) {
          this.#options.log.error({ err: error, child: this.name }, 'a part cannot be started');
        }
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#child?.stop();
    await this.#ended;
  }
}
