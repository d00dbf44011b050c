// What S3 certainly refuses has no receipt: it would be a dead letter of which the app never hears.

import t from 'tap';
import { testdir } from '../../rig/testdir.ts';
import { scene } from '../scene.ts';
import { bucket, bucketOf, isError, stored } from './bucket.ts';

const BODY = Buffer.from('0123456789');
const many = Array.from({ length: 11 }, (_, i) => `k${i}`);
const xmlOf = (tags: [key: string, value: string][]): string =>
  `<Tagging><TagSet>${tags.map(([key, value]) => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`).join('')}</TagSet></Tagging>`;

const HEADERS: [headers: Record<string, string>, code: string][] = [
  [{ 'x-amz-tagging': many.join('&') }, 'BadRequest'],
  [{ 'x-amz-tagging': `${'k'.repeat(129)}=1` }, 'InvalidTag'],
  [{ 'x-amz-tagging': `k=${'v'.repeat(257)}` }, 'InvalidTag'],
  [{ 'x-amz-tagging': 'aws:k=1' }, 'InvalidTag'],
  [{ 'x-amz-tagging': '=1' }, 'InvalidTag'],
  [{ 'x-amz-tagging': 'a%23=1' }, 'InvalidTag'],
  [{ 'x-amz-tagging': 'a=1&a=2' }, 'InvalidArgument'],
  [{ 'x-amz-tagging': 'a=%ff' }, 'InvalidArgument'],
  [{ 'x-amz-acl': 'everybody' }, 'InvalidArgument'],
  [{ 'x-amz-storage-class': 'NO CLASS' }, 'InvalidStorageClass'],
  [{ 'x-amz-object-lock-mode': 'GOVERNANCE' }, 'InvalidArgument'],
  [
    { 'x-amz-object-lock-mode': 'SOME', 'x-amz-object-lock-retain-until-date': '2100-01-01T00:00:00Z' },
    'InvalidArgument',
  ],
  [
    { 'x-amz-object-lock-mode': 'COMPLIANCE', 'x-amz-object-lock-retain-until-date': 'soon' },
    'InvalidArgument',
  ],
  [{ 'x-amz-object-lock-legal-hold': 'YES' }, 'InvalidArgument'],
  [{ 'content-md5': 'short' }, 'InvalidDigest'],
];

for (const [headers, code] of HEADERS)
  t.test(`${JSON.stringify(headers).slice(0, 80)} is ${code}`, async (t) => {
    const s3 = await bucket(t);
    isError(t, await s3.ask('PUT', '/b/k', { body: BODY, headers }), 400, code);
    if (code !== 'InvalidDigest')
      isError(t, await s3.ask('POST', '/b/k?uploads', { body: Buffer.alloc(0), headers }), 400, code);
    t.same(await stored(s3), []);
  });

const DOCUMENTS: [query: string, body: string, code: string][] = [
  ['tagging', '', 'MalformedXML'],
  ['tagging', '<Tagging>', 'MalformedXML'],
  ['tagging', '<Tagging/>', 'MalformedXML'],
  ['tagging', '<Other/>', 'MalformedXML'],
  ['tagging', '<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>', 'MalformedXML'],
  ['tagging', xmlOf(many.map((key) => [key, '1'])), 'BadRequest'],
  [
    'tagging',
    xmlOf([
      ['a', '1'],
      ['a', '2'],
    ]),
    'InvalidTag',
  ],
  ['tagging', xmlOf([['k'.repeat(129), '1']]), 'InvalidTag'],
  ['tagging', xmlOf([['a', '#']]), 'InvalidTag'],
  ['retention', '<Retention><Mode>GOVERNANCE</Mode></Retention>', 'MalformedXML'],
  [
    'retention',
    '<Retention><Mode>X</Mode><RetainUntilDate>2100-01-01T00:00:00Z</RetainUntilDate></Retention>',
    'MalformedXML',
  ],
  ['legal-hold', '<LegalHold><Status>MAYBE</Status></LegalHold>', 'MalformedXML'],
  ['acl', '<Nothing/>', 'MalformedXML'],
];

for (const [query, body, code] of DOCUMENTS)
  t.test(`${query} ${body.slice(0, 60)} is ${code}`, async (t) => {
    const s3 = await bucket(t);
    isError(t, await s3.ask('PUT', `/b/k?${query}`, { body: Buffer.from(body) }), 400, code);
    t.same(await stored(s3), []);
  });

t.test('what S3 takes is stored as it came', async (t) => {
  const s3 = await bucket(t);
  const headers = {
    'x-amz-tagging': `${encodeURIComponent('a b+é')}=${encodeURIComponent('x:/=@-._')}&empty=`,
    'x-amz-acl': 'bucket-owner-full-control',
    'x-amz-storage-class': 'A_CLASS_OF_THEIRS',
    'x-amz-object-lock-mode': 'COMPLIANCE',
    'x-amz-object-lock-retain-until-date': '2100-01-01T00:00:00.000Z',
    'x-amz-object-lock-legal-hold': 'ON',
    'x-amz-meta-much': 'm'.repeat(4000),
  };
  t.equal((await s3.ask('PUT', '/b/k', { body: BODY, headers })).status, 200);
  const documents = [
    ['tagging', xmlOf([['a', '']])],
    ['tagging', '<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet/></Tagging>'],
    ['retention', '<Retention/>'],
    ['legal-hold', '<LegalHold><Status>OFF</Status></LegalHold>'],
    ['acl', ''],
  ] as const;
  for (const [query, body] of documents)
    t.equal((await s3.ask('PUT', `/b/k?${query}`, { body: Buffer.from(body) })).status, 200, query);
  s3.link.up = true;
  await s3.until(() => s3.sent.length === 6);
  t.match(s3.sent[0]!.headers, headers);
  t.same(
    s3.sent.slice(1).map(({ body }) => body.toString()),
    documents.map(([, body]) => body),
  );
});

t.test('a key of more than 1024 bytes has no receipt', async (t) => {
  const s3 = await bucket(t);
  t.equal((await s3.ask('PUT', `/b/${'k'.repeat(1024)}`, { body: BODY })).status, 200);
  isError(t, await s3.ask('PUT', `/b/${'k'.repeat(1025)}`, { body: BODY }), 400, 'KeyTooLongError');
  isError(t, await s3.ask('PUT', `/b/${'%E3%81%82'.repeat(342)}`, { body: BODY }), 400, 'KeyTooLongError');
});

t.test('AWS takes 2 KB of metadata', async (t) => {
  const sign = { aws: { service: 's3' as const, region: 'eu-west-1' } };
  const upstream = { url: 'https://s3.eu-west-1.amazonaws.com', sign };
  const s3 = await scene(testdir(t), [{ ...bucketOf(), upstream }]);
  t.teardown(() => s3.stop());
  const put = (bytes: number) =>
    s3.ask('PUT', '/b/k', { body: BODY, headers: { 'x-amz-meta-a': 'm'.repeat(bytes) } });
  t.equal((await put(2047)).status, 200);
  isError(t, await put(2048), 400, 'MetadataTooLarge');
});
