// The judge: from what the apps saw and what arrived in the cloud it proves laws 1 to 3, 5 and 7 of one run, whatever faults
// there were. Pure: no clock, no file, no socket. Requests are matched by the number that load.ts sends along.

import { type AppRecord, NUMBER } from './load-plan.ts';
import type { Arrival } from './oracle-protocol.ts';

export interface CheckOptions {
  /** Default `key`. `strict`: all requests in one order. */
  order?: 'none' | 'key' | 'strict';
  /** When may one request be delivered twice? `keyed` (default): each time with the same Idempotency-Key. `idempotent`: also
   *  without, where the method is idempotent. `never`: not at all. */
  duplicates?: 'never' | 'keyed' | 'idempotent';
  /** Ids of entries that the operator's rules account for (dead letters, drops): they need not arrive. */
  accounted?: ReadonlySet<string>;
  /** Header names, lower case, that may have another value or be gone. On top of hop-by-hop and framing. */
  mayChange?: readonly string[];
  /** Header names that may come in addition; a `*` at the end stands for any rest. On top of OURS. */
  mayAdd?: readonly string[];
  /** Statuses that are no client error although they are 400 or more. */
  expected?: readonly number[];
  /** The run was cut short (the app killed): a request without an answer is not a violation. */
  unfinished?: boolean;
}

export interface Verdict {
  /** In words, each with its law; empty: proven. */
  violations: string[];
  /** Requests whose app got a receipt, a final answer from the destination, an error. */
  receipts: number;
  answered: number;
  failed: number;
  /** Of the receipts and answers, how many were delivered; how many deliveries were repeated; arrivals that broke off. */
  delivered: number;
  duplicates: number;
  torn: number;
}

/** RFC 9110 section 7.6.1, and what frames a body: each connection has its own. */
const PER_HOP = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'transfer-encoding', 'upgrade', 'trailer', 'content-length', 'expect'],
]);

/** What Layby and its Envoy may add. */
export const OURS = [
  ...[
    'idempotency-key',
    'layby-*',
    'x-envoy-*',
    'x-request-id',
    'x-forwarded-proto',
    'x-forwarded-for',
    'via',
  ],
  ...['authorization', 'x-amz-date', 'x-amz-content-sha256', 'x-amz-security-token', 'accept', 'user-agent'],
];

const IDEMPOTENT = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']);

const pairs = (raw: readonly string[]): [string, string][] => {
  const list: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) list.push([raw[at]!.toLowerCase(), raw[at + 1]!]);
  return list;
};

/** Values by name, in their order. */
const byName = (raw: readonly string[]): Map<string, string[]> => {
  const found = new Map<string, string[]>();
  for (const [name, value] of pairs(raw)) found.set(name, [...(found.get(name) ?? []), value]);
  return found;
};

const headerOf = (raw: readonly string[], name: string): string | undefined => byName(raw).get(name)?.[0];

const succeeded = (status: number): boolean => status >= 200 && status < 300;

const isReceipt = (record: AppRecord): boolean =>
  record.entryId !== null && (succeeded(record.status) || record.status === 307 || record.status === 303);

/** It reached the destination whole, and may have had its effect there. */
const landed = (arrival: Arrival): boolean =>
  !arrival.torn && (arrival.answer === null || arrival.answer < 400);

const delivered = (arrival: Arrival): boolean => landed(arrival) && arrival.answer !== null;

const nameOf = (record: AppRecord): string =>
  `request ${record.n} (${record.method} ${record.path}${record.entryId === null ? '' : `, entry ${record.entryId}`})`;

/** Law 5, the headers. */
const headerChanges = (record: AppRecord, arrival: Arrival, options: CheckOptions): string[] => {
  const free = new Set([...PER_HOP, ...(options.mayChange ?? [])]);
  const added = [...OURS, ...(options.mayAdd ?? [])];
  const mayCome = (name: string) =>
    added.some((pattern) =>
      pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
    );
  const sent = byName(record.headers);
  const came = byName(arrival.rawHeaders);
  const changes: string[] = [];
  for (const [name, values] of sent) {
    if (free.has(name)) continue;
    const got = came.get(name);
    if (!got) changes.push(`lost its header ${name}`);
    // A list may be joined or split on its way (RFC 9110 section 5.3).
    else if (got.join(', ') !== values.join(', '))
      changes.push(`had its header ${name} changed from "${values.join(', ')}" to "${got.join(', ')}"`);
  }
  for (const name of came.keys())
    if (!sent.has(name) && !free.has(name) && !mayCome(name))
      changes.push(`came with a header that nobody sent, ${name}`);
  return changes;
};

/** Laws 5 and 2 for one arrival that landed. */
const differences = (record: AppRecord, arrival: Arrival, options: CheckOptions): string[] => {
  const found: string[] = [];
  if (arrival.method !== record.method) found.push(`arrived as ${arrival.method}`);
  if (arrival.path !== record.path) found.push(`arrived at ${arrival.path}`);
  if (arrival.bytes !== record.bytes)
    found.push(`arrived with ${arrival.bytes} bytes instead of ${record.bytes}`);
  else if (arrival.sha256 !== record.sha256) found.push('arrived with other bytes: its SHA-256 differs');
  const trailers = (raw: readonly string[]) => JSON.stringify(pairs(raw));
  if (trailers(arrival.rawTrailers) !== trailers(record.trailers)) found.push('had its trailers changed');
  return [...found, ...headerChanges(record, arrival, options)];
};

