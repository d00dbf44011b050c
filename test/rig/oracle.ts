// Drives the recording destination (oracle-server.ts): starts it in the cloud, tells it how to answer, and knows what arrived.

import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { endsWithTheRig } from './lifetime.ts';
import type { Road } from './namespaces.ts';
import type { Arrival, FromServer, Rule, ToServer } from './oracle-protocol.ts';
import { sigkill } from './processes.ts';
import { untilEvent } from './until-event.ts';

export interface OracleOptions {
  /** Where every arrival is appended as a line of JSON. */
  file: string;
  /** Without one: on loopback. */
  road?: Road;
  /** Ports in the cloud; any free ones where not given. */
  port?: number;
  streamPort?: number;
}

/** What is known when a request begins. */
export interface Head {
  method: string;
  path: string;
}

type Omitted<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

export class Oracle {
  /** `http://HOST:PORT` of the port that records, and of the one that only streams. */
  readonly url: string;
  readonly streamUrl: string;
  readonly pid: number;
  readonly file: string;
  #child: ChildProcessWithoutNullStreams;
  #arrivals: Arrival[] = [];
  #events = new EventEmitter();
  #orders = 0;
  #ended: Promise<never>;
  #forget: () => void;

  private constructor(
    child: ChildProcessWithoutNullStreams,
    file: string,
    host: string,
    ports: { port: number; streamPort: number },
    ended: Promise<never>,
    forget: () => void,
  ) {
    this.url = `http://${host}:${ports.port}`;
    this.streamUrl = `http://${host}:${ports.streamPort}`;
    this.pid = child.pid!;
    this.file = file;
    this.#child = child;
    this.#ended = ended;
    this.#forget = forget;
    this.#events.setMaxListeners(0);
  }

  static async start(options: OracleOptions): Promise<Oracle> {
    const { road, file, port = 0, streamPort = 0 } = options;
    const host = road ? road.cloud.address : '127.0.0.1';
    const script = fileURLToPath(new URL('oracle-server.ts', import.meta.url));
    const argv = [process.execPath, script, file, host, String(port), String(streamPort)];
    const [command = '', ...args] = road ? road.inCloud(argv) : argv;
    const child = spawn(command, args);
    const forget = endsWithTheRig(() => sigkill(child.pid!));
    let stderr = '';
    child.stderr.on('data', (piece: Buffer) => {
      stderr += piece;
    });
    // Writing to an oracle that was killed is told by `exit`.
    child.stdin.on('error', () => {});
    const lines = createInterface({ input: child.stdout });
    const ended = once(child, 'exit').then(() => {
      throw new Error(`the oracle ended: ${stderr.trim()}`);
    });
    const first = once(lines, 'line') as Promise<[string]>;
    const [line] = await Promise.race([first, ended]);
    ended.catch(() => {}); // From now on an exit is stop() or a kill, and requests() still reads the file.
    const { ready } = JSON.parse(line) as { ready: { port: number; streamPort: number } };
    const oracle = new Oracle(child, file, host, ready, ended, forget);
    lines.on('line', (text) => oracle.#hear(JSON.parse(text) as FromServer));
    return oracle;
  }

  #hear(line: FromServer): void {
    if ('done' in line) this.#events.emit(`done ${line.done}`);
    if ('began' in line) this.#events.emit('began', line);
    if ('arrival' in line) {
      this.#arrivals.push(line.arrival);
      this.#events.emit('arrival', line.arrival);
    }
  }

  async #order(order: Omitted<ToServer, 'id'>): Promise<void> {
    const id = ++this.#orders;
    const done = once(this.#events, `done ${id}`);
    this.#child.stdin.write(`${JSON.stringify({ ...order, id })}\n`);
    await Promise.race([done, this.#ended]);
  }

  /** Requests that match are answered so from now on, before older rules. */
  answer(rule: Rule): Promise<void> {
    return this.#order({ cmd: 'answer', rule });
  }

  /** Back to 200 for everything; requests that stalled are read on. */
  reset(): Promise<void> {
    return this.#order({ cmd: 'reset' });
  }

  /** Everything that arrived so far, torn ones too, in the order in which their bodies ended. From the file once it is
   *  stopped. */
  async requests(): Promise<Arrival[]> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await this.#order({ cmd: 'sync' });
      return [...this.#arrivals];
    }
    return arrivalsIn(this.file);
  }

  /** Resolves with the arrivals once `enough` is true of them; asked again at each arrival. Rejects after `timeout` ms. */
  async until(enough: (arrivals: readonly Arrival[]) => boolean, timeout = 30_000): Promise<Arrival[]> {
    if (!enough(this.#arrivals))
      await untilEvent<Arrival>(
        this.#events,
        'arrival',
        () => enough(this.#arrivals),
        timeout,
        () => `the oracle has ${this.#arrivals.length} arrivals`,
      );
    return [...this.#arrivals];
  }

  /** Resolves when the head of a request comes that matches, its body still on the way: the moment to cut. Ask before the
   *  request is sent. */
  async begins(matches: (head: Head) => boolean, timeout = 30_000): Promise<Head> {
    return untilEvent(this.#events, 'began', matches, timeout, () => 'no such request began at the oracle');
  }

  async stop(): Promise<void> {
    this.#forget();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** The arrivals that an oracle wrote to a file. A last line that a kill left half written is not one. */
export const arrivalsIn = async (file: string): Promise<Arrival[]> => {
  const lines = (await readFile(file, 'utf8')).split('\n');
  lines.pop();
  return lines.map((line) => JSON.parse(line) as Arrival);
};
