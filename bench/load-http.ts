// The load: uploads over raw sockets, each connection sending its next request when the last one is answered. Requests are made
// once, and only the number in the path changes, so that one core can send more than any subject takes.

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { type Address, formatAddress } from '../src/wire/address.ts';
import { type Client, closedLoop, type LoadResult, type Pace } from './closed-loop.ts';
import { answerQuestions } from './worker.ts';

export interface Load extends Pace {
  to: Address;
  host: string;
  connections: number;
  /** Of each body. */
  bytes: number;
  /** Any other status ends the run with an error. */
  status: number;
  /** Default: `PUT /bench/clip-{n}.mp4`. `{n}` stands for a number of its own for each request. */
  line?: string;
  /** Beside Host and Content-Length, each with its line end; default: a video's type and a user agent. */
  headers?: string;
  /** What stands before the bytes in each body, base64. */
  prefix?: string;
}

/** Digits of the number in the path: enough for a run, and always as many. */
const DIGITS = 12;
/** A longer body is written in pieces of this size, all of them the same memory. */
const PIECE = 1024 * 1024;
const HEAD_END = Buffer.from('\r\n\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

let requests = 0;

/** Random, or a file system that compresses would flatter everyone. */
const piece = randomBytes(PIECE);

class HttpClient implements Client {
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

answerQuestions<Load, LoadResult>((load) =>
  closedLoop(
    Array.from({ length: load.connections }, () => new HttpClient(load)),
    load,
  ),
);
