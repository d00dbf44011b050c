// What an unmodified client sees of a receipt, and what one that follows the 307 may do: the quick ones. All of them, and all
// situations: test/slow/clients.test.ts and s3-clients.test.ts.

import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type CurlAnswer, type CurlOptions, curl } from '../rig/app.ts';
import { bodyFile } from '../rig/clients/body-file.ts';
import { upload } from '../rig/clients/uploads/uploader.ts';
import { UPLOADERS } from '../rig/clients/uploads/uploaders.ts';
import { startLayby } from '../rig/layby.ts';
import { noRoad } from '../rig/namespaces.ts';
import { Oracle } from '../rig/oracle.ts';
import { testdir } from '../rig/testdir.ts';
import { makeScene, policyOf, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

const RECEIPTS = ['redirect', 'accepted', 's3', 'auto'] as const;
const SDK = 'User-Agent: aws-sdk-js/3.1.0';
const MD5_OF_BODY = '841a2d689ad86bd1611447453c22c6fc';

const offline = async (t: Test) => {
  const dir = testdir(t);
  const oracle = await Oracle.start({ file: join(dir, 'cloud.jsonl') });
  t.teardown(() => oracle.stop());
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf(
      ...RECEIPTS.flatMap((receipt) => [
        { name: receipt, url: oracle.url, store: { receipt } },
        { name: `signed-${receipt}`, url: oracle.url, sign: true, store: { receipt } },
      ]),
    ),
    env: { AWS_ACCESS_KEY_ID: 'LAYBYRIGKEYID0000000', AWS_SECRET_ACCESS_KEY: 'no secret' },
  });
  t.teardown(() => layby.kill9('all'));
  await untilSidecar(layby);
  await layby.link('down');
  const call = (url: string, options: CurlOptions) =>
    curl(url, { via: layby.outbound, maxTime: 20, ...options });
  return { oracle, layby, call };
};

/** Every header but `date`, and that there is no body. */
const said = (t: Test, answer: CurlAnswer): object => {
  t.equal(answer.body.length, 0, 'no body');
  const { date: _, ...rest } = Object.fromEntries(answer.headers);
  return { status: answer.status, ...rest };
};

