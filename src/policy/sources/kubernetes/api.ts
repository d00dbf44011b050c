// Requests to the API server. The library for it would add 54 MB of memory to those 73 that a process with undici has (measured, 2.0.1),
// for four calls.

import type { Readable } from 'node:stream';
import { Pool } from 'undici';
import { messageOf } from '../../../telemetry/error.ts';
import type { Access } from './access.ts';
import { KubernetesError, refusalOf } from './refusal.ts';

export { KubernetesError } from './refusal.ts';

/** The server sends a bookmark each minute: a watch that says nothing for so long has lost its link, ms. */
const SILENCE_MS = 150_000;
/** ms */
const ANSWER_MS = 30_000;
/** Refusals that are remembered. */
const MOST_REFUSED = 1_000;

const away = (cause: unknown): KubernetesError =>
  new KubernetesError(0, `the API server does not answer: ${messageOf(cause)}`, {
    remedy: 'it is tried again; until then the policy stays as it is',
    cause,
  });

/** ADDED, MODIFIED, DELETED, BOOKMARK. */
export interface WatchEvent {
  type: string;
  object: unknown;
}

/** node:readline would not tell of an error of the stream. */
async function* linesOf(stream: Readable, count: (piece: string) => void): AsyncGenerator<string> {
  let rest = '';
  for await (const piece of stream.setEncoding('utf8')) {
    count(piece);
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

interface Connection {
  access: Access;
  pool: Pool;
}

/** What every object has, and of which kind it is: nothing of what it says. */
const METADATA = 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1';

interface Sent {
  body?: string;
  type?: string;
  accept?: string;
  signal?: AbortSignal;
}

export class Api {
  readonly #open: () => Promise<Access>;
  readonly #starting: number | undefined;
  #connection: Promise<Connection> | undefined;
  /** Since when requests of this method and path are answered by 401 or 403 alone, performance.now(). */
  readonly #refusedSince = new Map<string, number>();
  /** Of the bodies of all answers, bytes. */
  received = 0;

  /** `open`: where it is, asked again when it did not answer or did not know us. `starting`: how long a 401 or 403 may be that of a
   *  server that starts, ms. */
  constructor(open: () => Promise<Access>, { starting }: { starting?: number } = {}) {
    this.#open = open;
    this.#starting = starting;
  }

  /** How long such a request has been refused so, ms; `status` is its newest answer. */
  #lasting(request: string, status: number): number {
    const now = performance.now();
    if (status !== 401 && status !== 403) {
      // What says nothing of rights does not end it.
      if (status !== 429 && status < 500) this.#refusedSince.delete(request);
      return 0;
    }
    const since = this.#refusedSince.get(request) ?? now;
    if (this.#refusedSince.size >= MOST_REFUSED) this.#refusedSince.clear();
    this.#refusedSince.set(request, since);
    return now - since;
  }

  async #connected(): Promise<Connection> {
    this.#connection ??= this.#open().then((access) => {
      const { server, ca, certificate: cert, key } = access;
      const connect = { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
      return {
        access,
        // A watch of each kind, and room for the status.
        pool: new Pool(server, {
          connections: 8,
          connect,
          headersTimeout: ANSWER_MS,
          bodyTimeout: SILENCE_MS,
        }),
      };
    });
    const connection = this.#connection;
    return connection.catch((error: unknown) => {
      if (this.#connection === connection) this.#connection = undefined;
      throw error;
    });
  }

  /** The next request connects anew; what is under way goes on. */
  #leave(pool: Pool): void {
    const connection = this.#connection;
    void connection?.then((current) => {
      if (current.pool !== pool || this.#connection !== connection) return;
      this.#connection = undefined;
      // It may be destroyed by now: so ends the last of what it carried.
      pool.close().catch(() => {});
    });
  }

  async #send(
    method: 'GET' | 'PATCH' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    { body, type, accept = 'application/json', signal }: Sent = {},
  ) {
    const { access, pool } = await this.#connected();
    const token = await access.token();
    const lost = (error: unknown): never => {
      this.#leave(pool);
      // It may be started anew.
      this.#refusedSince.clear();
      throw away(error);
    };
    const {
      statusCode,
      headers,
      body: answer,
    } = await pool
      .request({
        method,
        path,
        headers: {
          accept,
          ...(token && { authorization: `Bearer ${token}` }),
          ...(type !== undefined && { 'content-type': type }),
        },
        ...(body !== undefined && { body }),
        ...(signal && { signal }),
      })
      .catch(lost);
    const lasting = this.#lasting(`${method} ${path.split('?', 1)[0]}`, statusCode);
    if (statusCode < 300) return { answer, lost };
    if (statusCode === 401) this.#leave(pool);
    const text = await answer.text().catch(() => '');
    const retryAfter = headers['retry-after'];
    throw refusalOf(
      {
        ...{ status: statusCode, text, lasting },
        ...(retryAfter !== undefined && { retryAfter: String(retryAfter) }),
      },
      this.#starting,
    );
  }

  /** Errors: KubernetesError, LAYBY_KUBERNETES_CONFIG_INVALID. */
  async get(path: string, signal?: AbortSignal): Promise<unknown> {
    return this.#ask('GET', path, { ...(signal && { signal }) });
  }

  /** The metadata of an object and nothing else. Errors: as `get`. */
  async getMetadata(path: string): Promise<unknown> {
    return this.#ask('GET', path, { accept: METADATA });
  }

  /** A merge patch (RFC 7396). Errors: as `get`. */
  async patch(path: string, patch: unknown): Promise<unknown> {
    return this.#tell('PATCH', path, patch, 'application/merge-patch+json');
  }

  /** Server-side apply: makes the object, or takes `by`'s fields of it over and changes them. `lean`: the answer is its metadata alone. Errors: as
   *  `get`. */
  async apply(path: string, object: unknown, by: string, lean = false): Promise<unknown> {
    const url = `${path}?fieldManager=${encodeURIComponent(by)}&force=true`;
    const type = 'application/apply-patch+yaml';
    return this.#ask('PATCH', url, { body: JSON.stringify(object), type, ...(lean && { accept: METADATA }) });
  }

  /** Makes an object. Errors: as `get`; 409 where there is one. */
  async post(path: string, object: unknown): Promise<unknown> {
    return this.#tell('POST', path, object, 'application/json');
  }

  /** Errors: as `get`; 409 where it is not of the version that `object` names. */
  async put(path: string, object: unknown): Promise<unknown> {
    return this.#tell('PUT', path, object, 'application/json');
  }

  /** Errors: as `get`. */
  async delete(path: string): Promise<void> {
    const { answer, lost } = await this.#send('DELETE', path);
    await answer.dump().catch(lost);
  }

  async #tell(method: 'PATCH' | 'POST' | 'PUT', path: string, said: unknown, type: string): Promise<unknown> {
    return this.#ask(method, path, { body: JSON.stringify(said), type });
  }

  async #ask(method: 'GET' | 'PATCH' | 'POST' | 'PUT', path: string, sent: Sent): Promise<unknown> {
    const { answer, lost } = await this.#send(method, path, sent);
    try {
      const text = await answer.text();
      this.#count(text);
      return JSON.parse(text) as unknown;
    } catch (error) {
      return lost(error);
    }
  }

  #count(piece: string): void {
    this.received += Buffer.byteLength(piece);
  }

  /** Until the server ends it. Errors: as `get`; 410 also where it is said in the middle. */
  async *watch(path: string, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const { answer, lost } = await this.#send('GET', path, { ...(signal && { signal }) });
    try {
      for await (const line of linesOf(answer, (piece) => this.#count(piece))) {
        const event = JSON.parse(line) as WatchEvent;
        if (event.type === 'ERROR') {
          const { code = 500 } = event.object as { code?: number };
          throw refusalOf({ status: code, text: JSON.stringify(event.object) });
        }
        yield event;
      }
    } catch (error) {
      if (error instanceof KubernetesError) throw error;
      lost(error);
    } finally {
      answer.destroy();
    }
  }

  async close(): Promise<void> {
    const connection = this.#connection;
    this.#connection = undefined;
    await connection?.then(({ pool }) => pool.destroy()).catch(() => {});
  }
}
