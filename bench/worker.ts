// A part of a benchmark in a process of its own, asked over IPC: load, servers and limits must not share an event loop with what
// is measured, nor with each other.

import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../src/telemetry/error.ts';

type Reply = { value: unknown } | { error: string };

export interface WorkerOptions {
  /** Of Node. */
  flags?: string[];
  /** Added to this process's own. */
  env?: NodeJS.ProcessEnv;
  /** A command line to run it by, as into a namespace. */
  inside?: string[];
}

export class Worker<Question extends object, Answer> {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #ended: Promise<void>;

  /** `file`: beside this one. */
  constructor(file: string, { flags = [], env, inside = [] }: WorkerOptions = {}) {
    this.#name = file;
    const [command, ...args] = [
      ...inside,
      process.execPath,
      ...flags,
      fileURLToPath(new URL(file, import.meta.url)),
    ];
    this.#child = spawn(command!, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#ended = new Promise((resolve) => this.#child.once('exit', () => resolve()));
  }

  /** One question at a time. Rejects with what the other side threw, or when it ends. */
  async ask(question: Question): Promise<Answer> {
    const answered = new Promise<Reply>((resolve) => this.#child.once('message', resolve));
    this.#child.send(question);
    const reply = await Promise.race([
      answered,
      this.#ended.then((): Reply => ({ error: 'it ended before it answered' })),
    ]);
    if ('error' in reply) throw new Error(`${this.#name}: ${reply.error}`);
    return reply.value as Answer;
  }

  async stop(): Promise<void> {
    this.#child.kill();
    await this.#ended;
  }
}

/** The other side: answers every question until the parent goes. */
export function answerQuestions<Question, Answer>(answer: (question: Question) => Promise<Answer>): void {
  process.on('disconnect', () => process.exit());
  // Ctrl-C reaches the whole group; the parent decides what ends when.
  process.on('SIGINT', () => {});
  process.on('message', (question) => {
    answer(question as Question).then(
      (value) => process.send?.({ value } satisfies Reply),
      (error) => process.send?.({ error: messageOf(error) } satisfies Reply),
    );
  });
}
