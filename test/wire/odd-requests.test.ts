// Requests that no client of Layby's sends, as bytes on raw connections, to each listener of its own: each is answered, and the process
// lives. LAYBY_SEED repeats one seed.

import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { serveAdmission } from '../../src/admission/server.ts';
import { serveAdmin } from '../../src/control-plane/admin.ts';
import { injectReviewer } from '../../src/inject/review.ts';
import { DEFAULT_SETTINGS } from '../../src/inject/settings.ts';
import { policyReviewer } from '../../src/policy/sources/kubernetes/review.ts';
import { logger } from '../../src/telemetry/log.ts';
import { readJson } from '../../src/wire/http-server.ts';
import { destinationOf, scene } from '../queue/scene.ts';
import { writeCertificate } from '../rig/certificate.ts';
import { between, oneOf, type Random, randomFrom } from '../rig/random.ts';
import { testdir } from '../rig/testdir.ts';

const SEEDS = process.env.LAYBY_SEED ? [Number(process.env.LAYBY_SEED)] : [1, 2];
const REQUESTS = 150;
const AT_ONCE = 8;

t.setTimeout(240_000);

const log = logger('test');
log.level = process.env.LAYBY_LOG ?? 'silent';
const dir = testdir(t);
const use = await scene(join(dir, 'queue'), [
  destinationOf('api', { mode: 'always', methods: ['PUT', 'POST', 'DELETE'], order: 'key' }),
]);
await writeCertificate(dir);
const webhook = await serveAdmission({
  listen: { host: '127.0.0.1', port: 0 },
  ...{ certificate: join(dir, 'tls.crt'), key: join(dir, 'tls.key'), log },
  reviewers: { '/inject': injectReviewer(DEFAULT_SETTINGS), '/validate': policyReviewer(() => []) },
});
const admin = await serveAdmin(
  { host: '127.0.0.1', port: 0 },
  {
    queue: use.adminAddress,
    status: () => ({}),
    notReady: () => undefined,
    policy: () => ({}),
    metrics: async () => '',
    override: async () => {},
    log,
  },
);
t.teardown(async () => {
  webhook.close();
  admin.server.closeAllConnections();
  admin.server.close();
  await use.stop();
});

const portOf = (address: object): number => (address as { port: number }).port;

/** Where a connection to each leads, and how its requests name it. */
const LISTENERS: Record<string, { open: () => Socket; host: string }> = {
  'admin of the control plane': {
    open: () => connect(portOf(admin.address), '127.0.0.1'),
    host: `127.0.0.1:${portOf(admin.address)}`,
  },
  'admin of the queue': { open: () => connect(use.adminAddress.unix), host: 'layby' },
  'door of the queue': { open: () => connect(use.socket), host: 'api.example' },
  webhook: {
    open: () => connectTls({ host: '127.0.0.1', port: portOf(webhook.address), rejectUnauthorized: false }),
    host: 'localhost',
  },
};

/** The first status of what is answered; 0: hung up on. Rejects where neither comes. */
async function statusOf(open: () => Socket, bytes: Buffer): Promise<{ status: number; body: string }> {
  const socket = open();
  const late = setTimeout(() => socket.destroy(new Error(`no answer to ${bytes.subarray(0, 300)}`)), 20_000);
  // Some are answered before all of them is read.
  socket.write(bytes, () => undefined);
  socket.on('error', () => undefined);
  try {
    const answer = await text(socket).catch((error: Error & { code?: string }) => {
      if (error.code === 'ECONNRESET' || error.code === 'EPIPE') return '';
      throw error;
    });
    const [, status = '0'] =
      /^HTTP\/1\.1 (\d{3})/.exec(answer.replace(/^HTTP\/1\.1 100[\s\S]*?\r\n\r\n/, '')) ?? [];
    return { status: Number(status), body: answer.slice(answer.indexOf('\r\n\r\n') + 4) };
  } finally {
    clearTimeout(late);
    socket.destroy();
  }
}

const request = (line: string, host: string, headers: string[], body: string | Buffer): Buffer =>
  Buffer.concat([
    Buffer.from([line, `Host: ${host}`, 'Connection: close', ...headers, '', ''].join('\r\n'), 'latin1'),
    Buffer.from(body as string),
  ]);

