// A server that is as strict about signatures as S3, and keeps the bytes of every path as they came: real servers keep objects in
// files, which have no `//` and no `..`.

import { createHash, createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Keys {
  id: string;
  secret: string;
}

export interface Kept {
  method: string;
  /** As it came. */
  path: string;
  /** What S3 takes for the key, after the bucket. */
  key: string;
  body: string;
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** S3's UriEncode: all but the unreserved and `/`, upper-case escapes. */
const encode = (bytes: Buffer): string =>
  [...bytes]
    .map((byte) => {
      const char = String.fromCharCode(byte);
      return /[A-Za-z0-9\-._~/]/.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');

const decode = (path: string): Buffer =>
  Buffer.from(
    path.replace(/%([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );

/** AWS Signature Version 4 over a request as it came, path and query in S3's way. undefined: it is not signed so. */
const signatureOf = (
  method: string,
  url: string,
  headers: NodeJS.Dict<string | string[]>,
  { secret }: Keys,
): { expected: string; given: string } | undefined => {
  const parsed =
    /^AWS4-HMAC-SHA256 Credential=[^/]+\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      String(headers.authorization ?? ''),
    );
  if (!parsed) return undefined;
  const [, day, region, names, given] = parsed as unknown as [string, string, string, string, string];
  const [path = '', query = ''] = url.split('?', 2);
  const pairs = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => (pair.includes('=') ? pair : `${pair}=`))
    .sort();
  const canonical = [
    method,
    encode(decode(path)),
    pairs.join('&'),
    ...names.split(';').map((name) => `${name}:${String(headers[name] ?? '').trim()}`),
    '',
    names,
    String(headers['x-amz-content-sha256']),
  ].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', String(headers['x-amz-date']), scope, sha256(canonical)].join('\n');
  const key = hmac(hmac(hmac(hmac(`AWS4${secret}`, day), region), 's3'), 'aws4_request');
  return { expected: hmac(key, toSign).toString('hex'), given };
};

/** Keeps what is signed rightly and answers 200; all else gets 403. */
export const startSigV4 = async (keys: Keys) => {
  const kept: Kept[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    const { method = '', url = '', headers } = request;
    const signature = signatureOf(method, url, headers, keys);
    if (signature === undefined || signature.expected !== signature.given) {
      response.writeHead(403).end(`signed otherwise: ${method} ${url}`);
      return;
    }
    const [path = ''] = url.split('?', 1);
    kept.push({
      method,
      path,
      key: decode(path)
        .toString()
        .replace(/^\/[^/]*\//, ''),
      body,
    });
    const etag = createHash('md5').update(body).digest('hex');
    response.writeHead(200, { etag: `"${etag}"` }).end(method === 'GET' ? 'there' : undefined);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    kept,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
};
