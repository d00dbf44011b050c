// The load: uploads over raw sockets, each connection sending its next request when the last one is answered. Requests are made
// once, and only the number in the path changes, so that one core can send more than any subject takes.

import { connect, type Socket } from 'node:net';
import { type Address, formatAddress } from '../src/wire/address.ts';
import { answerQuestions } from './worker.ts';

export interface Load {
  to: Address;
  host: string;
  connections: number;
  /** Of each body. */
  bytes: number;
  /** Sent before counting starts, ms. */
  warmup: number;
  /** Counted, ms; requests under way at its end are finished and counted with the time they took. */
  duration: number;
  /** Any other status ends the run with an error. */
  status: number;
  /** Default: `PUT /bench/clip-{n}.mp4`. `{n}` stands for a number of its own for each request. */
  line?: string;
  /** Beside Host and Content-Length, each with its line end; default: a video's type and a user agent. */
  headers?: string;
  /** What stands before the bytes in each body, base64. */
  prefix?: string;
}

export interface LoadResult {
  requests: number;
  seconds: number;
  /** ms */
  median: number;
  p99: number;
}

/** Digits of the number in the path: enough for a run, and always as many. */
const DIGITS = 12;
/** A longer body is written in pieces of this size, all of them the same memory. */
const PIECE = 1024 * 1024;
const HEAD_END = Buffer.from('\r\n\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

let requests = 0;

/** Random, or a file system that compresses would flatter everyone. */
const piece = Buffer.allocUnsafe(PIECE);
for (let i = 0; i < PIECE; i += 4) piece.writeUInt32LE((Math.random() * 2 ** 32) >>> 0, i);

class Client {
  readonly #socket: Socket;
  readonly #load: Load;
  /** Head and the first piece. Free to be changed once the answer is there. */
  readonly #request: Buffer;
  readonly #numberAt: number;
  #received: Buffer = Buffer.alloc(0);
  #answered: PromiseWithResolvers<void> | undefined;

  constructor(load: Load) {
    this.#load = load;
    const line = load.line ?? 'PUT /bench/clip-{n}.mp4';
    const headers = load.headers ?? 'Content-Type: video/mp4\r\nUser-Agent: layby-bench\r\n';
    const prefix = Buffer.from(load.prefix ?? '', 'base64');
    const length = prefix.length + load.bytes;
    const head = `${line.replace('{n}', '0'.repeat(DIGITS))} HTTP/1.1\r\nHost: ${load.host}\r\n${headers}Content-Length: ${length}\r\n\r\n`;
    this.#numberAt = line.indexOf('{n}');
    this.#request = Buffer.concat([
      Buffer.from(head),
      prefix,
      piece.subarray(0, Math.min(load.bytes, PIECE)),
    ]);
    this.#socket = connect('unix' in load.to ? { path: load.to.unix } : { ...load.to, noDelay: true });
    const fail = (why: string) =>
      this.#answered?.reject(new Error(`${formatAddress(load.to)}: ${why}, after ${requests} requests`));
    this.#socket.on('data', (bytes: Buffer) => this.#read(bytes, fail));
    this.#socket.on('error', ({ message }) => fail(message));
    this.#socket.on('close', () => fail('the connection was closed'));
  }

  #read(bytes: Buffer, fail: (why: string) => void): void {
    this.#received = this.#received.length === 0 ? bytes : Buffer.concat([this.#received, bytes]);
    const end = this.#received.indexOf(HEAD_END);
    if (end < 0) return;
    const head = this.#received.toString('latin1', 0, end);
    if (Number(head.slice(9, 12)) !== this.#load.status) {
      fail(this.#received.toString('latin1', 0, 500));
      return;
    }
    const length = /content-length: (\d+)/i.exec(head)?.[1];
    if (length === undefined && /chunked/i.test(head)) {
      if (!this.#received.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK)) return;
    } else if (this.#received.length < end + HEAD_END.length + Number(length ?? 0)) return;
    this.#received = Buffer.alloc(0);
    this.#answered?.resolve();
  }

  async send(): Promise<void> {
    requests += 1;
    this.#request.write(String(requests).padStart(DIGITS, '0'), this.#numberAt, 'latin1');
    this.#answered = Promise.withResolvers();
    // It may reject while a piece waits to be taken.
    this.#answered.promise.catch(() => {});
    this.#socket.write(this.#request);
    for (let left = this.#load.bytes - PIECE; left > 0; left -= PIECE) {
      if (this.#socket.writableNeedDrain)
        await Promise.race([
          new Promise((resolve) => this.#socket.once('drain', resolve)),
          this.#answered.promise,
        ]);
      this.#socket.write(piece.subarray(0, Math.min(left, PIECE)));
    }
    await this.#answered.promise;
  }

  close(): void {
    this.#answered = undefined;
    this.#socket.destroy();
  }
}

async function run(load: Load): Promise<LoadResult> {
  const clients = Array.from({ length: load.connections }, () => new Client(load));
  const took: number[] = [];
  try {
    const start = performance.now() + load.warmup;
    const end = start + load.duration;
    let began = 0;
    let ended = 0;
    await Promise.all(
      clients.map(async (client) => {
        for (let at = performance.now(); at < end; ) {
          await client.send();
          const now = performance.now();
          // A request counts when it began after the warm-up; the clock starts with the first of them.
          if (at >= start) {
            began = began === 0 ? at : Math.min(began, at);
            ended = now;
            took.push(now - at);
          }
          at = now;
        }
      }),
    );
    if (took.length === 0) return await run({ ...load, warmup: 0 });
    took.sort((a, b) => a - b);
    return {
      requests: took.length,
      seconds: (ended - began) / 1000,
      median: took[took.length >> 1]!,
      p99: took[Math.floor(took.length * 0.99)]!,
    };
  } finally {
    for (const client of clients) client.close();
  }
}

answerQuestions<Load, LoadResult>(run);