const post = (path: string, host: string, body: string | Buffer, type = 'application/json') =>
  request(
    `POST ${path} HTTP/1.1`,
    host,
    [`Content-Type: ${type}`, `Content-Length: ${Buffer.byteLength(body)}`],
    body,
  );

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'SEARCH', 'TRACE'];
const TARGETS = [
  ...['/', '//', '///', '/?', '//?a=b', '/%', '/%zz', '/%00', '/\\', '/@', '/..', '/.', '/;', '/#', '*', 'a'],
  ...['//x:99999/', '//[', '//[::1', '///v1/status', '/v1/queue//', '/\xff', `/${'a'.repeat(4000)}`],
  ...['http://', 'http://[', 'http://x:99999/', 'http://localhost//', 'HTTP://a@b/', 'ftp://x/', 'http://?'],
  ...[
    '/v1/queue',
    '/v1/queue?olderThan=x',
    '/v1/queue?state=x',
    '/v1/queue/drop',
    '/v1/queue/move',
    '/v1/link',
  ],
  ...[
    '/v1/queue/retry',
    '/v1/queue/drain?ms=x',
    '/v1/queue/audit',
    '/v1/queue/audit?url=%',
    '/v1/queue/entries/-',
  ],
  ...[
    '/v1/queue/entries/0/body',
    '/v1/queue/entries/0/why',
    '/v1/queue/entries/0/edit',
    '/inject',
    '/validate',
  ],
  ...['/.well-known/layby/', '/.well-known/layby/entries/', '/.well-known/layby/entries/%', '/constructor'],
];
const HEADERS = [
  ...['Content-Type: application/json', 'Content-Type: text/plain', 'Content-Type: ;', 'Range: bytes=9-1'],
  ...['Content-Range: bytes 1-2/3', 'Content-MD5: x', 'If-Match: ,', 'If-None-Match: "', 'Prefer: wait=-1'],
  ...['Expect: 100-continue', 'Expect: x', 'Upgrade: x', 'Connection: layby-host', 'TE: x', 'Cookie: \xff'],
  ...['Layby-Host: [', 'Layby-Host: \xff', 'Layby-Request: x', 'Layby-Apps: ,,', 'Layby-Prefix: //', 'X: '],
  ...[
    'Authorization: AWS4-HMAC-SHA256 Credential=',
    'X-Amz-Decoded-Content-Length: -1',
    'X-Amz-Copy-Source: /',
  ],
  ...[
    'Content-Encoding: aws-chunked',
    'X-Amz-Trailer: x',
    'User-Agent: aws-sdk',
    `X-Long: ${'y'.repeat(9000)}`,
  ],
];
const BODIES = [
  ...[
    '',
    '{',
    'null',
    '[]',
    '5',
    '"a"',
    '{}',
    '\xff\xfe',
    '{"select":5}',
    '{"select":{"ids":[5]}}',
    '{"select":[]}',
  ],
  ...[
    '{"select":{"url":5}}',
    '{"select":{"all":1}}',
    '{"select":{"ids":["x"]},"by":5}',
    '{"to":{}}',
    '{"url":5}',
  ],
  ...[
    '{"headers":5}',
    '{"headers":[5]}',
    '{"headers":[["a"]]}',
    '{"removeHeaders":{}}',
    '{"state":{}}',
    '{"state":null}',
  ],
  ...['{"state":"up","destinations":5}', '['.repeat(50_000), '{"apiVersion":"admission.k8s.io/v1"}'],
  ...[
    { uid: 'a' },
    { uid: 'a', object: 5 },
    { uid: 'a', kind: null, object: {} },
    { uid: 'a', object: { spec: {} } },
  ].map((request) => JSON.stringify({ kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', request })),
];

function oddRequest(random: Random, host: string): Buffer {
  const body = oneOf(random, BODIES);
  const framing = oneOf(random, [
    [`Content-Length: ${Buffer.byteLength(body, 'latin1')}`],
    ['Transfer-Encoding: chunked'],
    ['Content-Length: -1'],
    ['Content-Length: 1', 'Content-Length: 2'],
    [],
  ]);
  const chunks = `${body.length.toString(16)}\r\n${body}\r\n${body === '' ? '' : '0\r\n\r\n'}`;
  // What follows a request without a body would be another one.
  const sent = framing.length === 0 ? '' : framing[0]!.startsWith('Transfer') ? chunks : body;
  return request(
    `${oneOf(random, METHODS)} ${oneOf(random, TARGETS)} HTTP/1.1`,
    oneOf(random, [host, host, host, host, '', '[', 'evil.example', '\xff', ':', `${host}:0`]),
    [...framing, ...Array.from({ length: between(random, [0, 3]) }, () => oneOf(random, HEADERS))],
    Buffer.from(sent, 'latin1'),
  );
}

for (const [name, { open, host }] of Object.entries(LISTENERS)) {
  t.test(`${name}: whatever is asked, it is answered and goes on`, async (t) => {
    for (const seed of SEEDS) {
      const random = randomFrom(seed);
      for (let i = 0; i < REQUESTS; i += AT_ONCE) {
        const requests = Array.from({ length: AT_ONCE }, () => oddRequest(random, host));
        await Promise.all(
          requests.map(async (bytes) => {
            const { status, body } = await statusOf(open, bytes);
            // 503 is said by the queue where there is no link; 501 and 505 by HTTP itself.
            if (status === 0 || (status >= 500 && ![501, 503, 505].includes(status)))
              t.fail(`${status} ${body} for seed ${seed}: ${bytes.subarray(0, 400).toString('latin1')}`);
          }),
        );
      }
    }
    const after = await statusOf(open, request('GET /healthz HTTP/1.1', host, [], ''));
    t.ok(after.status > 0 && after.status < 504, 'it still answers');
  });
}

t.test('what is wrong with a request is said by a status and a code', async (t) => {
  const id = String((await use.put('/a', Buffer.from('a'), 'api.example')).headers['layby-entry']);
  for (const name of ['admin of the control plane', 'admin of the queue'] as const) {
    const { open, host } = LISTENERS[name]!;
    const cases: [bytes: Buffer, status: number, said: RegExp][] = [
      [request('GET // HTTP/1.1', host, [], ''), 404, /LAYBY_NOT_FOUND/],
      [request('GET //v1/queue HTTP/1.1', host, [], ''), 404, /LAYBY_NOT_FOUND/],
      [request('GET a HTTP/1.1', host, [], ''), 400, /^(?:.*LAYBY_REQUEST_INVALID.*)?/s],
      [post('/v1/queue/drop', host, '{'), 400, /LAYBY_REQUEST_INVALID.*not JSON/],
      [post('/v1/queue/drop', host, Buffer.from('{"by":"\xff"}', 'latin1')), 400, /not JSON.*UTF-8/],
      [post('/v1/queue/drop', host, 'null'), 400, /the body is not a JSON object/],
      [post('/v1/queue/drop', host, '{"select":{"ids":[5]}}'), 400, /ids of the selection is not a list/],
      [post('/v1/queue/drop', host, '{"select":{"all":true},"by":5}'), 400, /by of the body is not a string/],
      [post(`/v1/queue/entries/${id}/edit`, host, '{"headers":[["a"]]}'), 400, /headers of the body is not/],
      [post('/v1/queue/drop', host, Buffer.alloc(5_000_000, ' ')), 413, /LAYBY_REQUEST_TOO_LARGE/],
    ];
    for (const [bytes, status, said] of cases)
      t.match(await statusOf(open, bytes), { status, body: said }, `${name}: ${bytes.subarray(0, 40)}`);
  }
  const { open, host } = LISTENERS['admin of the control plane']!;
  t.match(await statusOf(open, post('/v1/link', host, '{"state":5}')), {
    status: 400,
    body: /state of the body/,
  });
  t.match(await statusOf(open, post('/v1/link', host, '{')), { status: 400, body: /not JSON/ });
  t.match((await use.admin('/v1/queue')).text, id, 'nothing was dropped');
});

t.test('a character that is cut in two on the way is one', async (t) => {
  const text = Buffer.from('{"by":"Zoë"}');
  const cut = text.indexOf('ë') + 1;
  const pieces = Readable.from([text.subarray(0, cut), text.subarray(cut)]);
  t.same(await readJson(Object.assign(pieces, { headers: {} }) as unknown as IncomingMessage, 100), {
    by: 'Zoë',
  });
});
