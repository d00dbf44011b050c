// The answer to a read out of the store: what a PUT that waits has made of the resource, or a DELETE (RFC 9110: conditions in
// section 13, ranges in 14). No I/O here but the body.

import type { IncomingHttpHeaders } from 'node:http';
import type { Entry } from '../store/store.ts';
import { headerOf } from '../wire/headers.ts';

export interface StoredAnswer {
  status: 200 | 206 | 304 | 412 | 416;
  /** Names and values. */
  headers: Record<string, string | number>;
  /** Of the body: start inclusive, end exclusive, bytes. undefined: no body. */
  range?: { start: number; end: number };
}

/** What describes a body, and what S3 and others keep beside it, comes back with it. */
const DESCRIBES = /^(content-(type|encoding|language|disposition)|x-amz-meta-.*)$/;

/** The entity tag that the receipt had, or would have had. */
export const etagOf = ({ md5, sha256 }: Entry): string => `"${md5 ?? sha256}"`;

/** The whole of the resource is in the body of this entry. */
export const isWhole = ({ method, headers }: Entry): boolean =>
  method === 'PUT' && headerOf(headers, 'content-range') === undefined;

/** For a stored PUT. */
export function answerFrom(entry: Entry, method: 'GET' | 'HEAD', asked: IncomingHttpHeaders): StoredAnswer {
  const etag = etagOf(entry);
  const about = { ETag: etag, 'Layby-Entry': entry.id, 'Cache-Control': 'no-store' };
  const { bytes } = entry;
  if (asked['if-match'] !== undefined && !names(asked['if-match'], etag))
    return { status: 412, headers: { ...about, 'Content-Length': 0 } };
  if (asked['if-none-match'] !== undefined && names(asked['if-none-match'], etag))
    return { status: 304, headers: about };
  const described = { ...about, 'Accept-Ranges': 'bytes', ...descriptionOf(entry) };
  const ifRange = asked['if-range'];
  const wanted =
    method === 'GET' && (ifRange === undefined || ifRange === etag) ? rangeOf(asked.range, bytes) : 'all';
  if (wanted === 'none')
    return { status: 416, headers: { ...about, 'Content-Range': `bytes */${bytes}`, 'Content-Length': 0 } };
  if (wanted === 'all')
    return {
      status: 200,
      headers: { ...described, 'Content-Length': bytes },
      ...(method === 'GET' && { range: { start: 0, end: bytes } }),
    };
  const { start, end } = wanted;
  return {
    status: 206,
    headers: {
      ...described,
      'Content-Range': `bytes ${start}-${end - 1}/${bytes}`,
      'Content-Length': end - start,
    },
    range: wanted,
  };
}

function descriptionOf({ headers }: Entry): Record<string, string> {
  const description: Record<string, string> = {};
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    if (!DESCRIBES.test(name)) continue;
    description[name] = name in description ? `${description[name]}, ${headers[i + 1]}` : headers[i + 1]!;
  }
  return description;
}

/** Whether a list of entity tags has this one. A weak one is as good: both would stand for these bytes. */
function names(list: string, etag: string): boolean {
  return list
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''))
    .some((tag) => tag === '*' || tag === etag);
}

/** Of a single range. `all`: there is none, or one that is to be ignored (several, another unit). `none`: it lies outside. */
export function rangeOf(
  header: string | undefined,
  bytes: number,
): 'all' | 'none' | { start: number; end: number } {
  const [, first, last] = /^bytes=\s*(\d*)-(\d*)\s*$/i.exec(header ?? '') ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return 'all';
  if (first === '') {
    const start = Math.max(0, bytes - Number(last));
    return start < bytes ? { start, end: bytes } : 'none';
  }
  const start = Number(first);
  if (last !== '' && Number(last) < start) return 'all';
  if (start >= bytes) return 'none';
  return { start, end: last === '' ? bytes : Math.min(bytes, Number(last) + 1) };
}
