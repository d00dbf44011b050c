// The destination's response, passed to the client as it comes.

import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Answer } from '../egress/egress.ts';

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
    await pipeline(body, response, { signal });
  } catch {
    response.destroy();
    signal.throwIfAborted();
  }
  return 'answered';
}
