// Services other than S3 want a signature over the body as well: whatever way it takes, the hash is that of what arrives. What is too
// long for that is refused, by name.

import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { SIGNED_BODY_BYTES } from '../../src/policy/signature.ts';
import { untilDrained } from './scene.ts';
import { type Signed, startSigned } from './signatures.ts';

t.setTimeout(240_000);

const KIB = 1024;
const MIB = 1024 * KIB;
const TOO_LONG = SIGNED_BODY_BYTES + 1;

interface Call {
  method?: string;
  path: string;
  bytes?: number;
  /** Without a Content-Length. */
  chunked?: boolean;
  /** The body waits for `100 Continue`. */
  asks?: boolean;
}

const call = async (
  { layby }: Signed,
  host: string,
  { method = 'POST', path, bytes = 0, chunked = false, asks = false }: Call,
): Promise<{ status: number; body: string }> => {
  const [address, port] = layby.outbound.split(':');
  const sent = request({
    ...{ host: address, port: Number(port), method, path, agent: false },
    headers: {
      host,
      ...(chunked ? { 'transfer-encoding': 'chunked' } : bytes > 0 ? { 'content-length': bytes } : {}),
      ...(asks && { expect: '100-continue' }),
    },
  });
  sent.on('error', () => {}); // an answer may come before the end of the body
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>;
  if (asks) {
    sent.flushHeaders();
    await once(sent, 'continue');
  }
  sent.end(Buffer.alloc(bytes, path));
  const [answer] = await answered;
  return { status: answer.statusCode!, body: await text(answer) };
};

const CALLS: Call[] = [
  { path: '/none', method: 'GET' },
  { path: '/none', method: 'HEAD' },
  { path: '/none', method: 'DELETE' },
  { path: '/empty' },
  { path: '/one', bytes: 1 },
  { path: '/put', method: 'PUT', bytes: 70 * KIB },
  { path: '/patch?x=+', method: 'PATCH', bytes: 300 * KIB },
  { path: '/retried', bytes: MIB },
  { path: '/long', bytes: 3 * MIB },
  { path: '/longest', bytes: SIGNED_BODY_BYTES },
  { path: '/chunked', bytes: 300 * KIB, chunked: true },
  { path: '/chunked-empty', chunked: true },
  { path: '/asks', bytes: 300 * KIB, asks: true },
];

const arrived = ({ server }: Signed) =>
  server.kept.splice(0).map(({ method, url, body }) => `${method} ${url} ${body.length}`);
const expected = CALLS.map(
  ({ method = 'POST', path, bytes = 0 }) => `${method} ${path.replace('+', '%20')} ${bytes}`,
);

const TYPE = 'https://layby.dev/problems/too-long-to-sign';

t.test('a body is signed with its hash, by every way', async (t) => {
  const signed = await startSigned(t);
  const { layby, server } = signed;
  const failover = 'failover.execute-api.example';
  const never = 'never.execute-api.example';

  for (const host of [failover, never]) {
    for (const one of CALLS) {
      const { status, body } = await call(signed, host, one);
      // Of unknown length it is stored first, and what waits then is sent.
      const right = one.chunked && host === failover ? [307] : [200];
      t.ok(right.includes(status), `${host} ${JSON.stringify(one)}: ${status} ${body}`);
    }
    await untilDrained(layby);
    t.same(arrived(signed).sort(), expected.toSorted(), host);
  }

  await t.test('what is too long is refused by name, and nothing of it is stored', async (t) => {
    for (const [host, one] of [
      [failover, { path: '/too-long', bytes: TOO_LONG }],
      [failover, { path: '/too-long', bytes: TOO_LONG, chunked: true }],
      [never, { path: '/too-long', bytes: TOO_LONG }],
      [never, { path: '/too-long', bytes: TOO_LONG, chunked: true }],
    ] as const) {
      const { status, body } = await call(signed, host, one);
      t.equal(status, 413, `${host} ${JSON.stringify(one)} ${body}`);
      const { type, detail } = JSON.parse(body);
      t.equal(type, TYPE);
      t.match(detail, /upstream\.sign\.aws\.service/);
    }
    t.same(await layby.queue(), []);
    t.same(arrived(signed), []);
  });

  await t.test('stored and replayed', async (t) => {
    await layby.link('down');
    const stored = CALLS.filter(({ method = 'POST' }) => !['GET', 'HEAD', 'DELETE'].includes(method));
    for (const one of stored) t.equal((await call(signed, failover, one)).status, 307, one.path);
    await layby.link('auto');
    await untilDrained(layby);
    t.same(arrived(signed).sort(), expected.filter((line) => !/^(GET|HEAD|DELETE)/.test(line)).sort());
  });
  t.same(server.faults, [], 'no signature was refused');
});
