// The load of load-http.ts for NATS JetStream, over its own protocol (a line, the bytes, a line end): each connection publishes its next
// body when the last one is acknowledged. A body longer than a message goes as several, all of which must be acknowledged.

import { connect, type Socket } from 'node:net';
import type { LoadResult } from './load-http.ts';
import { answerQuestions } from './worker.ts';

export interface NatsLoad {
  port: number;
  connections: number;
  /** Of each body. */
  bytes: number;
  /** ms, as of load-http.ts. */
  warmup: number;
  duration: number;
}

/** The server's own default limit. */
const MESSAGE = 1024 * 1024;
const STREAM = 'bench';
const LINE_END = Buffer.from('\r\n');

const random = Buffer.allocUnsafe(MESSAGE);
for (let i = 0; i < MESSAGE; i += 4) random.writeUInt32LE((Math.random() * 2 ** 32) >>> 0, i);

class Client {
  readonly #socket: Socket;
  readonly #inbox: string;
  #received = '';
  #missing = 0;
  #answer = '';
  #answered: PromiseWithResolvers<string> | undefined;

  constructor(port: number, number: number) {
    this.#inbox = `_INBOX.bench.${number}`;
    this.#socket = connect({ host: '127.0.0.1', port, noDelay: true });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text: string) => this.#read(text));
    this.#socket.on('error', (error) => this.#answered?.reject(error));
    this.#socket.on('close', () => this.#answered?.reject(new Error('NATS closed the connection')));
    this.#socket.write(`CONNECT {"verbose":false,"pedantic":false}\r\nSUB ${this.#inbox} 1\r\n`);
  }

  #read(text: string): void {
    this.#received += text;
    for (;;) {
      const end = this.#received.indexOf('\r\n');
      if (end < 0) return;
      const line = this.#received.slice(0, end);
      if (!line.startsWith('MSG ')) {
        this.#received = this.#received.slice(end + 2);
        if (line === 'PING') this.#socket.write('PONG\r\n');
        if (line.startsWith('-ERR')) this.#answered?.reject(new Error(`NATS: ${line}`));
        continue;
      }
      const bytes = Number(line.slice(line.lastIndexOf(' ') + 1));
      if (this.#received.length < end + 2 + bytes + 2) return;
      this.#answer = this.#received.slice(end + 2, end + 2 + bytes);
      this.#received = this.#received.slice(end + 2 + bytes + 2);
      if (this.#answer.includes('"error"')) this.#answered?.reject(new Error(`NATS: ${this.#answer}`));
      this.#missing -= 1;
      if (this.#missing === 0) this.#answered?.resolve(this.#answer);
    }
  }

  async #ask(subject: string, bytes: Buffer): Promise<void> {
    this.#socket.cork();
    this.#socket.write(`PUB ${subject} ${this.#inbox} ${bytes.length}\r\n`);
    this.#socket.write(bytes);
    const room = this.#socket.write(LINE_END);
    this.#socket.uncork();
    if (!room && this.#socket.writableNeedDrain)
      await new Promise((resolve) => this.#socket.once('drain', resolve));
  }

  #expect(answers: number): Promise<string> {
    this.#missing = answers;
    this.#answered = Promise.withResolvers();
    this.#answered.promise.catch(() => {}); // whoever sent it awaits it
    return this.#answered.promise;
  }

  async api(name: string, config: object): Promise<string> {
    const answer = this.#expect(1);
    await this.#ask(`$JS.API.${name}`, Buffer.from(JSON.stringify(config)));
    return answer;
  }

  async send(bytes: number): Promise<void> {
    const answers = this.#expect(Math.ceil(bytes / MESSAGE));
    for (let left = bytes; left > 0; left -= MESSAGE)
      await this.#ask(STREAM, random.subarray(0, Math.min(left, MESSAGE)));
    await answers;
  }

  close(): void {
    this.#answered = undefined;
    this.#socket.destroy();
  }
}

async function run(load: NatsLoad): Promise<LoadResult> {
  const clients = Array.from({ length: load.connections }, (_, n) => new Client(load.port, n));
  const took: number[] = [];
  try {
    // What earlier measurements left would only fill the disk.
    const first = clients[0]!;
    await first.api(`STREAM.DELETE.${STREAM}`, {}).catch(() => {});
    await first.api(`STREAM.CREATE.${STREAM}`, { name: STREAM, subjects: [STREAM], storage: 'file' });
    const start = performance.now() + load.warmup;
    const end = start + load.duration;
    let began = 0;
    let ended = 0;
    await Promise.all(
      clients.map(async (client) => {
        for (let at = performance.now(); at < end; ) {
          await client.send(load.bytes);
          const now = performance.now();
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

answerQuestions<NatsLoad, LoadResult>(run);
