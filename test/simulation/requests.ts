// Requests of apps in a simulation: Node's own IncomingMessage and ServerResponse, on a socket that the simulation drives. A body comes
// in pieces, each after a time; the client may hang up at any moment; and what the server writes becomes visible to the client
// later than it was written.
//
//   const call = request(simulation, (request, response) => intake.serve(request, response), {
//     method: 'PUT', path: '/clip', headers: ['host', 'dashcam.example'], body: randomBytes(100_000),
//   });
//   await simulation.run(() => call.ended);
//   call.answer?.status                            // undefined where it was cut off before

import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Simulation } from './scheduler.ts';

type Times = readonly [minMs: number, maxMs: number];

export interface RequestOptions {
  method: string;
  /** Path and query. */
  path: string;
  /** Names and values in turn; content-length or transfer-encoding is added. */
  headers: readonly string[];
  body?: Buffer;
  /** Without a length. */
  chunked?: boolean;
  /** After a chunked body; names and values in turn. */
  trailers?: readonly string[];
  /** Bytes of one piece at most; default 64 KiB. */
  pieceBytes?: number;
  /** Before each piece, ms. */
  piece?: Times;
  /** Of one way, ms. */
  latency?: Times;
  /** The client hangs up in the middle of the body, after so many bytes of it. */
  hangUpAfter?: number;
}

export interface ClientAnswer {
  status: number;
  /** Names and values in turn, as they were written, but without Date, which Node takes from the real clock. */
  headers: string[];
  body: Buffer;
  /** The client has all of it. */
  whole: boolean;
  /** Informational answers before it. */
  interim: number[];
  /** Virtual times, ms, at which the client had the head, and the end. */
  headAt: number;
  endAt: number | undefined;
}

type Serve = (request: IncomingMessage, response: ServerResponse) => unknown;

/** What the server writes, as the client sees it. */
class ClientSide {
  readonly #method: string;
  #bytes = Buffer.alloc(0);
  #answer: ClientAnswer | undefined;
  readonly #interim: number[] = [];
  #left = 0;
  #chunked = false;

  constructor(method: string) {
    this.#method = method;
  }

  get answer(): ClientAnswer | undefined {
    return this.#answer;
  }

