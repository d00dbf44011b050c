// Every key that S3 allows, however an app spells it: direct, through the queue, and replayed, it is signed as S3 wants it and
// names the object that the app meant, byte for byte.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { rawCall } from '../docs/raw-destination.ts';
import { noGo } from '../rig/go.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { startS3 } from '../rig/s3.ts';
import { startSigV4 } from '../rig/sigv4.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

const KEYS = { id: 'LAYBYRIGKEYID0000000', secret: 'layby/rig+secret/0123456789abcdefghijklm' };

/** The path as an app may write it, and the key that it means. */
const SPELLINGS: [spelling: string, key: string][] = [
  ['plain-key_1.mp4', 'plain-key_1.mp4'],
  ['a+b', 'a+b'],
  ['a%2Bb', 'a+b'],
  ['a%2bb', 'a+b'],
  ['a=b:c~d', 'a=b:c~d'],
  ['a%3Db%3Ac%7Ed', 'a=b:c~d'],
  ['%7e', '~'],
  ["a!b$c&d'e(f)g*h,i;j@k", "a!b$c&d'e(f)g*h,i;j@k"],
  ['a%21b%24c%26d%27e%28f%29g%2Ah%2Ci%3Bj%40k', "a!b$c&d'e(f)g*h,i;j@k"],
  ['sp%20a:b', 'sp a:b'],
  ['%E3%81%82', 'あ'],
  ['%e3%81%82+b', 'あ+b'],
  ['e%CC%81-%C3%A9', 'e\u0301-\u00e9'],
  ['%F0%9F%9A%97.jpg', '🚗.jpg'],
  ['%61%62%2D%2E%5F', 'ab-._'],
  ['100%25', '100%'],
  ['a%252Fb', 'a%2Fb'],
  ['a%23b%3Fc', 'a#b?c'],
  ['%22%3C%3E%7C%5E%60%7B%7D%5B%5D%5C', '"<>|^`{}[]\\'],
  ['"<>|^`{}[]', '"<>|^`{}[]'],
  ['tab%09newline%0Adel%7F', 'tab\tnewline\ndel\x7f'],
  ['a%2Fb', 'a/b'],
  ['.hidden/..two/three...', '.hidden/..two/three...'],
  [`long/${'k'.repeat(200)}/${'%E3%81%82'.repeat(60)}`, `long/${'k'.repeat(200)}/${'あ'.repeat(60)}`],
  ['a//b', 'a//b'],
  ['/a', '/a'],
  ['a/', 'a/'],
  ['a/./b', 'a/./b'],
  ['a/../b', 'a/../b'],
  ['%2E%2E/a+b', '../a+b'],
  ['a/%2e/%7E//+/..', 'a/./~//+/..'],
];
/** Servers that keep objects in files cannot have these, nor names of more than 255 bytes. */
const NO_FILE = /(^|\/)(\.{1,2})?(\/|$)|[\u3042]{60}/;

type Ways = Record<'direct' | 'through the queue' | 'replayed', string>;
const bodyOf = (way: keyof Ways, i: number): string => `${way} ${i}`;

const call = async (
  layby: Layby,
  host: string,
  method: string,
  path: string,
  headers: string[],
  body = '',
) => {
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${host}`, 'Connection: close', ...headers, '', body];
  const answer = await rawCall(layby.outbound, lines.join('\r\n'));
  return Number(/^HTTP\/1.1 (\d+)/.exec(answer)?.[1]);
};

const put = (layby: Layby, host: string, path: string, body: string) =>
  call(layby, host, 'PUT', path, [`Content-Length: ${body.length}`], body);

/** Framed bodies always pass the queue, which cuts them through. */
const putFramed = (layby: Layby, host: string, path: string, body: string) => {
  const frames = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  const headers = [
    'x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    'content-encoding: aws-chunked',
    `x-amz-decoded-content-length: ${body.length}`,
    `Content-Length: ${frames.length}`,
  ];
  return call(layby, host, 'PUT', path, headers, frames);
};

const meshTo = async (t: Test, url: string): Promise<Layby> => {
  const layby = await startLayby({
    data: join(t.testdirName, 'data'),
    policy: policyOf({ name: 's3', url, sign: true, store: { receipt: 'auto' }, replay: { concurrency: 4 } }),
    env: { AWS_ACCESS_KEY_ID: KEYS.id, AWS_SECRET_ACCESS_KEY: KEYS.secret },
  });
  t.teardown(() => layby.kill9('all'));
  await untilSidecar(layby);
  return layby;
};

/** Each object has a folder of its own, since several spellings mean one key. */
const pathOf = (i: number): string => `/dashcam/${i}/${SPELLINGS[i]![0]}`;

const HOST = 's3.example';

/** All three ways; `after` sees what the server has by then. */
const upload = async (
  t: Test,
  layby: Layby,
  which: number[],
  after: (way: keyof Ways) => Promise<void>,
): Promise<void> => {
  for (const i of which)
    t.equal(await put(layby, HOST, pathOf(i), bodyOf('direct', i)), 200, `direct ${pathOf(i)}`);
  await after('direct');
  for (const i of which)
    t.equal(
      await putFramed(layby, HOST, pathOf(i), bodyOf('through the queue', i)),
      200,
      `through ${pathOf(i)}`,
    );
  await after('through the queue');
  for (const i of which) t.equal(await call(layby, HOST, 'GET', pathOf(i), []), 200, `read ${pathOf(i)}`);
  t.same(await layby.queue(), [], 'nothing of that was stored');
  await layby.link('down');
  for (const i of which) {
    const status = await put(layby, HOST, pathOf(i), bodyOf('replayed', i));
    t.equal(status, 307, `without a link ${pathOf(i)}`);
    t.equal(await call(layby, HOST, 'GET', pathOf(i), []), 200, `read without a link ${pathOf(i)}`);
  }
  await layby.link('auto');
  await untilDrained(layby);
  await after('replayed');
};

t.test('as S3 signs, with every byte of the path kept', async (t) => {
  testdir(t);
  const s3 = await startSigV4(KEYS);
  t.teardown(() => s3.stop());
  const layby = await meshTo(t, s3.url);
  const all = SPELLINGS.map((_, i) => i);
  await upload(t, layby, all, async (way) => {
    const puts = s3.kept.splice(0).filter(({ method }) => method === 'PUT');
    t.same(
      Object.fromEntries(puts.map(({ key, body }) => [key, body])),
      Object.fromEntries(all.map((i) => [`${i}/${SPELLINGS[i]![1]}`, bodyOf(way, i)])),
      way,
    );
    t.equal(puts.length, all.length, 'each once');
  });
});

t.test('at a strict server of S3', { skip: noGo }, async (t) => {
  const s3 = await startS3({ server: 'versitygw', dir: join(testdir(t), 's3'), buckets: ['dashcam'] });
  t.teardown(() => s3.stop());
  const layby = await meshTo(t, s3.url);
  const which = SPELLINGS.flatMap(([, key], i) => (NO_FILE.test(key) ? [] : [i]));
  await upload(t, layby, which, async (way) => {
    const objects = await s3.objects();
    t.same(
      Object.fromEntries(objects.map(({ key, sha256: sum }) => [key, sum])),
      Object.fromEntries(which.map((i) => [`${i}/${SPELLINGS[i]![1]}`, sha256(Buffer.from(bodyOf(way, i)))])),
      way,
    );
  });
});
