// Listings: without a link refused, or of what waits alone where the policy says so; with one the bucket's, merged with what waits.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { NO_OVERRIDES } from '../../../src/wire/link-memory.ts';
import { between, oneOf, type Random, randomFrom } from '../../rig/random.ts';
import { testdir } from '../../rig/testdir.ts';
import { type Answer, scene, UNKNOWABLE } from '../scene.ts';
import { allXml, bucket, bucketOf, isError, md5, xml } from './bucket.ts';
import { listedBy, namesIn } from './fake-listing.ts';

// Thousands of entries are stored.
t.setTimeout(120_000);

const BODY = Buffer.from('0123456789');

t.test('what waits is listed, sorted, and marked as not all there is', async (t) => {
  const s3 = await bucket(t, { listings: 'pending' });
  const keys = ['b', 'a/2', 'a/1', 'a/1/x', 'あ', 'a&b', 'z'];
  for (const key of keys)
    await s3.ask('PUT', `/b/${encodeURIComponent(key).replaceAll('%2F', '/')}`, { body: BODY });
  await s3.ask('PUT', '/other/key', { body: BODY });
  await s3.ask('DELETE', '/b/z');
  await s3.ask('DELETE', '/b/never');
  const ask = (query: string) => s3.ask('GET', `/b?${query}`);

  const all = await ask('list-type=2');
  t.equal(all.status, 200);
  t.equal(all.headers['layby-answer'], 'pending');
  t.same(allXml(all, 'Key'), ['a&amp;b', 'a/1', 'a/1/x', 'a/2', 'b', 'あ']);
  t.equal(xml(all, 'ETag'), `&quot;${md5(BODY)}&quot;`);
  t.equal(xml(all, 'Size'), '10');
  t.equal(xml(all, 'KeyCount'), '6');
  t.equal(xml(all, 'IsTruncated'), 'false');

  const folders = await ask('list-type=2&delimiter=%2F');
  t.same(allXml(folders, 'Key'), ['a&amp;b', 'b', 'あ']);
  t.match(folders.text, '<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>');
  t.same(allXml(await ask('list-type=2&prefix=a/&delimiter=/'), 'Key'), ['a/1', 'a/2']);
  t.same(allXml(await ask('list-type=2&start-after=a/1'), 'Key'), ['a/1/x', 'a/2', 'b', 'あ']);
  t.same(allXml(await ask('list-type=2&encoding-type=url&prefix=a%26'), 'Key'), ['a%26b']);
  t.same(allXml(await ask('marker=a/2'), 'Key'), ['b', 'あ'], 'version 1');
  t.same(allXml(await ask('list-type=2&max-keys=0'), 'Key'), []);
  isError(t, await ask('list-type=2&max-keys=-1'), 400, 'InvalidArgument');

  for (const query of [
    'list-type=2&max-keys=1',
    'list-type=2&max-keys=2&delimiter=%2F',
    'max-keys=1&delimiter=%2F',
  ]) {
    const found: string[] = [];
    let token = '';
    for (let pages = 0; pages < 20; pages++) {
      const page = await ask(`${query}${token}`);
      found.push(
        ...allXml(page, 'Key'),
        ...[...page.text.matchAll(/<CommonPrefixes><Prefix>([^<]*)/g)].map(([, p]) => p!),
      );
      if (xml(page, 'IsTruncated') === 'false') break;
      const next = xml(page, 'NextContinuationToken');
      token = next
        ? `&continuation-token=${next}`
        : `&marker=${encodeURIComponent(xml(page, 'NextMarker')!.replace('&amp;', '&'))}`;
    }
    const folded = query.includes('delimiter')
      ? ['a&amp;b', 'a/', 'b', 'あ']
      : ['a&amp;b', 'a/1', 'a/1/x', 'a/2', 'b', 'あ'];
    t.same(found.sort(), folded.sort(), query);
  }
});

