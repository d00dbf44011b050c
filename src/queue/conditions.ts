// The conditions of a request and its range, as RFC 9110 reads them (sections 13 and 14). Pure; what the answer then is, says who asks.

import type { IncomingHttpHeaders } from 'node:http';

/** What there is now at the resource. */
export interface Current {
  /** Strong, with its quotes; undefined: there is something, and nobody knows its tag. */
  etag: string | undefined;
  /** Of the last change, ms since the epoch; undefined: not to be asked. */
  changed?: number;
}

/** `failed`: 412. `unchanged`: 304, to a GET or HEAD only. */
export type Verdict = 'go' | 'failed' | 'unchanged';

/** `current`: undefined where there is nothing. Section 13.2.2. */
export function verdictOn(
  headers: IncomingHttpHeaders,
  current: Current | undefined,
  reads: boolean,
): Verdict {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = headers;
  const after = (date: string | undefined): boolean | undefined => {
    const since = httpDate(date);
    if (since === undefined || current?.changed === undefined) return undefined;
    return Math.floor(current.changed / 1000) * 1000 > since;
  };
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, current, 'strong')) return 'failed';
  } else if (after(headers['if-unmodified-since'])) return 'failed';
  if (ifNoneMatch !== undefined) {
    if (matches(ifNoneMatch, current, 'weak')) return reads ? 'unchanged' : 'failed';
  } else if (reads && after(headers['if-modified-since']) === false) return 'unchanged';
  return 'go';
}

/** A tag without quotes is none to the RFC; S3 takes it, and its clients send it. */
const TAG = /^(W\/)?"?([\x21\x23-\x7e\x80-\xff]*?)"?$/;

/** Whether a field names what there is. A tag that nobody knows is given the benefit of the doubt where it is asked for, and is not taken
 *  for another's. Commas within a tag are not looked for: no tag of ours has one. */
function matches(field: string, current: Current | undefined, comparison: 'strong' | 'weak'): boolean {
  if (!current) return false;
  if (field.trim() === '*') return true;
  if (current.etag === undefined) return comparison === 'strong';
  return field.split(',').some((tag) => {
    const [, weak, opaque] = TAG.exec(tag.trim()) ?? [];
    return `"${opaque}"` === current.etag && (weak === undefined || comparison === 'weak');
  });
}

const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]+, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4})$/;

/** ms; undefined for what is no date of HTTP (section 5.6.7), which is ignored. */
function httpDate(text: string | undefined): number | undefined {
  if (text === undefined || !HTTP_DATE.test(text)) return undefined;
  const ms = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
  return Number.isNaN(ms) ? undefined : ms;
}

/** Of a body: start inclusive, end exclusive, bytes. */
export interface ByteRange {
  start: number;
  end: number;
}

/** Of a GET. `all`: there is no range, or one that is to be ignored: several, another unit, last before first, or of another version than
 *  `If-Range` says. `none`: it lies outside, 416. */
export function rangeOf(
  headers: IncomingHttpHeaders,
  etag: string,
  bytes: number,
): 'all' | 'none' | ByteRange {
  const ifRange = headers['if-range'];
  // Compared strongly; a date never holds, since two bodies may share a second.
  if (ifRange !== undefined && ifRange !== etag) return 'all';
  const [, first, last] = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(headers.range ?? '') ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return 'all';
  if (first === '') {
    if (Number(last) === 0) return 'none';
    // Of an empty body it would be satisfiable, and no answer could say so.
    return bytes === 0 ? 'all' : { start: Math.max(0, bytes - Number(last)), end: bytes };
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return 'all';
  if (start >= bytes) return 'none';
  return { start, end: last === '' ? bytes : Math.min(bytes, Number(last) + 1) };
}
