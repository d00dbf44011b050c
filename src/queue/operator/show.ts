// An entry as an operator sees it, whole: with its headers and what the destination answered. What is secret by its name stays
// hidden unless it is asked for, in headers and in URLs.

import { isUtf8 } from 'node:buffer';
import { CLASSES } from '../../policy/policy.ts';
import type { Entry, KeptAnswer, Store } from '../../store/store.ts';
import { HIDDEN, isSecret, withoutSecrets } from '../../telemetry/secrets.ts';
import { entryView } from '../entries-page.ts';

type Pair = [name: string, value: string];

const pairs = (headers: readonly string[], secrets: boolean): Pair[] =>
  Array.from({ length: headers.length / 2 }, (_, i): Pair => {
    const name = headers[2 * i]!;
    const value = headers[2 * i + 1]!;
    if (secrets) return [name, value];
    // Location, Referer, Link: URLs as well.
    return [name, isSecret(name) ? HIDDEN : withoutSecrets(value)];
  });

const answerView = ({ status, headers, body }: KeptAnswer, secrets: boolean) => ({
  status,
  headers: pairs(headers, secrets),
  // What is cut off in the middle of a character is still text.
  ...(isUtf8(body) || isUtf8(body.subarray(0, -3))
    ? { body: body.toString('utf8') }
    : { bodyBase64: body.toString('base64') }),
});

/** `secrets`: with all values, for an export. */
export const wholeView = (store: Store, entry: Entry, secrets: boolean) => ({
  ...entryView(entry, secrets),
  seq: entry.seq,
  class: CLASSES[entry.class] ?? String(entry.class),
  orderKey: secrets ? entry.orderKey : withoutSecrets(entry.orderKey),
  ageMs: Math.round(store.age(entry)),
  ttlMs: entry.ttl ?? null,
  headers: pairs(entry.headers, secrets),
  trailers: pairs(entry.trailers, secrets),
  ...(entry.md5 !== undefined && { md5: entry.md5 }),
  ...(entry.answer && { answer: answerView(entry.answer, secrets) }),
});
