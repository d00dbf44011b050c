// Requests about one object, through the egress listener, which signs them.

import type { Egress } from '../../../egress/egress.ts';
import type { Destination } from '../../../policy/policy.ts';
import type { EntryHead } from '../../../store/store.ts';
import { headerOf } from '../../../wire/headers.ts';
import { retryAfterMs } from '../../outcome.ts';
import { ANSWER_KEPT } from '../answer-text.ts';
import { ask, type WholeAnswer } from '../ask.ts';
import type { Result } from '../deliver.ts';
import { keptAnswer } from '../kept-answer.ts';
import { outcomeOfS3 } from './outcome.ts';
import { errorIn, type S3Error } from './xml.ts';

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
}

export class S3Calls {
  readonly destination: Destination;
  readonly #egress: Egress;
  readonly #object: EntryHead;
  readonly #options: { signal: AbortSignal; impatient?: boolean };

  /** `object`: only its id and the path of its URL are used. */
  constructor(
    egress: Egress,
    destination: Destination,
    object: EntryHead,
    options: { signal: AbortSignal; impatient?: boolean },
  ) {
    this.#egress = egress;
    this.destination = destination;
    this.#object = object;
    this.#options = options;
  }

  /** Rejects with WayLost. */
  async call({ method, query = {}, headers, body }: S3Request): Promise<S3Answer> {
    const url = withoutQuery(this.#object.url) + queryOf(query);
    const head: EntryHead = { ...this.#object, method, url, headers: [...headers] };
    const answer = await ask(this.#egress, this.destination, head, this.#options, body);
    return { ...answer, error: answer.text ? errorIn(answer.text) : undefined };
  }
}

export const resultOf = (answer: S3Answer, moved = 0): Result & { kind: 'answered' } => ({
  kind: 'answered',
  outcome: outcomeOfS3(answer.status, answer.error),
  status: answer.status,
  words: answer.text.slice(0, 500),
  answer: keptAnswer(answer.status, answer.headers, answer.text.slice(0, ANSWER_KEPT)),
  retryAfter: retryAfterMs(headerOf(answer.headers, 'retry-after'), Date.now()),
  moved,
});
