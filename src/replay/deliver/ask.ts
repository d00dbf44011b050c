// One request through the egress listener and its whole answer, for strategies that need more than one.

import type { RequestSender } from '../../egress/egress.ts';
import type { Destination } from '../../policy/policy.ts';
import type { EntryHead } from '../../store/store.ts';
import { messageOf } from '../../telemetry/error.ts';
import { textOf } from './answer-text.ts';

/** A page of ListParts (1000 parts) is about 300 KB. */
const TEXT_BYTES = 4 * 1024 * 1024;

export interface WholeAnswer {
  status: number;
  /** Names and values in turn. */
  headers: string[];
  text: string;
  /** It did not break off. */
  whole: boolean;
}

/** The destination was not reached, or was lost on the way; what became of the request is not known. */
export class WayLost extends Error {}

async function* none(): AsyncGenerator<Buffer> {}

/** Rejects with WayLost. `options`: see Egress.send. */
export async function ask(
  egress: RequestSender,
  destination: Destination,
  head: EntryHead,
  options: {
    signal: AbortSignal;
    impatient?: boolean;
    expect?: boolean;
    onInterim?: (status: number, headers: string[]) => void;
  },
  body?: { bytes: number; pieces: AsyncIterable<Buffer> },
): Promise<WholeAnswer> {
  try {
    const answer = await egress.send(destination, head, body ?? { bytes: 0, pieces: none() }, options);
    const { text, whole } = await textOf(answer.body, TEXT_BYTES);
    if (answer.noLink !== undefined) throw new WayLost(`no link (${answer.noLink})`);
    return { status: answer.status, headers: answer.headers, text, whole };
  } catch (error) {
    throw error instanceof WayLost ? error : new WayLost(messageOf(error), { cause: error });
  }
}