t.test('a common prefix counts as one key, also of what waits alone', async (t) => {
  const s3 = await bucket(t, { listings: 'pending' });
  for (const key of ['a/1', 'a/2', 'a/3', 'b/1', 'b/2']) await s3.ask('PUT', `/b/${key}`, { body: BODY });
  for (const query of ['list-type=2&delimiter=%2F', 'delimiter=%2F']) {
    const { names, sizes, kinds } = await pages((page) => s3.ask('GET', `/b?${page}`), `${query}&max-keys=1`);
    t.same([names, sizes, [...kinds]], [['a/', 'b/'], [1, 1], ['pending']]);
    t.same((await pages((page) => s3.ask('GET', `/b?${page}`), `${query}&max-keys=2`)).sizes, [2]);
  }
  const inside = await s3.ask('GET', '/b?list-type=2&delimiter=%2F&prefix=a%2F&start-after=a%2F');
  t.same(allXml(inside, 'Key'), ['a/1', 'a/2', 'a/3'], 'behind the folder itself is what is in it');
});

t.test(
  'without a link a listing is refused, so that nobody takes what it does not name for deleted',
  async (t) => {
    const s3 = await bucket(t);
    await s3.ask('PUT', '/b/k', { body: BODY });
    for (const path of ['/b?list-type=2', '/b', '/b?versions', '/b?uploads', '/', '/b/k?tagging', '/b/k?acl'])
      isError(t, await s3.ask('GET', path), 503, 'ServiceUnavailable');
  },
);

/** A bucket with these keys, before which PUTs and DELETEs wait: there is a link, and nothing is sent. */
const waiting = async (t: Test, keys: readonly string[], name = 's3') => {
  const destination = bucketOf();
  // There is a link, over which nothing that is stored may be sent.
  const s3 = await scene(
    join(testdir(t), name),
    [{ ...destination, replay: { ...destination.replay, links: ['wifi'] } }],
    {
      remembered: { ...NO_OVERRIDES, network: { ...UNKNOWABLE, kind: 'lte' } },
    },
  );
  t.teardown(() => s3.stop());
  s3.link.up = true;
  const there = new Set(keys);
  const asked: string[] = [];
  s3.link.answer = async ({ method, url = '' }) => {
    s3.answer.body = '';
    if (method !== 'GET') return;
    asked.push(url);
    s3.answer.body = listedBy(there, url);
  };
  const path = (key: string) => `/b/${encodeURIComponent(key).replaceAll('%2F', '/')}`;
  return {
    ...s3,
    asked,
    wait: async (puts: readonly string[], deletions: readonly string[]) => {
      for (const key of puts) await s3.ask('PUT', path(key), { body: BODY });
      for (const key of deletions) await s3.ask('DELETE', path(key));
    },
    list: (query: string) => s3.ask('GET', `/b?${query}`),
  };
};

/** All pages of a listing. */
const pages = async (
  list: (query: string) => Promise<Answer>,
  query: string,
): Promise<{ names: string[]; sizes: number[]; kinds: Set<unknown> }> => {
  const names: string[] = [];
  const sizes: number[] = [];
  const kinds = new Set<unknown>();
  const isTwo = query.includes('list-type=2');
  for (let from = ''; ; ) {
    const page = await list(from === '' || isTwo ? query + from : query.replace(/&marker=[^&]*/, '') + from);
    if (page.status !== 200) throw new Error(`${page.status} ${page.text}`);
    const found = namesIn(page.text);
    kinds.add(page.headers['layby-answer']);
    names.push(...found);
    sizes.push(found.length);
    if (sizes.length > 10_000) throw new Error(`no end of ${query}`);
    if (xml(page, 'IsTruncated') === 'false') return { names, sizes, kinds };
    from = isTwo
      ? `&continuation-token=${encodeURIComponent(xml(page, 'NextContinuationToken')!)}`
      : `&marker=${xml(page, 'NextMarker') ?? encodeURIComponent(found.at(-1)!)}`;
  }
};

t.test('with a link what waits is merged into what the bucket has', async (t) => {
  const s3 = await waiting(t, ['a', 'b', 'c', 'd/1', 'd/2', 'e/1']);
  await s3.wait(['aa', 'b', 'd/3', 'f/1'], ['c', 'e/1', 'never']);
  const listed = await s3.list('list-type=2&encoding-type=url');
  t.equal(listed.headers['layby-answer'], 'merged');
  t.same(namesIn(listed.text), ['a', 'aa', 'b', 'd/1', 'd/2', 'd/3', 'f/1']);
  t.same(allXml(listed, 'Size'), ['1', '10', '10', '1', '1', '10', '10'], 'the PUT that waits is the object');
  t.equal(xml(listed, 'KeyCount'), '7');
  t.same(
    (await pages(s3.list, 'list-type=2&delimiter=%2F&encoding-type=url')).names,
    ['a', 'aa', 'b', 'd/', 'f/'],
    'no folder whose last object is being deleted',
  );
  t.same(
    s3.sent.filter(({ method }) => method !== 'GET'),
    [],
    'and nothing of it was sent',
  );
});

