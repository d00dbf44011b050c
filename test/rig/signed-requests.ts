// Requests as apps may write them, for a sidecar that signs: every shape of header and query that a signer and a service could read
// otherwise than each other; and what a request means, whatever its spelling.

import { between, oneOf, type Random } from './random.ts';

export interface Shape {
  /** Behind the path of the object. */
  path: string;
  /** Empty, or with its `?`. */
  query: string;
  /** Lines, Latin-1. */
  headers: string[];
}

const QUERIES = [
  ...['', '?', '?a', '?a=', '?a=b', '?a=1&a=2', '?a=2&a=1', '?b=1&a=2', '?a=1&A=2'],
  // Sorted by name, and not by the text of the pair.
  ...['?a=1&a-b=2', '?a.b=1&a=2', '?a%2B=1&a%20=1', '?a=%C3%A9&a=z', '?a%3D=1&a=1'],
  ...['?=v', '?=', '?&', '?a=1&&b=2', '?a=1&', '?&a=1'],
  ...['?a=b=c', '?a=b%3Dc', '?a=?', '?a=b?c=d', '?a=/', '?/a', '?k/?/k'],
  ...['?a=b+c', '?a+b=c', '?a=b%2Bc', '?a=b%2bc', '?a=b%20c', '?a=+&b=%2B'],
  ...['?a=%7e', '?a=~', '?%61=1', '?a=%2f', '?a=%2F', '?a=%e3%81%82', '?a=%E3%81%82'],
  ...['?a=%', '?a=%zz', '?a=%4', '?a=%25', '?a=%2525', '?a=%00', '?a=%0A%0D'],
  ...['?a=;b', '?a=b;c', '?a=*', "?a='()!", '?a=:@,$', '?a="<>|^`{}[]\\'],
  ...['?X-Amz-Foo=1', '?x-amz-meta-b=1', '?Signature=a', '?Expires=1', '?AWSAccessKeyId=a'],
];

const SIGNATURE = '0'.repeat(64);
const PRESIGNED = [
  `?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F20200101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20200101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Security-Token=a%2Fb%2B&X-Amz-Signature=${SIGNATURE}`,
  `?x=1&X-Amz-Signature=${SIGNATURE}&y=+`,
  `?x-amz-signature=${SIGNATURE}&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD`,
  `?%58-Amz-Signature=${SIGNATURE}`,
  '?X-Amz-Algorithm=AWS4-HMAC-SHA256',
];
/** Of the older kind, which S3 alone knows. */
const PRESIGNED_FOR_S3 = [
  '?AWSAccessKeyId=k&Signature=a%2Fb%3D&Expires=1700000000',
  '?Expires=1&x=y&Signature=a&AWSAccessKeyId=k',
];

