// Requests of unknown length, with trailers, or whose body waits for `100 Continue`, through the egress listener: node:http, since undici
// sends no trailers and no Expect, and breaks the connection on a 100.

import { once } from 'node:events';
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { timerMs } from '../platform/timer.ts';
import { type Address, formatAddress } from '../wire/address.ts';

export interface ChunkedRequest {
  method: string;
  path: string;
  /** Names and values in turn. */
  headers: string[];
  pieces: AsyncIterable<Buffer>;
  /** Asked for when the last piece has been sent; names and values in turn. */
  trailers: () => readonly string[];
  signal: AbortSignal;
  /** The longest silence of the other side, ms; a body may come as slowly as it likes. */
  patience: number;
  /** It has a length, which `headers` say; else it goes in chunks. */
  hasLength?: boolean;
  /** The body waits for `100 Continue` (RFC 9110 section 10.1.1), but no longer than this, ms. An answer before that ends the request. */
  expect?: { ms: number; onContinue: () => void; onLate: () => void };
  /** Called with each informational answer but 100; names and values in turn. */
  onInterim?: ((status: number, headers: string[]) => void) | undefined;
}

export const chunkedAgent = (): Agent => new Agent({ keepAlive: true });

/** Resolves with the answer once its headers are there, also where it comes before the end of the body. Rejects where the way
 *  broke. Whatever ends the request also ends the reading of `pieces`, at the next piece. */
export async function sendChunked(
  agent: Agent,
  to: Address,
  outgoing: ChunkedRequest,
): Promise<IncomingMessage> {
  const { method, path, headers, pieces, trailers, signal, patience } = outgoing;
  const { hasLength = false, expect, onInterim } = outgoing;
  const client = request({
    ...('unix' in to ? { socketPath: to.unix } : { host: to.host, port: to.port }),
    agent,
    method,
    path,
    headers: [
      ...['host', 'unix' in to ? 'layby' : formatAddress(to)],
      ...(hasLength ? [] : ['transfer-encoding', 'chunked']),
      ...(expect ? ['expect', '100-continue'] : []),
      ...headers,
    ],
    signal,
  });
  client.on('information', ({ statusCode, rawHeaders }) => onInterim?.(statusCode, rawHeaders));
  // Seen by who waits for the answer, or by who reads it.
  client.on('error', () => {});
  client.once('socket', (socket) => {
    // Between two pieces the other side has nothing to say. A request tells of the first silence of its socket only.
    const silent = (): void => {
      const isItsTurn = client.writableNeedDrain || client.writableEnded;
      if (isItsTurn) client.destroy(new Error(`nothing moved for ${patience / 1000} s`));
    };
    socket.setTimeout(timerMs(patience)).on('timeout', silent);
    client.once('close', () => socket.off('timeout', silent));
  });
  const answered = once(client, 'response') as Promise<[IncomingMessage]>;
  // After the whole answer the rest of the body, which may be hours away, is not wanted.
  const enough = new AbortController();
  answered.then(
    ([answer]) => answer.once('close', () => enough.abort()),
    () => {},
  );
  async function* body(): AsyncGenerator<Buffer> {
    try {
      if (expect && !(await isWanted(client, answered, expect))) {
        // The connection cannot be used again: the server would take the next request for the body.
        await answered.then(([answer]) => once(answer, 'close'));
        throw new Error('the body is not wanted');
      }
      yield* pieces;
    } catch (error) {
      // The pipeline would destroy the request too, and say no more than that it hung up.
      client.destroy(error as Error);
      throw error;
    }
    const last = trailers();
    if (last.length > 0) client.addTrailers(pairs(last));
  }
  // A body that cannot be read to its end must not look whole at the other side: the request is destroyed then.
  pipeline(body(), client, { signal: enough.signal }).catch(() => {});
  const [answer] = await answered;
  return answer;
}

function pairs(raw: readonly string[]): [string, string][] {
  const all: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) all.push([raw[i]!, raw[i + 1]!]);
  return all;
}

/** false: there is an answer, and nobody wants the body. A server that ignores the question gets the body after a while. */
async function isWanted(
  client: ClientRequest,
  answered: Promise<unknown>,
  { ms, onContinue, onLate }: NonNullable<ChunkedRequest['expect']>,
): Promise<boolean> {
  client.flushHeaders();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  client.once('continue', () => {
    onContinue();
    resolve(true);
  });
  const timer = setTimeout(() => {
    onLate();
    resolve(true);
  }, timerMs(ms));
  try {
    return await Promise.race([promise, answered.then(() => false)]);
  } finally {
    clearTimeout(timer);
  }
}
