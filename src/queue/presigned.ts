// A URL that an app has signed (presigned), for a destination that Layby signs for: its signature is of another host and another moment,
// and a request with two is refused. So it is not stored; what is said beside it of the object becomes headers, as it would
// have been without the presigning. The sidecar does the same to what does not pass the queue
// (control-plane/resources/before-signing.ts).

import type { Destination } from '../policy/policy.ts';

const SIGNATURE = new Set(
  [
    ...['algorithm', 'credential', 'date', 'expires', 'signedheaders', 'signature'],
    ...['security-token', 'content-sha256', 'region-set', 's3session-token'],
  ].map((name) => `x-amz-${name}`),
);
/** Of the older kind. */
const SIGNATURE_V2 = new Set(['awsaccesskeyid', 'signature', 'expires', 'x-amz-security-token']);
/** Makes a header of it. */
const HEADER = /^x-amz-[a-z0-9_.-]+$/;

const decoded = (text: string): string => {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
};

/** Latin-1, one character a byte, and nothing that would end a line. */
const headerValue = (text: string): string =>
  Buffer.from(decoded(text).replace(/\p{Cc}/gu, ' ')).toString('latin1');

const named = (pair: string): { pair: string; name: string; value: string } => {
  const at = pair.indexOf('=');
  return at < 0
    ? { pair, name: decoded(pair).toLowerCase(), value: '' }
    : { pair, name: decoded(pair.slice(0, at)).toLowerCase(), value: pair.slice(at + 1) };
};

/** It is signed in its query. */
export const isPresigned = (path: string): boolean => /[?&](x-amz-signature|awsaccesskeyid)=/i.test(path);

/** `headers`: names and values in turn, that the query said. */
export function withoutSignature(
  { upstream: { sign } }: Destination,
  path: string,
): { path: string; headers: string[] } {
  const at = path.indexOf('?');
  if (!sign || at < 0) return { path, headers: [] };
  const pairs = path
    .slice(at + 1)
    .split('&')
    .map(named);
  const names = new Set(pairs.map(({ name }) => name));
  const isS3 = sign.aws.service === 's3';
  const v4 = ['algorithm', 'credential', 'signature'].some((name) => names.has(`x-amz-${name}`));
  const v2 = isS3 && (names.has('awsaccesskeyid') || names.has('signature'));
  if (!v4 && !v2) return { path, headers: [] };
  const kept: string[] = [];
  const headers: string[] = [];
  for (const { pair, name, value } of pairs) {
    if ((v4 && SIGNATURE.has(name)) || (v2 && SIGNATURE_V2.has(name))) continue;
    if (isS3 && v4 && HEADER.test(name)) headers.push(name, headerValue(value));
    else kept.push(pair);
  }
  const query = kept.length > 0 ? `?${kept.join('&')}` : '';
  return { path: path.slice(0, at) + query, headers };
}
