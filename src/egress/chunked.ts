// Requests of unknown length, or with trailers, through the egress listener: node:http, since undici sends no trailers.

import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
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
  /** The longest silence, ms. */
  patience: number;
}

export const chunkedAgent = (): Agent => new Agent({ keepAlive: true });

/** Resolves with the answer once its headers are there, also where it comes before the end of the body. Rejects where the way
 *  broke. */
export async function sendChunked(
  agent: Agent,
  to: Address,
  outgoing: ChunkedRequest,
): Promise<IncomingMessage> {
  const { method, path, headers, pieces, trailers, signal, patience } = outgoing;
  const client = request({
    ...('unix' in to ? { socketPath: to.unix } : { host: to.host, port: to.port }),
    agent,
    method,
    path,
    headers: ['host', 'unix' in to ? 'layby' : formatAddress(to), 'transfer-encoding', 'chunked', ...headers],
    signal,
    timeout: patience,
  });
  client.on('timeout', () => client.destroy(new Error(`nothing moved for ${patience / 1000} s`)));
  const answered = once(client, 'response') as Promise<[IncomingMessage]>;
  const sent = (async () => {
    for await (const piece of pieces) {
      if (client.destroyed) return;
      if (!client.write(piece)) await Promise.race([once(client, 'drain'), answered]);
    }
    const last = trailers();
    if (last.length > 0) client.addTrailers(pairs(last));
    client.end();
  })();
  // A body that cannot be read to its end must not look whole at the other side.
  sent.catch((error) => client.destroy(error));
  const [answer] = await answered;
  return answer;
}

function pairs(raw: readonly string[]): [string, string][] {
  const all: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) all.push([raw[i]!, raw[i + 1]!]);
  return all;
}
