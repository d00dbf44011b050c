// The destination's answer, handed to the app as it comes.

import type { ServerResponse } from 'node:http';
import type { Answer } from '../egress/egress.ts';
import { drained } from './stored-body.ts';

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade']);

/** Resolves when the app has all of it, or what there was: an answer that breaks off, breaks off here too. */
export async function relayAnswer(answer: Answer, response: ServerResponse): Promise<'answered'> {
  const headers: string[] = [];
  for (let i = 0; i < answer.headers.length; i += 2) {
    if (!HOP_BY_HOP.has(answer.headers[i]!.toLowerCase()))
      headers.push(answer.headers[i]!, answer.headers[i + 1]!);
  }
  response.sendDate = false;
  response.writeHead(answer.status, headers);
  try {
    for await (const piece of answer.body) {
      if (!response.write(piece)) await drained(response);
    }
    response.end();
  } catch {
    // The answer broke off: so does ours.
    response.destroy();
  }
  return 'answered';
}
