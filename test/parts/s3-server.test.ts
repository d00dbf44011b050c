import { createHash, createHmac } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import t from 'tap';
import { findRclone } from '../../src/parts/rclone.ts';
import { type S3Server, startS3Server } from '../../src/parts/s3-server.ts';
import { testdir } from '../rig/testdir.ts';

const log = pino({ level: 'silent' });
const accessKey = 'LAYBYTESTACCESSKEY00';
const secretKey = 'a/secret+key';

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A PUT signed by AWS Signature Version 4. */
const put = (url: string, body: string, secret: string, region: string): Promise<Response> => {
  const { host, pathname } = new URL(url);
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const headers = { host, 'x-amz-content-sha256': sha256(body), 'x-amz-date': date };
  const names = Object.keys(headers).join(';');
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
  const canonical = ['PUT', pathname, '', lines.join(''), names, sha256(body)].join('\n');
  const scope = [date.slice(0, 8), region, 's3', 'aws4_request'];
  const key = scope.reduce<string | Buffer>(hmac, `AWS4${secret}`);
  const signature = hmac(
    key,
    ['AWS4-HMAC-SHA256', date, scope.join('/'), sha256(canonical)].join('\n'),
  ).toString('hex');
  const credential = [accessKey, ...scope].join('/');
  const authorization = `AWS4-HMAC-SHA256 Credential=${credential}, SignedHeaders=${names}, Signature=${signature}`;
  return fetch(url, { method: 'PUT', headers: { ...headers, authorization }, body });
};

const rclone = await findRclone();
const start = (dir: string, listen = '127.0.0.1:0'): Promise<S3Server> =>
  startS3Server({ rclone, dir, listen, accessKey, secretKey, log });

t.test('a signed PUT becomes a file, whatever the region, and others are refused', async (t) => {
  const dir = join(testdir(t, {}), 's3');
  const server = await start(dir);
  t.teardown(() => server.stop());
  mkdirSync(join(dir, 'clips'));
  for (const region of ['us-east-1', 'ap-northeast-1']) {
    const answer = await put(`${server.url}/clips/${region}/a.txt`, region, secretKey, region);
    t.equal(answer.status, 200, await answer.text());
    t.equal(readFileSync(join(dir, 'clips', region, 'a.txt'), 'utf8'), region);
  }
  const forged = await put(`${server.url}/clips/forged`, 'x', 'another secret', 'us-east-1');
  t.equal(forged.status, 403);
  const unsigned = await fetch(`${server.url}/clips/unsigned`, { method: 'PUT', body: 'x' });
  t.equal(unsigned.status, 400, 'rclone says UnsupportedAlgorithm where AWS says 403');
  t.same(readdirSync(join(dir, 'clips')).sort(), ['ap-northeast-1', 'us-east-1']);
});

t.test('the keys are not in the arguments, and stop ends the process', async (t) => {
  const server = await start(testdir(t, {}));
  const argv = readFileSync(`/proc/${server.pid}/cmdline`, 'utf8');
  t.match(argv, /rclone.*serve/s);
  t.notMatch(argv, accessKey);
  t.notMatch(argv, secretKey);
  await server.stop();
  t.throws(() => process.kill(server.pid, 0), { code: 'ESRCH' });
});

t.test('a port that is taken is an error with the words of rclone', async (t) => {
  const dir = testdir(t, {});
  const server = await start(dir);
  t.teardown(() => server.stop());
  const second = start(dir, new URL(server.url).host);
  await t.rejects(second, { code: 'LAYBY_S3_NOT_STARTED', message: /address already in use/ });
});

t.test('keys that rclone cannot take are refused', async (t) => {
  const options = { rclone, dir: testdir(t, {}), listen: '127.0.0.1:0', log };
  for (const wrong of ['', 'a,b', 'a"b', 'a b']) {
    await t.rejects(startS3Server({ ...options, accessKey, secretKey: wrong }), {
      code: 'LAYBY_S3_KEYS_INVALID',
    });
  }
});