  take(bytes: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    while (!this.#answer && this.#takeHead());
    if (this.#answer && !this.#answer.whole) this.#takeBody(this.#answer);
  }

  #takeHead(): boolean {
    const end = this.#bytes.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [first = '', ...lines] = this.#bytes.toString('latin1', 0, end).split('\r\n');
    this.#bytes = this.#bytes.subarray(end + 4);
    const status = Number(first.split(' ')[1]);
    if (status < 200) {
      this.#interim.push(status);
      return true;
    }
    const fields = lines.map((line) => [
      line.slice(0, line.indexOf(':')),
      line.slice(line.indexOf(':') + 1).trim(),
    ]);
    const fieldOf = (name: string) => fields.find(([other]) => other!.toLowerCase() === name)?.[1];
    this.#chunked = fieldOf('transfer-encoding') === 'chunked';
    const bodiless = this.#method === 'HEAD' || status === 204 || status === 304;
    this.#left = bodiless
      ? 0
      : Number(fieldOf('content-length') ?? (this.#chunked ? 0 : Number.POSITIVE_INFINITY));
    if (bodiless) this.#chunked = false;
    this.#answer = {
      status,
      headers: fields.filter(([name]) => name!.toLowerCase() !== 'date').flat() as string[],
      body: Buffer.alloc(0),
      whole: false,
      interim: this.#interim,
      headAt: performance.now(),
      endAt: undefined,
    };
    return false;
  }

  #takeBody(answer: ClientAnswer): void {
    if (this.#chunked) this.#takeChunks(answer);
    else {
      const more = this.#bytes.subarray(0, this.#left);
      this.#left -= more.length;
      this.#bytes = this.#bytes.subarray(more.length);
      answer.body = Buffer.concat([answer.body, more]);
      if (this.#left === 0) this.#end(answer);
    }
  }

  #takeChunks(answer: ClientAnswer): void {
    for (;;) {
      const line = this.#bytes.indexOf('\r\n');
      if (line < 0) return;
      const size = Number.parseInt(this.#bytes.toString('latin1', 0, line), 16);
      const end = size === 0 ? this.#bytes.indexOf('\r\n\r\n') + 4 : line + 2 + size + 2;
      if ((size === 0 && end < 4) || this.#bytes.length < end) return;
      if (size === 0) {
        this.#end(answer);
        return;
      }
      answer.body = Buffer.concat([answer.body, this.#bytes.subarray(line + 2, line + 2 + size)]);
      this.#bytes = this.#bytes.subarray(end);
    }
  }

  #end(answer: ClientAnswer): void {
    answer.whole = true;
    answer.endAt = performance.now();
  }

  /** The server has closed the connection. */
  closed(): void {
    // Without a length that is the end of the body.
    if (this.#answer && this.#left === Number.POSITIVE_INFINITY && !this.#chunked) this.#end(this.#answer);
  }
}

/** The server's side of a connection. */
class ServerSocket extends Duplex {
  readonly #deliver: (bytes: Buffer) => Promise<void>;
  readonly remoteAddress = '127.0.0.1';

  constructor(deliver: (bytes: Buffer) => Promise<void>) {
    super({ highWaterMark: 16 * 1024, autoDestroy: false });
    this.#deliver = deliver;
  }

  override _read(): void {}

  override _write(bytes: Buffer, _: string, done: (error?: Error | null) => void): void {
    this.#deliver(bytes).then(() => done(), done);
  }

  override _writev(pieces: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#deliver(Buffer.concat(pieces.map(({ chunk }) => Buffer.from(chunk)))).then(() => done(), done);
  }

  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }
}

class SimulatedRequest extends IncomingMessage {
  #wanted: PromiseWithResolvers<void> | undefined;

  override _read(size: number): void {
    super._read(size);
    this.#wanted?.resolve();
    this.#wanted = undefined;
  }

  /** Resolves when the server wants more of the body. */
  async bring(piece: Buffer): Promise<void> {
    if (this.push(piece)) return;
    this.#wanted = Promise.withResolvers<void>();
    await this.#wanted.promise;
  }
}

export class SimulatedCall {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly #simulation: Simulation;
  readonly #options: Required<Pick<RequestOptions, 'piece' | 'latency' | 'pieceBytes'>> & RequestOptions;
  readonly #client: ClientSide;
  readonly #socket: ServerSocket;
  readonly #incoming: SimulatedRequest;
  readonly #name: string;
  /** The client reads no more: it hung up, or the server is dead. */
  #gone = false;
  #ended = false;
  /** Bytes of the body that the server was given. */
  sent = 0;

  constructor(simulation: Simulation, serve: Serve, options: RequestOptions) {
    this.#simulation = simulation;
    this.#options = { pieceBytes: 64 * 1024, piece: [0.1, 10], latency: [0.1, 5], ...options };
    this.#client = new ClientSide(options.method);
    this.#name = `${options.method} ${options.path}`;
    this.#socket = new ServerSocket((bytes) => this.#deliver(bytes));
    const socket = this.#socket as unknown as Socket;
    this.#incoming = new SimulatedRequest(socket);
    this.request = this.#incoming;
    this.#fill(this.#incoming);
    this.response = new ServerResponse(this.request);
    this.response.shouldKeepAlive = true;
    this.response.assignSocket(socket);
    // What http.Server does when an answer is written, and when a connection ends.
    this.response.on('finish', () => this.#finished());
    this.#socket.on('close', () => this.#closed());
    this.#socket.on('error', () => {});
    this.request.on('error', () => {});
    void this.#run(serve);
  }

  #fill(incoming: IncomingMessage): void {
    const { method, path, headers, body, chunked = false } = this.#options;
    const length = body && !chunked ? ['content-length', String(body.length)] : [];
    const raw = [...headers, ...(chunked ? ['transfer-encoding', 'chunked'] : length)];
    incoming.method = method;
    incoming.url = path;
    incoming.httpVersion = '1.1';
    incoming.httpVersionMajor = 1;
    incoming.httpVersionMinor = 1;
    incoming.rawHeaders = raw;
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]!.toLowerCase();
      const before = incoming.headers[name];
      if (before === undefined) incoming.headers[name] = raw[i + 1];
      else if (name !== 'host' && name !== 'content-length')
        incoming.headers[name] = `${before}, ${raw[i + 1]}`;
    }
  }

  async #run(serve: Serve): Promise<void> {
    const { latency, body = Buffer.alloc(0), pieceBytes, piece, hangUpAfter, trailers = [] } = this.#options;
    await this.#simulation.delay(`${this.#name} arrives`, ...latency);
    if (this.#gone) return;
    void serve(this.request, this.response);
    while (this.sent < body.length) {
      await this.#simulation.delay(`piece of ${this.#name}`, ...piece);
      if (this.#gone || this.request.destroyed) return;
      const end = Math.min(this.sent + this.#simulation.between(1, pieceBytes), hangUpAfter ?? body.length);
      const bytes = Buffer.from(body.subarray(this.sent, end));
      this.sent = end;
      if (bytes.length > 0) await this.#incoming.bring(bytes);
      if (hangUpAfter !== undefined && end >= hangUpAfter) return this.hangUp();
    }
    if (this.#gone || this.request.destroyed) return;
    this.request.rawTrailers = [...trailers];
    this.request.complete = true;
    this.request.push(null);
  }

  /** What the server wrote becomes visible to the client. */
  async #deliver(bytes: Buffer): Promise<void> {
    const given = Buffer.from(bytes);
    await this.#simulation.delay(`answer to ${this.#name}`, ...this.#options.latency);
    if (!this.#gone) this.#client.take(given);
    if (this.#client.answer?.whole) this.#ended = true;
  }

  #finished(): void {
    const { response } = this;
    process.nextTick(() => {
      if (!this.request.readableEnded) this.request.resume();
      response.detachSocket(this.#socket as unknown as Socket);
      response.destroyed = true;
      response.emit('close');
      if (!response.shouldKeepAlive) this.#socket.destroy();
    });
  }

  #closed(): void {
    if (!this.request.complete || !this.request.readableEnded) {
      const error = Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
      if (!this.request.destroyed) this.request.destroy(error);
    }
    if (this.#gone) {
      this.#ended = true;
      return;
    }
    this.#simulation.schedule(`${this.#name} is closed`, this.#options.latency[1], () => {
      if (!this.#gone) this.#client.closed();
      this.#gone = true;
      this.#ended = true;
    });
  }

  /** The client goes away; the server sees it a moment later. */
  hangUp(): void {
    if (this.#gone || this.#ended) return;
    this.#gone = true;
    this.#simulation.schedule(`${this.#name} hangs up`, this.#options.latency[0], () =>
      this.#socket.destroy(),
    );
    this.#ended = true;
  }

  /** The server's process ends here: it sees nothing any more, and the client loses the connection. */
  kill(): void {
    this.#gone = true;
    this.#ended = true;
    this.request.removeAllListeners();
    this.response.removeAllListeners();
    this.request.on('error', () => {});
  }

  /** The client has a whole answer, or will never have one. */
  get ended(): boolean {
    return this.#ended;
  }

  /** What the client has of an answer. */
  get answer(): ClientAnswer | undefined {
    return this.#client.answer;
  }
}

/** Sends a request to `serve`, as http.Server would call it. */
export const request = (simulation: Simulation, serve: Serve, options: RequestOptions): SimulatedCall =>
  new SimulatedCall(simulation, serve, options);
