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
  /** The longest silence of the other side, ms; a body may come as slowly as it likes. */
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
  });
  client.on('timeout', () => client.destroy(new Error(`nothing moved for ${patience / 1000} s`)));
  const answered = once(client, 'response') as Promise<[IncomingMessage]>;
  let answeredWhole = false;
  const over = answered.then(async ([answer]) => {
    await once(answer, 'close');
    answeredWhole = true;
  });
  over.catch(() => {}); // seen by who waits for the answer
  const sent = (async () => {
    for await (const piece of pieces) {
      if (client.destroyed) return;
      // The rest, which may be hours away, is not wanted.
      if (answeredWhole) return void client.destroy();
      if (client.write(piece)) continue;
      client.setTimeout(patience);
      await Promise.race([once(client, 'drain'), over]);
      client.setTimeout(0);
    }
    const last = trailers();
    if (last.length > 0) client.addTrailers(pairs(last));
    client.setTimeout(patience);
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
