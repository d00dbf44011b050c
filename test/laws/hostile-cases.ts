// What hostile and broken apps send, as bytes, with what must come of it. A case's name is true of the program. How the cases
// are run, and what must be true after all of them: hostile.test.ts.

/** What is stored, and what arrives at the destination. */
export interface Kept {
  /** Default: the case's own mark, `/MARK`. */
  path?: string;
  method?: string;
  body?: string;
  /** Fields that arrive, `name: value`. */
  has?: string[];
  /** Of the fields that arrive, none matches. */
  lacks?: RegExp;
  /** Names and values in turn. */
  trailers?: string[];
}

export interface Case {
  name: string;
  /** `mark` is in the path: it tells the requests of one run from all others. */
  bytes: (mark: string) => string;
  /** The status with a link; 200 is the destination's own. */
  answer: number;
  /** The status without a link; default 307 where something is kept, else `answer`. */
  held?: number;
  /** undefined: nothing is stored, and nothing arrives. */
  kept?: Kept;
  /** The connection is closed after the answer. Else the next request on it is answered as itself. */
  closes?: boolean;
}

const HOST = 'Host: api.example';

/** A POST with these header lines and this body, byte for byte. */
const post =
  (headers: string[], body = '', start = 'POST /MARK HTTP/1.1') =>
  (mark: string) =>
    [start.replace('MARK', mark), ...headers, '', body].join('\r\n').replaceAll('MARK', mark);

const CHUNKED = 'Transfer-Encoding: chunked';
const LAST = '0\r\n\r\n';
const HELLO = `5\r\nhello\r\n${LAST}`;

const refused = (name: string, bytes: Case['bytes'], answer = 400): Case => ({
  ...{ name, bytes, answer },
  closes: true,
});
const passes = (name: string, bytes: Case['bytes'], kept: Kept = {}): Case => ({
  ...{ name, bytes, kept },
  answer: 200,
});

const framing: Case[] = [
  refused(
    'a length beside a transfer coding is refused (CL.TE)',
    post([HOST, 'Content-Length: 6', CHUNKED], `${LAST}G`),
  ),
  refused(
    'a transfer coding beside a length is refused (TE.CL)',
    post([HOST, CHUNKED, 'Content-Length: 4'], '5c\r\nGPOST'),
  ),
  refused(
    'two transfer codings are refused (TE.TE)',
    post([HOST, CHUNKED, 'Transfer-Encoding: identity'], LAST),
    501,
  ),
  ...[
    'xchunked',
    'gzip, chunked',
    'chunked, gzip',
    'identity',
    'chunked, chunked',
    '"chunked"',
    'chunked;q=1',
  ].map((coding) =>
    refused(
      `Transfer-Encoding: ${coding} is refused`,
      post([HOST, `Transfer-Encoding: ${coding}`], LAST),
      501,
    ),
  ),
  passes('a transfer coding is one in any case', post([HOST, 'Transfer-Encoding:\tChUnKeD'], HELLO), {
    body: 'hello',
  }),
  refused(
    'a vertical tab before a transfer coding is refused',
    post([HOST, 'Transfer-Encoding:\x0bchunked'], LAST),
  ),
  refused('a space before the colon is refused', post([HOST, 'Transfer-Encoding : chunked'], LAST)),
  passes(
    'an underscore makes another header: the length frames the body',
    post([HOST, 'Transfer_Encoding: chunked', 'Content-Length: 5'], LAST),
    { body: LAST, has: ['transfer_encoding: chunked'] },
  ),
  ...['+5', '-1', '0x5', '5, 5', '5 5', '', '18446744073709551621', '5\x00', '٥'].map((length) =>
    refused(
      `Content-Length: ${JSON.stringify(length)} is refused`,
      post([HOST, `Content-Length: ${Buffer.from(length).toString('latin1')}`], 'hello'),
    ),
  ),
  ...['9223372036854775808', '1152921504606846976', '1000000000000000'].map((length) =>
    refused(
      `a body of ${length} bytes is refused at once`,
      post([HOST, `Content-Length: ${length}`], 'hello'),
      413,
    ),
  ),
  refused('two lengths are refused', post([HOST, 'Content-Length: 5', 'Content-Length: 6'], 'hello')),
  refused(
    'the same length twice is refused',
    post([HOST, 'Content-Length: 5', 'Content-Length: 5'], 'hello'),
  ),
  passes('zeros before a length change nothing', post([HOST, 'Content-Length: 0000005'], 'hello'), {
    body: 'hello',
  }),
  ...['-5', '0x5', ' 5', '', '5;a\nb', '5;a\rb', 'fffffffffffffffff', '5_', 'g'].map((size) =>
    refused(
      `a chunk of size ${JSON.stringify(size)} is refused`,
      post([HOST, CHUNKED], `${size}\r\nhello\r\n${LAST}`),
    ),
  ),
  refused('chunk lines that end in a bare LF are refused', post([HOST, CHUNKED], '5\nhello\n0\n\n')),
  refused('a chunk that is longer than its size is refused', post([HOST, CHUNKED], `5\r\nhelloXX${LAST}`)),
  passes('chunk extensions end at the hop', post([HOST, CHUNKED], `5;a="b;c";d\r\nhello\r\n0;e\r\n\r\n`), {
    body: 'hello',
  }),
  passes('chunks of one byte are one body', post([HOST, CHUNKED], `${'1\r\nx\r\n'.repeat(3000)}${LAST}`), {
    body: 'x'.repeat(3000),
  }),
  ...['content-length', 'transfer-encoding', 'layby-host, layby-request, x-a'].map((named) =>
    passes(
      `Connection: ${named} does not change the frame of the body`,
      post([HOST, `Connection: ${named}`, 'X-A: 1', 'Content-Length: 5'], 'hello'),
      { body: 'hello' },
    ),
  ),
  refused('Connection: host is refused', post([HOST, 'Connection: host, :path', 'Content-Length: 0'])),
];

