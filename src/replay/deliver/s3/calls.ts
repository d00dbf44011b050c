// Requests about one object, through the egress listener, which signs them.

import type { RequestSender } from '../../../egress/egress.ts';
import type { Destination } from '../../../policy/policy.ts';
import type { EntryHead } from '../../../store/store.ts';
import { retryAfterMs } from '../../outcome.ts';
import { ANSWER_KEPT } from '../answer-text.ts';
import { ask, type WholeAnswer } from '../ask.ts';
import type { Result } from '../deliver.ts';
import { keptAnswer } from '../kept-answer.ts';
import { suspicious } from '../portal.ts';
import { outcomeOfS3 } from './outcome.ts';
import { isDeleteObjects, negativeDoubt } from './plausible.ts';
import { deleteErrorsIn, errorIn, type S3Error } from './xml.ts';

export interface S3Answer extends WholeAnswer {
  error: S3Error | undefined;
}

/** The path of a URL, without its query. */
export const withoutQuery = (url: string): string => {
  const at = url.indexOf('?');
  return at < 0 ? url : url.slice(0, at);
};

/** RFC 3986, as S3 signs it. */
const encoded = (value: string): string =>
  encodeURIComponent(value).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );

/** `{ uploads: '' }` → `?uploads=`; in the order given, which is S3's own, alphabetic. */
export const queryOf = (query: Readonly<Record<string, string | number>>): string => {
  const pairs = Object.entries(query).map(([name, value]) => `${name}=${encoded(String(value))}`);
  return pairs.length > 0 ? `?${pairs.join('&')}` : '';
};

export interface S3Request {
  method: string;
  query?: Readonly<Record<string, string | number>>;
  headers: readonly string[];
  body?: { bytes: number; pieces: AsyncIterable<Buffer> };
  /** A large body leaves only after `100 Continue`. */
  expect?: boolean;
}

export class S3Calls {
  readonly destination: Destination;
  readonly #egress: RequestSender;
  readonly #object: EntryHead;
  readonly #options: { signal: AbortSignal; impatient?: boolean };

  /** `object`: only its id and the path of its URL are used. */
  constructor(
    egress: RequestSender,
    destination: Destination,
    object: EntryHead,
    options: { signal: AbortSignal; impatient?: boolean },
  ) {
    this.#egress = egress;
    this.destination = destination;
    this.#object = object;
    const { signal, impatient = false } = options;
    this.#options = { signal, impatient };
  }

  /** Rejects with WayLost. */
  async call({ method, query = {}, headers, body, expect = false }: S3Request): Promise<S3Answer> {
    const url = withoutQuery(this.#object.url) + queryOf(query);
    const head: EntryHead = { ...this.#object, method, url, headers: [...headers] };
    const answer = await ask(this.#egress, this.destination, head, { ...this.#options, expect }, body);
    return { ...answer, error: answer.text ? errorIn(answer.text) : undefined };
  }
}

/** By status and code alone. */
export const answeredBy = (answer: S3Answer, moved = 0): Result & { kind: 'answered' } => ({
  kind: 'answered',
  outcome: outcomeOfS3(answer.status, answer.error),
  status: answer.status,
  words: answer.text.slice(0, 500),
  answer: keptAnswer(answer.status, answer.headers, answer.text.slice(0, ANSWER_KEPT)),
  retryAfter: retryAfterMs(answer.headers),
  moved,
});

/** The result of an answer that does not end the delivery well. A 2xx is none that the call can have: nothing is delivered by it. */
export const refusedBy = (answer: S3Answer, moved = 0): Result => {
  const doubt =
    answer.status < 300 && answer.error === undefined
      ? `the answer does not look like S3's: ${answer.status}; a captive portal?`
      : negativeDoubt(answer, answer.error !== undefined);
  return doubt === undefined ? answeredBy(answer, moved) : suspicious(answer, doubt);
};

/** DeleteObjects answers 200 also where it has deleted nothing: each key that it refused is in the document. undefined: none is. */
export function refusedKeys(call: { method: string; url: string }, answer: S3Answer): Result | undefined {
  if (!isDeleteObjects(call) || answer.status !== 200) return undefined;
  if (!answer.whole) return { ...answeredBy(answer), outcome: 'retry', words: 'the answer broke off' };
  const errors = deleteErrorsIn(answer.text);
  if (errors.length === 0) return undefined;
  const outcomes = errors.map((error) =>
    error.code === 'AccessDenied' ? 'unauthorized' : outcomeOfS3(LATE_STATUS, error),
  );
  // Deleted keys may be deleted again, so the request goes again whole as long as that can help.
  const outcome =
    outcomes.find((one) => one === 'retry') ?? outcomes.find((one) => one === 'unauthorized') ?? 'dead';
  const [{ code, message }] = errors as [S3Error];
  return { ...answeredBy(answer), outcome, words: `${errors.length} keys refused: ${code} ${message}` };
}

/** An error for a single key has no status of its own. */
const LATE_STATUS = 400;
