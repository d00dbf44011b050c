// What real S3 clients say of objects, odd as it may be, is what a strict S3 server has in the end: sent to it directly, through the mesh, and
// through the mesh without a link.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { awsSdk } from '../rig/clients/aws-sdk.ts';
import { boto3 } from '../rig/clients/on-python.ts';
import { noPython } from '../rig/clients/python.ts';
import type { Call, Result, Said } from '../rig/clients/s3-app.ts';
import { noGo } from '../rig/go.ts';
import { startLayby } from '../rig/layby.ts';
import { startS3 } from '../rig/s3.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, randomFile, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

const BUCKET = 'dashcam';
const WAYS = ['itself', 'online', 'offline'] as const;

const SAID: Record<string, Said> = {
  plain: {},
  'empty metadata': { meta: { note: '' } },
  'empty among others': { meta: { a: '1', note: '', z: '2' } },
  'empty tagging': { more: { Tagging: '' } },
  'spaces inside': { meta: { note: 'a  b   c', quoted: '"a  b"' } },
  'commas and signs': { meta: { list: 'a, b,c', signs: "!#$%&'()*+-./:;<=>?@[]^_`{|}~" } },
  'odd names': { meta: { 'with-dash': '1', with_underscore: '2', 'with.dot': '3', '0': '4' } },
  long: { meta: { note: 'x'.repeat(1500) } },
  encoded: { meta: { note: '=?UTF-8?B?44GC?=' } },
  tags: { more: { Tagging: 'cam=front%20left&empty=&plus=a%2Bb&slash=a%2Fb' } },
  'content headers': {
    more: {
      ContentType: 'text/plain;  charset="utf-8"',
      ContentLanguage: 'de, en',
      ContentDisposition: 'attachment; filename="a  b.txt"',
      CacheControl: 'max-age=60,  private',
    },
  },
  'an encoding': { more: { ContentEncoding: 'gzip' } },
};
const KEYS = ['plain', 'sp ace', 'a+b', "q'(u)o!t*e", 'あ/é', 'per%cent', 'a=b&c', '~tilde', 'x/y/z:@,;$'];

/** In one order; without the coding that this server, unlike AWS, leaves on what came to it in frames, and without what Layby adds to what
 *  it sends in parts. */
const comparable = (results: Result[]): object[] =>
  results.map((result) => {
    const made: object = { ...result };
    const keep = (field: string, of: Record<string, string>, but: (name: string, value: string) => boolean) =>
      Object.assign(made, {
        [field]: Object.fromEntries(
          Object.entries(of)
            .filter(([name, value]) => !but(name, value))
            .sort(),
        ),
      });
    if ('meta' in result && result.meta) keep('meta', result.meta, (name) => name === 'layby-entry');
    if ('tags' in result) keep('tags', result.tags, () => false);
    if ('said' in result) keep('said', result.said, (_, value) => value === 'aws-chunked');
    return made;
  });

interface Scene {
  ask: (way: (typeof WAYS)[number], calls: readonly Call[]) => Promise<Result[]>;
  drain: () => Promise<void>;
  file: string;
  part: string;
}

const scene = async (t: Test, app: typeof boto3): Promise<Scene> => {
  const dir = testdir(t);
  const s3 = await startS3({ server: 'versitygw', dir: join(dir, 's3'), buckets: [BUCKET] });
  t.teardown(() => s3.stop());
  const keys = { id: s3.accessKeyId, secret: s3.secretAccessKey };
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf({
      name: 's3',
      hosts: ['localhost'],
      url: s3.url,
      sign: true,
      store: { receipt: 'auto' },
    }),
    env: { AWS_ACCESS_KEY_ID: keys.id, AWS_SECRET_ACCESS_KEY: keys.secret },
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-30).join('\n'));
    return layby.kill9('all');
  });
  await untilSidecar(layby);
  const mesh = `http://localhost:${layby.outbound.split(':').at(-1)}`;
  return {
    ask: async (way, calls) => {
      if (way === 'itself') return app.run({ url: s3.url, bucket: BUCKET, keys }, calls);
      if (way === 'offline') await layby.link('down');
      return app.run({ url: mesh, bucket: BUCKET }, calls);
    },
    drain: async () => {
      await layby.link('auto');
      await untilDrained(layby);
    },
    file: (await randomFile(dir, 'file', 2000)).path,
    part: (await randomFile(dir, 'part', 5 * 1024 * 1024)).path,
  };
};

for (const [app, skip] of [
  [awsSdk, false],
  [boto3, noPython],
] as const)
  t.test(`${app.name}: every way leaves the same objects`, { skip: noGo || skip }, async (t) => {
    const { ask, drain, file, part } = await scene(t, app);
    const names = [...Object.keys(SAID), ...KEYS];
    const journey = (way: string): Call[] => [
      ...Object.entries(SAID).map(
        ([name, said]): Call => ({ op: 'put', key: `${way}/${name}`, file, as: 'bytes', ...said }),
      ),
      ...KEYS.map((key): Call => ({ op: 'put', key: `${way}/${key}`, file, as: 'stream' })),
      { op: 'parts', key: `${way}/parts`, file: part, ...SAID['empty among others'], ...SAID.tags },
      { op: 'put', key: `${way}/gone`, file, as: 'bytes' },
      { op: 'delete', key: `${way}/gone` },
    ];
    const seen = new Map<string, object[]>();
    for (const way of WAYS) {
      const results = await ask(way, journey(way));
      t.same(
        results.filter((result) => 'error' in result),
        [],
        `${way}: nothing is refused`,
      );
      // What waits is read as it will be there; of tags only S3 can tell.
      const heads = names.map((name): Call => ({ op: 'head', key: `${way}/${name}` }));
      seen.set(`${way} at once`, comparable(await ask(way, heads)));
      await drain();
      const calls = [...names, 'parts', 'gone'].map(
        (name): Call => ({ op: 'describe', key: `${way}/${name}` }),
      );
      seen.set(way, comparable(await ask('itself', calls)));
    }
    t.match(seen.get('itself')![1], { meta: { note: '' } }, 'an empty value is kept by this server');
    t.match(seen.get('itself')!.at(-1), { error: 'NoSuchKey' });
    for (const way of ['online', 'offline'])
      for (const what of ['', ' at once'])
        t.same(seen.get(way + what), seen.get(`itself${what}`), way + what);
  });
