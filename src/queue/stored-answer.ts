// The answer to a read out of the store: what a PUT that waits has made of the resource. No I/O here.

import type { IncomingHttpHeaders } from 'node:http';
import type { Entry } from '../store/store.ts';
import { headerOf } from '../wire/headers.ts';
import { type ByteRange, rangeOf, verdictOn } from './conditions.ts';

export interface StoredAnswer {
  status: 200 | 206 | 304 | 412 | 416;
  /** Names and values. */
  headers: Record<string, string | number>;
  /** undefined: no body. */
  range?: ByteRange;
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
  const verdict = verdictOn(asked, { etag }, true);
  if (verdict === 'failed') return { status: 412, headers: { ...about, 'Content-Length': 0 } };
  if (verdict === 'unchanged') return { status: 304, headers: about };
  const described = { ...about, 'Accept-Ranges': 'bytes', ...descriptionOf(entry) };
  const wanted = method === 'GET' ? rangeOf(asked, etag, bytes) : 'all';
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