t.test('what nothing that waits concerns is passed on as it came', async (t) => {
  const s3 = await waiting(t, ['a', 'b']);
  await s3.wait(['x/1'], []);
  const query = 'list-type=2&prefix=a&max-keys=7&x-id=ListObjectsV2';
  t.match(await s3.list(query), { status: 200, headers: { 'layby-answer': undefined } });
  t.same(s3.asked, [`/b?${query}`]);
});

const KEYS = [
  'a',
  'a/',
  'a/1',
  'a/1/x',
  'a/2',
  'a b',
  'a+b',
  'a&b',
  'ab',
  'b/1',
  'b/2/3',
  'b/2/4',
  'c',
  'あ',
  'あ/1',
  'z<>"',
  'z',
];

const someOf = (random: Random, share: number): string[] => KEYS.filter(() => random() < share);

t.test('every page is as the bucket gives it when all has arrived', async (t) => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = randomFrom(seed);
    const there = someOf(random, 0.6);
    const s3 = await waiting(t, there, `seed-${seed}`);
    const [puts, deletions] = [someOf(random, 0.3), someOf(random, 0.4)];
    await s3.wait(puts, deletions);
    const after = new Set([...there, ...puts].filter((key) => !deletions.includes(key)));
    for (let i = 0; i < 40; i++) {
      const asked = [
        oneOf(random, ['list-type=2', 'x-id=ListObjects']),
        `max-keys=${between(random, [1, 8])}`,
        oneOf(random, ['', 'delimiter=%2F', 'delimiter=%2F', 'delimiter=1']),
        oneOf(random, ['', '', 'prefix=a', 'prefix=a%2F', 'prefix=b%2F2', 'prefix=none']),
      ];
      const start = oneOf(random, ['', '', 'a', 'a/1', 'a/', 'b/2/3', 'zz']);
      if (start !== '')
        asked.push(`${asked[0] === 'list-type=2' ? 'start-after' : 'marker'}=${encodeURIComponent(start)}`);
      const query = [...asked, 'encoding-type=url'].filter((text) => text !== '').join('&');
      const wanted = await pages(
        async (page) => ({ status: 200, headers: {}, text: listedBy(after, `/b?${page}`) }) as Answer,
        query,
      );
      const { names, sizes } = await pages(s3.list, query);
      t.same(names, wanted.names, `seed ${seed}: ${query}`);
      t.same(sizes, wanted.sizes, `seed ${seed}: as many on each page of ${query}`);
    }
  }
});

t.test('more deletions wait than a window and a page hold', async (t) => {
  const names = Array.from({ length: 2100 }, (_, i) => `d/${String(i).padStart(4, '0')}`);
  const s3 = await waiting(t, [...names, 'e']);
  const body = (keys: string[]) =>
    Buffer.from(`<Delete>${keys.map((key) => `<Object><Key>${key}</Key></Object>`).join('')}</Delete>`);
  const kept = 'd/2099';
  for (let i = 0; i < names.length; i += 1000) {
    const keys = names.slice(i, i + 1000).filter((key) => key !== kept);
    t.equal((await s3.ask('POST', '/b?delete', { body: body(keys) })).status, 200);
  }
  t.same((await pages(s3.list, 'list-type=2')).names, [kept, 'e']);
  t.same((await pages(s3.list, 'list-type=2&delimiter=%2F')).names, ['e', 'd/'].sort());
  t.same((await pages(s3.list, 'max-keys=1')).names, [kept, 'e']);
  await s3.wait([], [kept]);
  t.same((await pages(s3.list, 'list-type=2&delimiter=%2F')).names, ['e']);
});