const heads: Case[] = [
  passes('a folded header line is one line', post([HOST, 'X-A: one', ' two', 'Content-Length: 0']), {
    has: ['x-a: one two'],
  }),
  passes('a folded transfer coding frames the body', post([HOST, 'Transfer-Encoding:', ' chunked'], HELLO), {
    body: 'hello',
  }),
  refused('a first header line that is folded is refused', post([' X-A: x', HOST, 'Content-Length: 0'])),
  passes(
    'a head whose lines end in a bare LF is read as one, and written anew',
    (mark) => `POST /${mark} HTTP/1.1\n${HOST}\nContent-Length: 5\n\nhello`,
    { body: 'hello' },
  ),
  passes('a header after a bare LF is a header', post([HOST, `X-A: 1\n${CHUNKED}`], HELLO), {
    body: 'hello',
    has: ['x-a: 1'],
  }),
  passes('a bare CR begins no header', post([HOST, `X-A: 1\r${CHUNKED}`, 'Content-Length: 5'], 'hello'), {
    body: 'hello',
  }),
  ...[0x00, 0x01, 0x0b, 0x0c, 0x1b, 0x7f].flatMap((code) => {
    const char = String.fromCharCode(code);
    const hex = code.toString(16).padStart(2, '0');
    return [
      refused(
        `a byte ${hex} in a header value is refused`,
        post([HOST, `X-A: a${char}b`, 'Content-Length: 0']),
      ),
      refused(`a byte ${hex} in a header name is refused`, post([HOST, `X${char}A: b`, 'Content-Length: 0'])),
      refused(
        `a byte ${hex} in the path is refused`,
        post([HOST, 'Content-Length: 0'], '', `POST /MARK${char}x HTTP/1.1`),
      ),
    ];
  }),
  passes('bytes above 7f in a header value arrive', post([HOST, 'X-A: \xc3\xa9\xff', 'Content-Length: 0']), {
    has: ['x-a: \xc3\xa9\xff'],
  }),
  refused('a header without a name is refused', post([HOST, ': x', 'Content-Length: 0'])),
  refused('a line without a colon is refused', post([HOST, 'junk', 'Content-Length: 0'])),
  refused(
    '111 headers are refused',
    post([HOST, ...Array.from({ length: 110 }, (_, i) => `X-${i}: 1`)]),
    431,
  ),
  refused('a header of 64 KiB is refused', post([HOST, `X-A: ${'a'.repeat(65_536)}`]), 431),
  refused('a path of 64 KiB is refused', post([HOST], '', `POST /MARK/${'a'.repeat(65_536)} HTTP/1.1`), 431),
  passes(
    'empty lines before a request are none of it',
    (mark) => `\r\n\r\n${post([HOST, 'Content-Length: 5'], 'hello')(mark)}`,
    {
      body: 'hello',
    },
  ),
  refused('a method in lower case is refused', post([HOST, 'Content-Length: 0'], '', 'post /MARK HTTP/1.1')),
  refused('a method that is none is refused', post([HOST, 'Content-Length: 0'], '', 'FOO /MARK HTTP/1.1')),
  refused('HTTP/0.9 is refused', post([HOST], '', 'GET /MARK')),
  refused('TLS is refused', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'),
];

const named = (line: string) => post([line, 'Content-Length: 5'], 'hello');
const called = (target: string) => post([HOST, 'Content-Length: 5'], 'hello', `POST ${target} HTTP/1.1`);
const unknown = (name: string, bytes: Case['bytes']): Case => ({
  ...{ name, bytes, answer: 421 },
  // What is left of the body is not waited for.
  closes: true,
});

const authorities: Case[] = [
  refused('a request without a Host is refused', post(['Content-Length: 0'])),
  unknown('an empty Host is no destination', named('Host:')),
  unknown('two Hosts are no destination', named(`${HOST}\r\nHost: never.example`)),
  unknown('the same Host twice is no destination', named(`${HOST}\r\n${HOST}`)),
  unknown(
    'a user that looks like a name and a port is no destination',
    named('Host: evil.example:80@x.wild.example'),
  ),
  unknown('a user before a name is no destination', named('Host: u:p@api.example')),
  unknown('an IPv6 address that no policy names is no destination', named('Host: [::1]:80')),
  unknown('the name above a wildcard is not below it', named('Host: .wild.example')),
  ...[
    'api.example, never.example',
    'evil/x.wild.example',
    'evil x.wild.example',
    '\xc3\xbc.wild.example',
  ].map((host) => refused(`Host: ${JSON.stringify(host)} is refused`, named(`Host: ${host}`))),
  ...['u@x.wild.example', 'a..wild.example', 'a%00.wild.example', 'api.example:80x'].map((host) =>
    refused(`Host: ${host} is refused`, named(`Host: ${host}`)),
  ),
  ...[
    'api.example.',
    'API.Example',
    'api.example:8080',
    'api.example.:80',
    'api.example:',
    'a.b.wild.example',
  ].map((host) => passes(`Host: ${host} is a destination`, named(`Host: ${host}`), { body: 'hello' })),
  passes(
    'an absolute form wins over the Host',
    post(['Host: never.example', 'Content-Length: 5'], 'hello', 'POST http://api.example/MARK HTTP/1.1'),
    {
      body: 'hello',
    },
  ),
  passes('an absolute form in upper case is one', called('HTTP://API.EXAMPLE/MARK'), { body: 'hello' }),
  unknown('an absolute form of another host goes nowhere', called('http://evil.example/MARK')),
  unknown(
    'a user that looks like a destination goes nowhere',
    called('http://api.example@evil.example/MARK'),
  ),
  refused('another scheme is refused', called('ftp://api.example/MARK')),
  refused('an absolute form without a host is refused', called('http:///MARK')),
  refused('an absolute form with a query and no path is refused', called('http://api.example?MARK'), 404),
  refused('a path that does not begin with a slash is refused', called('MARK')),
  { name: 'OPTIONS * is refused', bytes: post([HOST], '', 'OPTIONS * HTTP/1.1'), answer: 404 },
  refused('CONNECT is refused', post(['Host: api.example:443'], '', 'CONNECT api.example:443 HTTP/1.1'), 403),
];

/** `//` and all that follows are names of resources, and S3 keys: they arrive as they were sent. */
const ODD_PATHS = [
  '//MARK',
  '/../MARK',
  '/MARK/..',
  '/./MARK//.//',
  '/%2e%2e/MARK%2f%5c%00',
  '/MARK\\..\\x',
  '/MARK%zz%',
  '/MARK"<>^`{|}[]',
  '/MARK?a=/../&b=%00#'.slice(0, -1),
  '/MARK;x=1?http://evil.example/',
  '//evil.example/MARK',
  '/.well-known//layby/MARK',
  '/.well-known/./layby/MARK',
  '/.well-known/%6cayby/MARK',
  '/.well-known%2flayby/MARK',
  '/.WELL-KNOWN/layby/MARK',
  '/MARK/../.well-known/layby/entries/x',
];

const paths: Case[] = [
  ...ODD_PATHS.map((path) => passes(`${path} arrives as it was sent`, called(path), { path, body: 'hello' })),
  refused('a fragment is refused', called('/MARK#x')),
  refused('a space in the path is refused', called('/MARK x')),
  refused('bytes above 7f in the path are refused', called('/MARK\xc3\xa9')),
  ...['MARK', '', '../../MARK', 'entries/', 'entries/../MARK', 'entries/%2e%2e/MARK', 'entries/MARK'].map(
    (rest): Case => ({
      name: `a body for /.well-known/layby/${rest} is refused: it is no entry's page`,
      bytes: called(`/.well-known/layby/${rest}`),
      answer: 404,
    }),
  ),
];

const fieldsOfApps: Case[] = [
  passes(
    'Layby-* headers of an app are taken off, in any case, doubled, or with underscores',
    post(
      [
        ...[
          HOST,
          'Layby-Host: evil.example',
          'LAYBY-HOST: never.example',
          'layby_host: evil',
          'Layby-Entry: e',
        ],
        ...['Layby-Request: 00000000-0000-4000-8000-000000000000', 'layby-request: x', 'Layby_Request: y'],
        ...[
          'Layby-Destination: never',
          'Layby-Patience: impatient',
          'Layby-No-Link: UF',
          'Layby-Stream-End: never',
          'X-Amz-Meta-Layby-Entry: evil',
          'Content-Length: 5',
        ],
      ],
      'hello',
    ),
    { body: 'hello', lacks: /evil|never|00000000|impatient|UF|layby_|layby-(?!host: api\.example$)/ },
  ),
  passes(
    'a Location of an app is a header like any other, and in no answer',
    post([HOST, 'Location: http://evil.example/', 'Content-Length: 5'], 'hello'),
    { body: 'hello', has: ['location: http://evil.example/'] },
  ),
  passes(
    'trailers that would change a head are taken off, all others arrive',
    post(
      [HOST, CHUNKED],
      `5\r\nhello\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: evil\r\nLayby-Host: evil\r\nLAYBY_ENTRY: x\r\nAuthorization: x\r\nX-Sum: 42\r\nLocation: /x\r\n\r\n`,
    ),
    { body: 'hello', trailers: ['x-sum', '42', 'location', '/x'] },
  ),
  refused(
    'a trailer that is no header is refused',
    post([HOST, CHUNKED], '5\r\nhello\r\n0\r\nbad name: x\r\n\r\n'),
  ),
  {
    ...refused(
      'an upgrade to WebSocket that is no GET is refused',
      post([HOST, 'Connection: Upgrade', 'Upgrade: websocket']),
      403,
    ),
  },
  ...['TLS/1.2', 'web', 'websockets', 'Xebsocket, TLS/1.3', 'HTTP/2.0, SHTTP/1.3'].flatMap((to) => [
    passes(
      `an upgrade to ${to} is ignored`,
      post([HOST, 'Connection: Upgrade', `Upgrade: ${to}`, 'Content-Length: 5'], 'hello'),
      { body: 'hello', lacks: /^upgrade/ },
    ),
    {
      name: `a read that offers ${to} is one`,
      bytes: post([HOST, 'Connection: Upgrade', `Upgrade: ${to}`], '', 'GET /MARK HTTP/1.1'),
      answer: 200,
      held: 503,
      kept: { method: 'GET', lacks: /^upgrade/ },
    },
  ]),
  passes(
    'an upgrade is ignored with a chunked body, too',
    post([HOST, 'Connection: Upgrade', 'Upgrade: TLS/1.2', CHUNKED], HELLO),
    { body: 'hello', lacks: /^upgrade/ },
  ),
  passes(
    'an upgrade to h2c is not made',
    post(
      [
        HOST,
        'Connection: Upgrade, HTTP2-Settings',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABk',
        'Content-Length: 5',
      ],
      'hello',
    ),
    { body: 'hello', lacks: /^upgrade|http2/ },
  ),
  passes('an Expect without a body is answered', post([HOST, 'Expect: 100-continue', 'Content-Length: 0'])),
];

const bodies: Case[] = [
  {
    name: 'a body on GET arrives, and is not stored',
    bytes: post([HOST, 'Content-Length: 5'], 'hello', 'GET /MARK HTTP/1.1'),
    answer: 200,
    held: 503,
    kept: { method: 'GET', body: 'hello' },
  },
  passes('a body on DELETE arrives', post([HOST, 'Content-Length: 5'], 'hello', 'DELETE /MARK HTTP/1.1'), {
    ...{ method: 'DELETE', body: 'hello' },
  }),
  passes('a chunked body on DELETE arrives', post([HOST, CHUNKED], HELLO, 'DELETE /MARK HTTP/1.1'), {
    ...{ method: 'DELETE', body: 'hello' },
  }),
  passes('a PUT without a length has no body', post([HOST], '', 'PUT /MARK HTTP/1.1'), { method: 'PUT' }),
  {
    ...passes(
      'HTTP/1.0 is answered, and ends its connection',
      post([HOST, 'Content-Length: 5'], 'hello', 'POST /MARK HTTP/1.0'),
      {
        body: 'hello',
      },
    ),
    closes: true,
  },
  refused('HTTP/1.0 without a Host is refused', post(['Content-Length: 0'], '', 'POST /MARK HTTP/1.0')),
  refused('HTTP/1.0 that changes something, and says no length', post([HOST], '', 'PUT /MARK HTTP/1.0')),
  refused(
    'a line break in a URL, which makes a request line without a version',
    post([HOST, 'Content-Length: 5'], 'hello', 'PUT http://api.example/MARK\r\n HTTP/1.1'),
  ),
  refused('the same without a body', post([HOST], '', 'DELETE http://api.example/MARK\n.mp4 HTTP/1.1')),
];

export const CASES: readonly Case[] = [
  ...framing,
  ...heads,
  ...authorities,
  ...paths,
  ...fieldsOfApps,
  ...bodies,
];
