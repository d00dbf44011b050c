// What an operator may change of an entry, and what not.

import t from 'tap';
import { type EditRequest, planEdit } from '../../src/queue/operator/edit.ts';
import { newHead } from '../../src/store/conformance.ts';
import { destinationOf } from './scene.ts';

const dashcam = destinationOf('dashcam', { order: 'key' });
const signed = {
  ...destinationOf('bucket'),
  upstream: { url: 'https://s3.example', sign: { aws: { service: 's3', region: 'x' } } },
};
const policy = { version: '1', destinations: [dashcam, signed, destinationOf('other')] };
const entry = {
  ...newHead({ url: 'http://dashcam.example/a?sig=topsecret', headers: ['A', '1', 'x-b', '2', 'a', '3'] }),
  seq: 1,
  bytes: 0,
  sha256: '',
  trailers: [],
  state: 'dead' as const,
  attempts: 1,
};
const plan = (request: EditRequest, of = entry) => planEdit(of, request, policy);

t.test('a header takes the place of all of its name; another URL brings its order key', async (t) => {
  const { edit, words } = plan({
    url: 'http://DASHCAM.example:80/b%20c?q=topsecret',
    headers: [['a', 'topsecret']],
    removeHeaders: ['X-B', 'not-there'],
  });
  t.same(edit, {
    url: 'http://DASHCAM.example:80/b%20c?q=topsecret',
    orderKey: 'dashcam.example/b%20c',
    headers: ['a', 'topsecret'],
    restart: true,
  });
  t.equal(
    words,
    'url http://dashcam.example/a?… → http://DASHCAM.example:80/b%20c?…; set a; removed X-B, not-there',
  );
  t.equal(plan({ url: 'http://dashcam.example' }).edit.url, 'http://dashcam.example/');
});

t.test('an upload that is begun goes on only where nothing but credentials changes', async (t) => {
  t.notOk(plan({ headers: [['Authorization', 'new']], removeHeaders: ['X-Api-Key'] }).edit.restart);
  t.ok(plan({ headers: [['Content-Type', 'video/mp4']] }).edit.restart);
  t.ok(plan({ url: 'http://dashcam.example/a?sig=new' }).edit.restart);
  t.notOk(plan({ url: entry.url }).edit.restart, 'the same');
});

t.test('a URL of S3 is spelled as a request would be, and judged by what was written', async (t) => {
  const bucket = { ...signed, hosts: ['*.s3.example'], store: { ...signed.store, order: 'key' as const } };
  const of = { ...entry, destination: 'bucket' };
  const request = { url: 'http://clips.s3.example/a%7Eb?x' };
  const { edit } = planEdit(of, request, { version: '1', destinations: [bucket] });
  t.match(edit, {
    url: 'http://s3.example/clips/a~b?x',
    orderKey: 's3.example/clips/a~b',
    judgedPath: '/a%7Eb',
  });
});

t.test('parts of one upload of S3 keep their order where the policy asks for none', async (t) => {
  const unordered = { ...signed, store: { ...signed.store, order: 'none' as const } };
  const of = { ...entry, destination: 'bucket' };
  const plan = (url: string) => planEdit(of, { url }, { version: '1', destinations: [unordered] }).edit;
  t.equal(plan('http://bucket.example/clips/k?partNumber=1&uploadId=x').orderKey, '/clips/k');
  t.equal(plan('http://bucket.example/clips/k').orderKey, '');
});

t.test('bytes go to hosts of the same destination only, whatever is written', async (t) => {
  for (const url of [
    'http://other.example/a',
    'http://nobody.example/a',
    'https://dashcam.example/a',
    'http://dashcam.example@other.example/a',
    'http://dashcam.example/a b',
    'http://dashcam.example/a#b',
    'http://dashcam.example/a\r\nHost: x',
    'http://dashcam.example\\@other.example/',
    '/a',
    '',
  ])
    t.throws(() => plan({ url }), { code: 'LAYBY_EDIT_REFUSED' }, url);
});

t.test('headers of the hop, of the sidecar and of a signature are not an operator to set', async (t) => {
  for (const name of ['Host', 'content-length', 'Connection', 'Transfer-Encoding', 'layby-destination'])
    t.throws(() => plan({ headers: [[name, 'x']] }), { code: 'LAYBY_EDIT_REFUSED' }, name);
  for (const header of [
    ['a b', 'x'],
    ['', 'x'],
    ['a', 'x\r\ny: z'],
    ['a', 'x'.repeat(50_000)],
  ] as [string, string][])
    t.throws(() => plan({ headers: [header] }), { code: 'LAYBY_EDIT_REFUSED' });
  const inBucket = { ...entry, destination: 'bucket' };
  t.throws(() => plan({ headers: [['Authorization', 'x']] }, inBucket), { code: 'LAYBY_EDIT_REFUSED' });
  t.same(plan({ headers: [['Authorization', 'x']] }).words, 'set Authorization');
  t.throws(() => plan({}), { code: 'LAYBY_EDIT_REFUSED', message: /nothing is to be changed/ });
  t.throws(() => plan({ removeHeaders: ['a'] }, { ...entry, destination: 'gone' }), {
    code: 'LAYBY_EDIT_REFUSED',
    message: /names no destination gone/,
  });
});
