// A server that is as strict about signatures as the strictest of S3's and AWS's, and keeps the bytes of every path as they came: real servers keep objects in
// files, which have no `//` and no `..`.

import { createHash, createHmac } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Keys {
  id: string;
  secret: string;
}

export interface Kept {
  method: string;
  /** As they came. */
  url: string;
  rawHeaders: readonly string[];
  path: string;
  /** What S3 takes for the key, after the bucket. */
  key: string;
  body: string;
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** S3's UriEncode: all but the unreserved and `raw`, upper-case escapes. */
const encode = (bytes: Buffer, raw = '/'): string =>
  [...bytes]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[A-Za-z0-9\-._~]/.test(char) || char === raw
        ? char
        : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');

const decode = (path: string): Buffer =>
  Buffer.from(
    path.replace(/%([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );

/** How servers differ in what they make of a request. What is not signed the same for all of them is refused: one of them would. */
interface Reading {
  /** A raw `+` in the query: a space, as in a form, or itself. */
  plus: ' ' | '+';
  /** What runs of it in a header's value are one space. */
  spaces: RegExp;
}
const READINGS: readonly Reading[] = [
  { plus: ' ', spaces: /[ \t]+/g },
  { plus: '+', spaces: / +/g },
];

const canonicalQuery = (query: string, plus: Reading['plus']): string =>
  query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const at = pair.indexOf('=');
      const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
      return [name, value].map((text) =>
        encode(decode(text.replaceAll('+', encodeURIComponent(plus))), ''),
      ) as [string, string];
    })
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0))
    .map((pair) => pair.join('='))
    .join('&');

/** What all services but S3 make of a path: empty segments and dots resolved, and each segment escaped once more. */
const normalPath = (path: string): string => {
  const segments: string[] = [];
  for (const segment of path.split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  const whole = `/${segments.join('/')}${path.endsWith('/') && segments.length > 0 ? '/' : ''}`;
  return encode(Buffer.from(whole, 'latin1'));
};

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/;
const IN_QUERY = /^x-amz-(algorithm|credential|signature)$/i;
/** Of an older kind, which S3 alone knows. */
const IN_QUERY_OF_S3 = /^(awsaccesskeyid|signature)$/i;

export interface Signed {
  method: string;
  url: string;
  /** Names and values in turn, as they came. */
  rawHeaders: readonly string[];
  body: Buffer;
}

/** What is wrong with the AWS Signature Version 4 of a request, as the strictest service sees it; undefined: nothing is. */
export const signatureFault = (
  { method, url, rawHeaders, body }: Signed,
  { secret }: Keys,
): string | undefined => {
  const headers = new Map<string, string[]>();
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    headers.set(name, [...(headers.get(name) ?? []), rawHeaders[i + 1]!]);
  }
  const one = (name: string): string => (headers.get(name) ?? []).join(',');
  const parsed = AUTHORIZATION.exec(one('authorization'));
  if (!parsed) return `no Authorization, or none that is understood: ${one('authorization')}`;
  const [, , day, region, service, names, given] = parsed as unknown as string[];
  const at = url.indexOf('?');
  const [path, query] = at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)];
  const twice = query
    .split('&')
    .map((pair) => decode(pair.split('=', 1)[0]!).toString('latin1'))
    .find((name) => IN_QUERY.test(name) || (service === 's3' && IN_QUERY_OF_S3.test(name)));
  if (twice !== undefined) return `authenticated twice: ${twice} in the query`;
  const signed = names!.split(';');
  if (signed.join() !== [...new Set(signed)].sort().join()) return `SignedHeaders are not sorted: ${names}`;
  const absent = signed.find((name) => !headers.has(name));
  if (absent !== undefined) return `signed, and not there: ${absent}`;
  const must = [...headers.keys()].filter(
    (name) => name === 'host' || (service === 's3' && (name === 'content-type' || name.startsWith('x-amz-'))),
  );
  const unsigned = must.find((name) => !signed.includes(name));
  if (unsigned !== undefined) return `not signed: ${unsigned}`;
  const hash = createHash('sha256').update(body).digest('hex');
  const said = one('x-amz-content-sha256');
  if (said !== hash && !(service === 's3' && said === 'UNSIGNED-PAYLOAD'))
    return `x-amz-content-sha256: ${said}`;
  const scope = `${day}/${region}/${service}/aws4_request`;
  const key = hmac(hmac(hmac(hmac(`AWS4${secret}`, day!), region!), service!), 'aws4_request');
  for (const { plus, spaces } of READINGS) {
    const canonical = [
      method,
      service === 's3' ? encode(decode(path)) : normalPath(path),
      canonicalQuery(query, plus),
      ...signed.map(
        (name) =>
          `${name}:${headers
            .get(name)!
            .map((value) => value.replace(spaces, ' ').replace(/^ | $/g, ''))
            .join(',')}`,
      ),
      '',
      names,
      said,
    ].join('\n');
    const toSign = [
      'AWS4-HMAC-SHA256',
      one('x-amz-date'),
      scope,
      createHash('sha256').update(canonical, 'latin1').digest('hex'),
    ].join('\n');
    if (hmac(key, toSign).toString('hex') !== given)
      return `signed otherwise than ${JSON.stringify(canonical)}`;
  }
  return undefined;
};

/** Keeps what is signed rightly and answers 200; all else gets 403. */
export const startSigV4 = async (keys: Keys) => {
  const kept: Kept[] = [];
  const faults: string[] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const bytes = Buffer.concat(pieces);
    const { method = '', url = '', rawHeaders } = request;
    const fault = signatureFault({ method, url, rawHeaders, body: bytes }, keys);
    if (fault !== undefined) {
      faults.push(`${method} ${url}: ${fault}`);
      response.writeHead(403).end(fault);
      return;
    }
    const body = bytes.toString();
    const [path = ''] = url.split('?', 1);
    kept.push({
      method,
      url,
      rawHeaders,
      path,
      key: decode(path)
        .toString()
        .replace(/^\/[^/]*\//, ''),
      body,
    });
    const etag = createHash('md5').update(body).digest('hex');
    response.writeHead(200, { etag: `"${etag}"` }).end(method === 'GET' ? 'there' : undefined);
  };
  // As S3, it ignores what else is expected of it.
  const server = createServer(serve).on('checkExpectation', serve);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    kept,
    /** What was refused, in words. */
    faults,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
};
