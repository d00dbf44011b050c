// The destination's response, passed to the client as it comes.

import type { ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Answer } from '../egress/egress.ts';
import { headerOf } from '../wire/headers.ts';

/** A body of this length needs no backpressure, bytes: the response would take it at once. Most come in one chunk, for which a pipeline
 *  would be the larger part of the work. */
const SMALL = 16 * 1024;

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/** Resolves when the client has all of it, or what there was: a response that breaks off, breaks off here too. Rejects with the signal's
 *  reason where the client hung up; the destination's response is then destroyed. */
export async function relayResponse(
  { status, headers: raw, body }: Answer,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<'answered'> {
  const headers: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    if (!HOP_BY_HOP.has(raw[i]!.toLowerCase())) headers.push(raw[i]!, raw[i + 1]!);
  }
  response.sendDate = false;
  response.writeHead(status, headers);
  try {
    if (isSmall(status, raw)) response.end(await wholeOf(body));
    else await pipeline(body, response, { signal });
  } catch {
    response.destroy();
    signal.throwIfAborted();
  }
  return 'answered';
}

const isSmall = (status: number, headers: readonly string[]): boolean =>
  status === 204 || status === 304 || Number(headerOf(headers, 'content-length') ?? Number.NaN) <= SMALL;

/** Rejects where it breaks off, also since the upstream request was aborted. */
async function wholeOf(body: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}