/** Law 3. Of two requests that did not overlap at the app, the later one may begin in the cloud only after every arrival of
 *  the earlier one that could have had an effect has ended. */
const disorder = (
  records: readonly AppRecord[],
  arrivals: ReadonlyMap<number, Arrival[]>,
  where: string,
): string[] => {
  const accepted = records.filter(
    (record) => isReceipt(record) || (record.error === null && succeeded(record.status)),
  );
  const bySend = [...accepted].sort((a, b) => a.start - b.start);
  const byEnd = [...accepted].sort((a, b) => a.end - b.end);
  const found: string[] = [];
  let latest: { ended: number; record: AppRecord } | undefined;
  let at = 0;
  for (const later of bySend) {
    for (let earlier = byEnd[at]; earlier && earlier.end <= later.start; earlier = byEnd[++at])
      for (const { ended } of arrivals.get(earlier.n) ?? [])
        if (!latest || ended > latest.ended) latest = { ended, record: earlier };
    const first = Math.min(...(arrivals.get(later.n) ?? []).map(({ began }) => began));
    if (latest && first < latest.ended)
      found.push(
        `law 3: ${nameOf(later)} was in the cloud before ${nameOf(latest.record)} had ended there (${where})`,
      );
  }
  return found;
};

const groupsOf = (records: readonly AppRecord[], order: 'key' | 'strict'): Map<string, AppRecord[]> => {
  if (order === 'strict') return new Map([['all in one order', [...records]]]);
  return Map.groupBy(records, ({ key }) => `key ${key}`);
};

/** Law 2 and the answer's side of law 5: each delivery once, or provably the same. */
const repeats = (
  record: AppRecord,
  came: readonly Arrival[],
  allowed: CheckOptions['duplicates'],
): string | undefined => {
  if (came.length < 2) return undefined;
  const keys = new Set(came.map(({ rawHeaders }) => headerOf(rawHeaders, 'idempotency-key')));
  const keyed = keys.size === 1 && !keys.has(undefined);
  const fine =
    allowed === 'never' ? false : keyed || (allowed === 'idempotent' && IDEMPOTENT.has(record.method));
  if (fine) return undefined;
  const why =
    allowed === 'never'
      ? ''
      : keys.has(undefined)
        ? ' without an Idempotency-Key'
        : ' with different Idempotency-Keys';
  return `law 2: ${nameOf(record)} was delivered ${came.length} times${why}`;
};

/** Proves the laws from both sides' records, taken when nothing is stored any more. */
export const check = (
  app: readonly AppRecord[],
  cloud: readonly Arrival[],
  options: CheckOptions = {},
): Verdict => {
  const { order = 'key', duplicates = 'keyed', accounted = new Set<string>(), expected = [] } = options;
  const violations: string[] = [];
  const verdict = { violations, receipts: 0, answered: 0, failed: 0, delivered: 0, duplicates: 0, torn: 0 };

  const sent = new Map<number, AppRecord>();
  const ids = new Map<string, AppRecord>();
  for (const record of app) {
    if (sent.has(record.n)) violations.push(`the record itself is wrong: request ${record.n} is in it twice`);
    sent.set(record.n, record);
    if (record.entryId === null) continue;
    const other = ids.get(record.entryId);
    if (other) violations.push(`law 2: ${nameOf(record)} and request ${other.n} got one entry`);
    ids.set(record.entryId, record);
  }

  const whole = new Map<number, Arrival[]>();
  for (const arrival of cloud) {
    const n = Number(headerOf(arrival.rawHeaders, NUMBER) ?? Number.NaN);
    const record = sent.get(n);
    if (arrival.torn) verdict.torn++;
    if (!record) {
      violations.push(
        `law 4: arrival ${arrival.n} (${arrival.method} ${arrival.path}) was never sent by an app`,
      );
      continue;
    }
    if (!landed(arrival)) continue;
    whole.set(n, [...(whole.get(n) ?? []), arrival]);
    for (const difference of differences(record, arrival, options))
      violations.push(`law 5: ${nameOf(record)} ${difference} (arrival ${arrival.n})`);
  }

  for (const record of app) {
    const came = whole.get(record.n) ?? [];
    const receipt = isReceipt(record);
    const accepted = receipt || (record.error === null && succeeded(record.status));
    if (record.error !== null || record.status === 0) {
      verdict.failed++;
      if (!options.unfinished)
        violations.push(`law 7: ${nameOf(record)} failed at its app: ${record.error ?? 'no answer'}`);
    } else if (receipt) verdict.receipts++;
    else {
      verdict.answered++;
      if (record.status >= 400 && !expected.includes(record.status))
        violations.push(`law 7: ${nameOf(record)} was answered ${record.status}`);
      if (record.status >= 300 && record.status < 400)
        violations.push(`law 7: ${nameOf(record)} was answered ${record.status} without Layby-Entry`);
    }
    if (came.some(delivered)) verdict.delivered++;
    else if (accepted && !(record.entryId !== null && accounted.has(record.entryId)))
      violations.push(
        receipt
          ? `laws 1 and 2: ${nameOf(record)} had a receipt and was never delivered`
          : `law 2: ${nameOf(record)} was answered ${record.status} and never arrived`,
      );
    verdict.duplicates += Math.max(0, came.length - 1);
    const repeated = repeats(record, came, duplicates);
    if (repeated) violations.push(repeated);
  }

  if (order !== 'none')
    for (const [where, records] of groupsOf(app, order)) violations.push(...disorder(records, whole, where));
  return verdict;
};