t.test('a receipt has these headers and no others', async (t) => {
  const { call } = await offline(t);
  const put = (receipt: string, headers: string[] = [], method = 'PUT') =>
    call(`http://${receipt}.example/b/k`, { method, headers, ...(method === 'PUT' ? { body: 'body' } : {}) });
  const common = (answer: CurlAnswer) => {
    const entry = answer.headers.get('layby-entry')!;
    t.match(entry, /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
    return { 'layby-entry': entry, 'cache-control': 'no-store' };
  };
  for (const [receipt, headers] of [
    ['redirect', []],
    ['redirect', [SDK]],
    ['auto', []],
  ] as const) {
    const answer = await put(receipt, [...headers]);
    const known = common(answer);
    const location = `/.well-known/layby/entries/${known['layby-entry']}`;
    t.same(said(t, answer), { status: 307, location, 'content-length': '0', ...known });
  }
  const accepted = await put('accepted');
  t.same(said(t, accepted), {
    ...{ status: 202, etag: `"${sha256(Buffer.from('body'))}"`, 'content-length': '0' },
    ...common(accepted),
  });
  for (const [receipt, headers] of [
    ['s3', []],
    ['s3', [SDK]],
    ['auto', [SDK]],
    ['auto', ['x-amz-content-sha256: UNSIGNED-PAYLOAD']],
    ['auto', ['Authorization: AWS4-HMAC-SHA256 Credential=a']],
  ] as const) {
    const answer = await put(receipt, [...headers]);
    const etag = `"${MD5_OF_BODY}"`;
    t.same(said(t, answer), { status: 200, etag, 'content-length': '0', ...common(answer) });
  }
  const deleted = await put('s3', [SDK], 'DELETE');
  t.same(said(t, deleted), { status: 204, ...common(deleted) });
});

t.test(
  'what cannot be answered is refused in the words of the client, and S3 clients are told no time',
  async (t) => {
    const { call } = await offline(t);
    const plain = await call('http://auto.example/b/other', {});
    t.equal(plain.status, 503);
    t.equal(plain.headers.get('content-type'), 'application/problem+json');
    t.match(plain.headers.get('retry-after'), /^[0-9]$/);
    const toSdk = await call('http://auto.example/b/other', { headers: [SDK] });
    t.equal(toSdk.status, 503);
    t.equal(toSdk.headers.get('content-type'), 'application/xml');
    t.equal(toSdk.headers.get('retry-after'), undefined);
    t.equal(toSdk.headers.get('x-amz-bucket-region'), undefined);
  },
);

t.test('after a 307 an S3 client is told no region to which it could send all again', async (t) => {
  const { call } = await offline(t);
  for (const [receipt, region] of [
    ['redirect', undefined],
    ['accepted', 'us-east-1'],
    ['s3', 'us-east-1'],
  ] as const) {
    const bucket = await call(`http://signed-${receipt}.example/bucket`, { method: 'HEAD', headers: [SDK] });
    t.equal(bucket.status, 200);
    t.equal(bucket.headers.get('x-amz-bucket-region'), region, receipt);
  }
});

t.test(
  'a client that follows stores nothing twice, whether it sends all again, nothing, or half',
  async (t) => {
    const { layby, oracle, call } = await offline(t);
    const [host = '', port = ''] = layby.outbound.split(':');
    const body = 'x'.repeat(100_000);
    const first = await call('http://redirect.example/once', { method: 'PUT', body });
    const head = `PUT ${first.headers.get('location')} HTTP/1.1\r\nHost: redirect.example\r\n`;
    const half = body.slice(0, 50_000);
    const chunk = `${half.length.toString(16)}\r\n${half}\r\n`;
    /** Writes, then waits for the answer, ends its side, or resets the connection. */
    const follow = async (bytes: string, then: 'wait' | 'end' | 'reset'): Promise<string> => {
      const socket = connect(Number(port), host);
      let answer = '';
      socket.on('data', (piece) => {
        answer += piece.toString('latin1');
      });
      await once(socket, 'connect');
      await new Promise<void>((written) => socket.write(bytes, 'latin1', () => written()));
      if (then === 'reset') socket.resetAndDestroy();
      if (then === 'end') socket.end();
      await once(socket, 'close');
      return answer.slice(0, 12);
    };
    const length = `Content-Length: ${body.length}\r\n`;
    const chunked = 'Transfer-Encoding: chunked\r\n';
    const close = 'Connection: close\r\n\r\n';
    t.equal(await follow(head + length + close + body, 'wait'), 'HTTP/1.1 200', 'all');
    t.equal(
      await follow(`${head + chunked + close + chunk}0\r\n\r\n`, 'wait'),
      'HTTP/1.1 200',
      'half, as if whole',
    );
    t.equal(await follow(`${head}Content-Length: 0\r\n${close}`, 'wait'), 'HTTP/1.1 200', 'nothing');
    t.equal(await follow(`${head + chunked + close}0\r\n\r\n`, 'wait'), 'HTTP/1.1 200', 'nothing, in chunks');
    for (const framing of [length, chunked])
      for (const then of ['end', 'reset'] as const) {
        const sent = head + framing + close + (framing === chunked ? chunk : half);
        t.not(await follow(sent, then), 'HTTP/1.1 200', 'half, and gone');
      }
    const again = await call('http://redirect.example/followed', {
      ...{ method: 'PUT', body, follow: true, headers: ['Expect: 100-continue'] },
    });
    t.match(again, { status: 200, exitCode: 0 }, 'with Expect');
    t.same(
      (await layby.queue()).map(({ url, bytes }) => [url, bytes]),
      [
        ['http://redirect.example/once', body.length],
        ['http://redirect.example/followed', body.length],
      ],
    );
    await layby.link('auto');
    await untilDrained(layby);
    const arrivals = (await oracle.requests()).map((arrival) => [arrival.path, arrival.sha256]);
    const sum = sha256(Buffer.from(body));
    t.same(arrivals.sort(), [
      ['/followed', sum],
      ['/once', sum],
    ]);
  },
);

const QUICK = ['curl -T FILE', 'curl -L -T FILE', 'curl -L -T -', 'Node fetch: string', 'Node fetch: stream'];

t.test('clients see the receipt, and their request arrives once', { skip: noRoad }, async (t) => {
  const kinds = RECEIPTS.slice(0, 3);
  const scene = await makeScene(t, {
    outboundPort: 80,
    destinations: ({ url }) => kinds.map((receipt) => ({ name: receipt, url, store: { receipt } })),
  });
  const { road, layby, oracle, dir } = scene;
  await road.names(kinds.map((receipt) => `${receipt}.example`));
  const file = await bodyFile(join(dir, 'body'), 300_000);
  await layby.link('down');
  const on307 = { follows: '200', 'hands it back': '307', fails: 'an error' };
  const paths: string[] = [];
  for (const client of UPLOADERS.filter(({ name }) => QUICK.includes(name)))
    for (const receipt of kinds) {
      paths.push(`/${paths.length}`);
      const url = `http://${receipt}.example${paths.at(-1)}`;
      const { status, error } = await upload(client, { url, file: file.path, road });
      const wanted = { redirect: on307[client.on307], accepted: '202', s3: '200', auto: '' }[receipt];
      t.equal(error === undefined ? `${status}` : 'an error', wanted, `${client.name}, ${receipt}`);
    }
  t.equal(paths.length, 3 * QUICK.length);
  await layby.link('auto');
  await untilDrained(layby);
  t.same(
    (await oracle.requests()).map(({ path, sha256 }) => [path, sha256]).sort(),
    paths.map((path) => [path, file.sha256]).sort(),
  );
});