const HEADERS = [
  ...[['x-amz-meta-a: '], ['x-amz-meta-a:'], ['x-amz-meta-a: \t'], ['x-amz-tagging: '], ['x-amz-acl: ']],
  ...[['content-type: '], ['content-encoding: '], ['cache-control: '], ['x-custom: ']],
  ...[
    ['x-amz-meta-a: 1', 'x-amz-meta-a: 2'],
    ['x-amz-meta-a: 2', 'x-amz-meta-a: 1'],
    ['x-amz-meta-a: ', 'x-amz-meta-a: 1'],
    ['x-amz-meta-a: 1', 'x-amz-meta-a: '],
    ['x-amz-meta-a: ', 'x-amz-meta-a: '],
    ['x-amz-meta-a: 1', 'x-amz-meta-b: ', 'x-amz-meta-a:  2\t3 '],
    ['x-custom: a', 'x-custom: '],
    ['cookie: a=b', 'cookie: c=d', 'cookie: '],
  ],
  ...['a  b', ' a \t b  ', 'a\tb', '\ta', 'a\t', 'a, b,c', '"a  b"', '"a\tb"'].map((value) => [
    `x-amz-meta-a: ${value}`,
  ]),
  ...['\xe9', '\xc3\xa9', '\xa0b\x85 c', '\xa0', '=?UTF-8?Q?a=09b?='].map((value) => [
    `x-amz-meta-a: ${value}`,
  ]),
  ...['content-type: text/plain;  charset=utf-8', 'content-type: a\tb', 'x-custom: a\tb'].map((line) => [
    line,
  ]),
  ...[[`x-amz-meta-a: ${'x'.repeat(2000)}`], ['X-AMZ-META-A: B'], ['x-amz-meta-a: b\r\n c']],
  ...[
    ['x_amz_meta_a: '],
    ['x-amz-meta-a_b: c', 'x-amz-meta-ab: d', 'x-amz-meta-a-b: e'],
    ["x-amz-meta-a!#$%&'*+^`|~: c"],
  ],
  ...[
    ['x-amz-meta-: a'],
    ['date: x'],
    ['x-amz-date: 1', 'x-amz-date: 2'],
    ['x-amz-security-token: a'],
    ['x-amz-security-token: '],
  ],
  ...[
    ['x-amz-content-sha256: a', 'x-amz-content-sha256: '],
    ['authorization: a', 'authorization: '],
    ['te: trailers'],
    ['expect: '],
    ['expect: 200-ok'],
  ],
  ...[
    ['x-forwarded-for: a', 'x-envoy-a: '],
    ['via: 1'],
    ['user-agent: '],
    ['accept: a', 'accept: '],
    ['x-amz-storage-class: '],
  ],
];

const PATHS = [
  '',
  '/a+b',
  '/%7e~',
  '/%2Fa',
  '/%2fa',
  '/a:b@c',
  '/%e3%81%82',
  '/a/',
  "/!'()*",
  '/%25',
  '/100%',
];

export const shapesFor = (service: string): Shape[] => [
  ...[...QUERIES, ...PRESIGNED, ...(service === 's3' ? PRESIGNED_FOR_S3 : [])].map((query) => ({
    path: '',
    query,
    headers: [],
  })),
  ...HEADERS.map((headers) => ({ path: '', query: '', headers })),
  ...PATHS.map((path) => ({ path, query: '', headers: [] })),
];

const PIECES = [
  'a',
  'b',
  'A',
  '-',
  '.',
  '~',
  '_',
  '0',
  '=',
  '+',
  ' ',
  '/',
  ':',
  ';',
  ',',
  '@',
  '*',
  "'",
  '(',
  '%',
  '%2',
  '%2B',
  '%2b',
  '%20',
  '%26',
  '%3D',
  '%7E',
  '%7e',
  '%41',
  '%00',
  '%E3%81%82',
  '%c3%a9',
  '%zz',
  '?',
  '[',
  '"',
];
const VALUES = [
  'a',
  'B',
  '1',
  ' ',
  '  ',
  '\t',
  ',',
  ';',
  '=',
  '"',
  '\xe9',
  '\xc3\xa9',
  '\xa0',
  '%',
  '+',
  '\x80',
];
const NAMES = [
  'x-amz-meta-a',
  'x-amz-meta-b',
  'X-Amz-Meta-B',
  'x-amz-meta-a-b',
  'x-amz-meta-a_b',
  // Not tags and ACLs: what S3 takes of those the queue judges before it stores them.
  'x-amz-website-redirect-location',
  'x-amz-expected-bucket-owner',
  'content-type',
  'x-custom',
  'cache-control',
  'x_amz_meta_a',
  'content-language',
];
const PARAMETERS = [
  'X-Amz-Signature',
  'X-Amz-Algorithm',
  'X-Amz-Date',
  'X-Amz-Expires',
  'x-amz-meta-q',
  'Signature',
  'Expires',
  'AWSAccessKeyId',
  'response-content-type',
  'x-id',
];

const text = (random: Random, pieces: readonly string[], most: number): string =>
  Array.from({ length: between(random, [0, most]) }, () => oneOf(random, pieces)).join('');

