// Who may read what waits: whoever bears the credentials that it was sent with. The queue cannot check them, it compares. A request that is
// signed as AWS does has another signature each time: of such the access key is compared.

import type { Entry } from '../store/store.ts';
import { isCredential } from '../telemetry/secrets.ts';

/** `AWS4-HMAC-SHA256 Credential=AKID/…`, and `AWS AKID:signature` of version 2. */
const SIGNED = /^AWS(?:4-[A-Z0-9-]+\s(?:.*[\s,])?Credential=([^/,\s]+)| ([^:\s]+):)/i;
/** The same in the query of a presigned URL. */
const PRESIGNED = /[?&](?:X-Amz-Credential=([^/&%]+)|AWSAccessKeyId=([^&]+))/i;

/** One spelling for each: by name, the values of all its lines. `headers`: names and values in turn. */
function credentialsIn(headers: readonly string[], url: string): Map<string, string> {
  const found = new Map<string, string>();
  let signer = accessKey(PRESIGNED, url);
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    if (!isCredential(name)) continue;
    const value = headers[i + 1]!.trim();
    const key = name === 'authorization' ? accessKey(SIGNED, value) : undefined;
    if (key !== undefined) signer = key;
    else found.set(name, found.has(name) ? `${found.get(name)}; ${value}` : value);
  }
  const cookies = found.get('cookie');
  if (cookies !== undefined)
    found.set(
      'cookie',
      cookies
        .split(';')
        .map((cookie) => cookie.trim())
        .sort()
        .join('; '),
    );
  if (signer !== undefined) {
    found.set('authorization', `AWS ${signer}`);
    // It comes with the access key.
    found.delete('x-amz-security-token');
  }
  return found;
}

function accessKey(pattern: RegExp, text: string): string | undefined {
  const [, current, old] = pattern.exec(text) ?? [];
  return current ?? old;
}

/** Whether a request bears each of the credentials that the entry was sent with; more of them do no harm. `rawHeaders`: as node:http
 *  gives them. */
export function bearsCredentialsOf(
  { headers, url }: Pick<Entry, 'headers' | 'url'>,
  rawHeaders: readonly string[],
  path: string,
): boolean {
  const needed = credentialsIn(headers, url);
  if (needed.size === 0) return true;
  const borne = credentialsIn(rawHeaders, path);
  return [...needed].every(([name, value]) => borne.get(name) === value);
}
