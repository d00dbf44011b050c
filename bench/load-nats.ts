// The load of load-http.ts for NATS JetStream, over its own protocol (a line, the bytes, a line end): each connection publishes its next
// body when the last one is acknowledged. A body longer than a message goes as several, all of which must be acknowledged.

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { type Client, closedLoop, type LoadResult, type Pace } from './closed-loop.ts';
import { answerQuestions } from './worker.ts';

export interface NatsLoad extends Pace {
  port: number;
  connections: number;
  /** Of each body. */
  bytes: number;
}

/** The server's own default limit. */
const MESSAGE = 1024 * 1024;
const STREAM = 'bench';
const LINE_END = Buffer.from('\r\n');

const random = randomBytes(MESSAGE);

class NatsClient implements Client {
  readonly #socket: Socket;
  readonly #inbox: string;
  readonly #bytes: number;
  #received = '';
  #missing = 0;
  #answer = '';
  #answered: PromiseWithResolvers<string> | undefined;

  constructor({ port, bytes }: NatsLoad, number: number) {
    this.#bytes = bytes;
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

  async send(): Promise<void> {
    const answers = this.#expect(Math.ceil(this.#bytes / MESSAGE));
    for (let left = this.#bytes; left > 0; left -= MESSAGE)
      await this.#ask(STREAM, random.subarray(0, Math.min(left, MESSAGE)));
    await answers;
  }

  close(): void {
    this.#answered = undefined;
    this.#socket.destroy();
  }
}

answerQuestions<NatsLoad, LoadResult>(async (load) => {
  const clients = Array.from({ length: load.connections }, (_, n) => new NatsClient(load, n));
  // What earlier measurements left would only fill the disk.
  const first = clients[0]!;
  await first.api(`STREAM.DELETE.${STREAM}`, {}).catch(() => {});
  await first.api(`STREAM.CREATE.${STREAM}`, { name: STREAM, subjects: [STREAM], storage: 'file' });
  return closedLoop(clients, load);
});
