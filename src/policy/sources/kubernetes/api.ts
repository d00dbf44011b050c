// Requests to the API server. The library for it would add 54 MB of memory to those 73 that a process with undici has (measured, 2.0.1),
// for four calls.

import type { Readable } from 'node:stream';
import { Pool } from 'undici';
import { LaybyError, messageOf } from '../../../telemetry/error.ts';
import type { Access } from './access.ts';

/** The server sends a bookmark each minute: a watch that says nothing for so long has lost its link, ms. */
const SILENCE_MS = 150_000;
/** ms */
const ANSWER_MS = 30_000;

/** LAYBY_KUBERNETES_AWAY (no answer), or LAYBY_KUBERNETES_REFUSED (an answer that is none). */
export class KubernetesError extends LaybyError {
  override name = 'KubernetesError';
  /** Of HTTP; 0: no answer. */
  readonly status: number;

  constructor(status: number, message: string, remedy: string, cause?: unknown) {
    super(status === 0 ? 'LAYBY_KUBERNETES_AWAY' : 'LAYBY_KUBERNETES_REFUSED', message, { remedy, cause });
    this.status = status;
  }
}

const REMEDIES: Readonly<Record<number, string>> = {
  401: 'see whether the token or certificate is still good',
  403: 'give the service account what docs/kubernetes.md lists',
  404: 'install the custom resources: kubectl apply -f manifests/crds',
};

const away = (error: unknown): KubernetesError =>
  new KubernetesError(
    0,
    `the API server does not answer: ${messageOf(error)}`,
    'it is tried again; until then the policy stays as it is',
    error,
  );

const refused = (status: number, text: string): KubernetesError => {
  let said = text;
  try {
    said = (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    // A proxy's words are no JSON.
  }
  return new KubernetesError(
    status,
    `the API server answers ${status}: ${said.trim().slice(0, 1024)}`,
    REMEDIES[status] ?? 'it is tried again',
  );
};

/** ADDED, MODIFIED, DELETED, BOOKMARK. */
export interface WatchEvent {
  type: string;
  object: unknown;
}

/** node:readline would not tell of an error of the stream. */
async function* linesOf(stream: Readable): AsyncGenerator<string> {
  let rest = '';
  for await (const piece of stream.setEncoding('utf8')) {
    const lines = (rest + piece).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
}

interface Connection {
  access: Access;
  pool: Pool;
}

export class Api {
  readonly #open: () => Promise<Access>;
  #connection: Promise<Connection> | undefined;

  /** `open`: where it is, asked again when it did not answer or did not know us. */
  constructor(open: () => Promise<Access>) {
    this.#open = open;
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

  async #send(method: 'GET' | 'PATCH', path: string, body?: string, signal?: AbortSignal) {
    const { access, pool } = await this.#connected();
    const token = await access.token();
    const lost = (error: unknown): never => {
      this.#leave(pool);
      throw away(error);
    };
    const { statusCode, body: answer } = await pool
      .request({
        method,
        path,
        headers: {
          accept: 'application/json',
          ...(token && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/merge-patch+json' }),
        },
        ...(body !== undefined && { body }),
        ...(signal && { signal }),
      })
      .catch(lost);
    if (statusCode < 300) return { answer, lost };
    if (statusCode === 401) this.#leave(pool);
    throw refused(statusCode, await answer.text().catch(() => ''));
  }

  /** Errors: KubernetesError, LAYBY_KUBERNETES_CONFIG_INVALID. */
  async get(path: string, signal?: AbortSignal): Promise<unknown> {
    const { answer, lost } = await this.#send('GET', path, undefined, signal);
    return answer.json().catch(lost);
  }

  /** A merge patch (RFC 7396). Errors: as `get`. */
  async patch(path: string, patch: unknown): Promise<unknown> {
    const { answer, lost } = await this.#send('PATCH', path, JSON.stringify(patch));
    return answer.json().catch(lost);
  }

  /** Until the server ends it. Errors: as `get`; 410 also where it is said in the middle. */
  async *watch(path: string, signal: AbortSignal): AsyncGenerator<WatchEvent> {
    const { answer, lost } = await this.#send('GET', path, undefined, signal);
    try {
      for await (const line of linesOf(answer)) {
        const event = JSON.parse(line) as WatchEvent;
        if (event.type === 'ERROR') {
          const { code = 500 } = event.object as { code?: number };
          throw refused(code, JSON.stringify(event.object));
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