/** No space in the request line. */
const spelling = (random: Random, most: number): string => text(random, PIECES, most).replaceAll(' ', '');

export const randomShape = (random: Random): Shape => {
  const pair = () => {
    const name = random() < 0.15 ? oneOf(random, PARAMETERS) : spelling(random, 3);
    return name + (random() < 0.8 ? `=${spelling(random, 4)}` : '');
  };
  const pairs = Array.from({ length: between(random, [0, 5]) }, pair);
  return {
    path: random() < 0.3 ? `/${spelling(random, 5).replaceAll(/[?#]/g, '')}` : '',
    query: random() < 0.8 ? `?${pairs.join('&')}` : '',
    headers: Array.from(
      { length: between(random, [0, 5]) },
      () => `${oneOf(random, NAMES)}:${text(random, [' ', '', '\t'], 1)}${text(random, VALUES, 6)}`,
    ),
  };
};

const bytes = (escaped: string): string =>
  escaped.replace(/%([0-9a-fA-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));

const OF_A_SIGNATURE =
  /^x-amz-(algorithm|credential|date|expires|signedheaders|signature|security-token|content-sha256|region-set|s3session-token)$/;
const OF_AN_OLDER_ONE = /^(awsaccesskeyid|signature|expires|x-amz-security-token)$/;
/** Made by the signer, by hops, or only on one of the ways. */
const NOT_COMPARED =
  /^(x-amz-(date|content-sha256|security-token)|authorization|host|connection|content-length|date|te|expect|cookie|user-agent|x-forwarded-.*|x-envoy-.*|layby-.*|idempotency-key)$/;

/** Of several Envoy makes one when it reads them, and leaves out the empty ones. */
const JOINED_BY_ENVOY = /^(accept|cache-control|content-type)$/;

export interface Meaning {
  query: string[];
  headers: Record<string, string>;
}

/** `url`: path and query; `rawHeaders`: names and values in turn. As the service is to understand them, without what authenticates. */
export const meaningOf = (service: string, url: string, rawHeaders: readonly string[]): Meaning => {
  const headers: Record<string, string> = {};
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (NOT_COMPARED.test(name)) continue;
    const value = rawHeaders[i + 1]!.replaceAll(/[ \t]*\t[ \t]*/g, ' ').replace(/^ +| +$/g, '');
    const before = headers[name];
    const nothing = JOINED_BY_ENVOY.test(name) && (before === '' || value === '');
    headers[name] = before === undefined ? value : nothing ? before || value : `${before},${value}`;
  }
  // What is joined by a comma may be joined with a space behind it.
  for (const name of Object.keys(headers))
    headers[name] = headers[name]!.replaceAll(/, +/g, ',').replaceAll(/ +,/g, ',');
  const at = url.indexOf('?');
  const pairs = (at < 0 ? '' : url.slice(at + 1))
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const equals = pair.indexOf('=');
      const [name, value] = equals < 0 ? [pair, ''] : [pair.slice(0, equals), pair.slice(equals + 1)];
      return [name, value].map((part) => bytes(part.replaceAll('+', ' '))) as [string, string];
    });
  const named = (name: string) => pairs.some(([one]) => one.toLowerCase() === name);
  const v4 = ['x-amz-signature', 'x-amz-algorithm', 'x-amz-credential'].some(named);
  const v2 = service === 's3' && (named('awsaccesskeyid') || named('signature'));
  const query: string[] = [];
  for (const [name, value] of pairs) {
    const lower = name.toLowerCase();
    if ((v4 && OF_A_SIGNATURE.test(lower)) || (v2 && OF_AN_OLDER_ONE.test(lower))) continue;
    if (v4 && service === 's3' && /^x-amz-[a-z0-9_.-]+$/.test(lower)) continue;
    query.push(`${name}=${value}`);
  }
  return { query, headers: Object.fromEntries(Object.entries(headers).sort()) };
};