t.test('a token is good wherever the link then is, and one of the bucket is not guessed at', async (t) => {
  const s3 = await waiting(t, ['a', 'b', 'c', 'd']);
  await s3.wait(['aa'], []);
  const token = xml(await s3.list('list-type=2&max-keys=2'), 'NextContinuationToken')!;
  t.match(token, /^layby-/);
  t.same(namesIn((await s3.list(`list-type=2&continuation-token=${token}`)).text), ['b', 'c', 'd']);
  isError(t, await s3.list('list-type=2&continuation-token=of-the-bucket'), 503, 'ServiceUnavailable');
  isError(t, await s3.list('list-type=2&continuation-token=layby-!'), 400, 'InvalidArgument');
  const other = await waiting(t, ['a', 'b', 'c', 'd'], 'other');
  t.same(namesIn((await other.list(`list-type=2&continuation-token=${token}`)).text), ['b', 'c', 'd']);
  other.link.up = false;
  isError(t, await other.list(`list-type=2&continuation-token=${token}`), 503, 'ServiceUnavailable');
});

t.test("S3's refusal of a listing is the app's, and a portal's page is none", async (t) => {
  const s3 = await waiting(t, ['a']);
  await s3.wait(['b'], []);
  const answer = (status: number, headers: Record<string, string>, body: string) => {
    s3.link.answer = async () => void Object.assign(s3.answer, { status, headers, body });
  };
  answer(
    403,
    { 'content-type': 'application/xml', 'x-amz-request-id': '1' },
    '<Error><Code>AccessDenied</Code></Error>',
  );
  const refused = await s3.list('list-type=2');
  t.match(refused, { status: 403, headers: { 'x-amz-request-id': '1' }, text: /AccessDenied/ });
  answer(200, { 'content-type': 'text/html' }, '<html>please log in</html>');
  isError(t, await s3.list('list-type=2'), 503, 'ServiceUnavailable');
  answer(302, { location: 'http://login.example/' }, '');
  isError(t, await s3.list('list-type=2'), 503, 'ServiceUnavailable');
});

t.test('a listing is not half a truth about the end of an upload', async (t) => {
  const s3 = await waiting(t, ['a', 'z']);
  const part = Buffer.from(
    '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>',
  );
  t.equal((await s3.ask('POST', '/b/d/k?uploadId=theirs', { body: part })).status, 200);
  isError(t, await s3.list('list-type=2'), 503, 'ServiceUnavailable');
  t.same(namesIn((await s3.list('list-type=2&delimiter=%2F')).text).sort(), ['a', 'd/', 'z']);
  t.same(namesIn((await s3.list('list-type=2&max-keys=1')).text), ['a'], 'pages before it are known');
});

t.test('reads of the bucket that what waits would change are refused, all others pass', async (t) => {
  const s3 = await waiting(t, ['a']);
  const list = Buffer.from(
    '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>',
  );
  await s3.wait(['p/a'], []);
  await s3.ask('PUT', '/b/t?tagging', { body: Buffer.from('<Tagging><TagSet></TagSet></Tagging>') });
  await s3.ask('DELETE', '/b/v?versionId=1');
  await s3.ask('PUT', '/b/u/k?partNumber=1&uploadId=theirs', { body: BODY });
  await s3.ask('POST', '/b/u/k?uploadId=theirs', { body: list });
  const refused = [
    '/b?versions',
    '/b?versions&prefix=p',
    '/b?versions&prefix=v',
    '/b?uploads&prefix=u',
    '/b/u/k?uploadId=theirs',
    '/b/p/a?tagging',
    '/b/p/a?attributes',
    '/b/t?tagging',
    '/b/v?versionId=1',
  ];
  const passed = [
    '/',
    '/b?versions&prefix=t',
    '/b?uploads&prefix=p',
    '/b?versioning',
    '/b/u/k?uploadId=another',
    '/b/a?tagging',
    '/b/p/a?versionId=9',
    '/b/v?versionId=2',
  ];
  for (const path of refused) isError(t, await s3.ask('GET', path), 503, 'ServiceUnavailable');
  for (const path of passed) t.equal((await s3.ask('GET', path)).status, 200, path);
  t.same(s3.asked, passed);
});

t.test('an owner is told where S3 tells one', async (t) => {
  const s3 = await waiting(t, ['a']);
  await s3.wait(['b'], []);
  const owners = async (query: string) => allXml(await s3.list(query), 'ID');
  t.same(await owners('list-type=2'), []);
  t.same(await owners('list-type=2&fetch-owner=true'), ['owner', 'layby']);
  t.same(await owners('prefix='), ['owner', 'layby'], 'version 1, always');
});
