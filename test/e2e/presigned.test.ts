// URLs and forms that an app's own credentials have signed, at a destination that Layby signs for: what the mesh signs is not in the way
// of it, and the other way round.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { boto3 } from '../rig/clients/on-python.ts';
import { noPython } from '../rig/clients/python.ts';
import { noGo } from '../rig/go.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { startRecorder, valuesOf } from '../rig/raw-http.ts';
import { startS3 } from '../rig/s3.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, sha256, untilDrained, untilSidecar } from './scene.ts';

t.setTimeout(240_000);

const BUCKET = 'dashcam';

const mesh = async (t: Test, url: string, keys: { id: string; secret: string }, mode = 'failover') => {
  const layby = await startLayby({
    data: join(t.testdirName, 'data'),
    policy: policyOf({ name: 's3', hosts: ['localhost'], url, sign: true, store: { receipt: 'auto', mode } }),
    env: { AWS_ACCESS_KEY_ID: keys.id, AWS_SECRET_ACCESS_KEY: keys.secret },
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-30).join('\n'));
    return layby.kill9('all');
  });
  await untilSidecar(layby);
  return layby;
};

const endpointOf = (layby: Layby): string => `http://localhost:${layby.outbound.split(':').at(-1)}`;

const strict = async (t: Test, mode?: string) => {
  const s3 = await startS3({ server: 'versitygw', dir: join(testdir(t), 's3'), buckets: [BUCKET] });
  t.teardown(() => s3.stop());
  const keys = { id: s3.accessKeyId, secret: s3.secretAccessKey };
  return { s3, keys, layby: await mesh(t, s3.url, keys, mode) };
};

/** All of them by one process. */
const presign = async (
  { layby, signature }: { layby: Layby; signature: 's3v4' | 's3' },
  calls: [call: string, key: string, params?: Record<string, unknown>][],
): Promise<string[]> => {
  const made = await boto3.run(
    { url: endpointOf(layby), bucket: BUCKET },
    calls.map(([call, key, params = {}]) => ({ op: 'presign', signature, call, key, params })),
  );
  return made.map((one) => (one as { url: string }).url);
};

t.test(
  'presigned URLs of an app with keys of nobody do what they say',
  { skip: noGo || noPython },
  async (t) => {
    const { s3, layby } = await strict(t);
    for (const way of ['online', 'offline'] as const)
      for (const signature of ['s3v4', 's3'] as const) {
        await layby.link(way === 'online' ? 'auto' : 'down');
        const at = `${way}-${signature}`;
        const body = `the body ${at}`;
        const [key, parts, deleted] = [`${at}/a +~é`, `${at}/parts`, `${at}/gone`];
        const create = await fetch(`${endpointOf(layby)}/${BUCKET}/${parts}?uploads`, { method: 'POST' });
        const UploadId = /<UploadId>([^<]+)/.exec(await create.text())![1]!;
        const urls = (await presign({ layby, signature }, [
          ['put_object', key],
          ['get_object', key],
          ['head_object', key],
          ['put_object', deleted],
          ['delete_object', deleted],
          ['upload_part', parts, { UploadId, PartNumber: 1 }],
          ['complete_multipart_upload', parts, { UploadId }],
        ])) as [string, string, string, string, string, string, string];
        t.equal((await fetch(urls[0], { method: 'PUT', body })).status, 200, `${at} PUT`);
        t.equal(await (await fetch(urls[1])).text(), body, `${at} GET`);
        t.equal((await fetch(urls[2], { method: 'HEAD' })).status, 200, `${at} HEAD`);
        t.equal((await fetch(urls[3], { method: 'PUT', body })).status, 200, `${at} PUT`);
        t.equal((await fetch(urls[4], { method: 'DELETE' })).status, 204, `${at} DELETE`);
        const sent = await fetch(urls[5], { method: 'PUT', body });
        t.equal(sent.status, 200, `${at} UploadPart`);
        const list = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${sent.headers.get('etag')}</ETag></Part></CompleteMultipartUpload>`;
        t.equal((await fetch(urls[6], { method: 'POST', body: list })).status, 200, `${at} Complete`);

        await layby.link('auto');
        await untilDrained(layby);
        const arrived = (await s3.objects()).filter((object) => object.key.startsWith(`${at}/`));
        const sum = sha256(Buffer.from(body));
        t.same(
          arrived.map((object) => [object.key, object.sha256]),
          [
            [key, sum],
            [parts, sum],
          ],
          at,
        );
      }
  },
);

t.test('also where nothing is stored', { skip: noGo || noPython }, async (t) => {
  const { s3, layby } = await strict(t, 'never');
  for (const signature of ['s3v4', 's3'] as const) {
    const [url] = await presign({ layby, signature }, [['put_object', signature]]);
    t.equal((await fetch(url!, { method: 'PUT', body: signature })).status, 200, signature);
  }
  t.same(
    (await s3.objects()).map(({ key }) => key),
    ['s3', 's3v4'],
  );
});

for (const mode of ['failover', 'never'])
  t.test(
    `mode ${mode}: a form of a browser passes as it came, with the signature that is in it`,
    async (t) => {
      testdir(t);
      const recorder = await startRecorder();
      t.teardown(() => recorder.close());
      const layby = await mesh(t, `http://127.0.0.1:${recorder.port}`, { id: 'KEY', secret: 'secret' }, mode);
      const form = new FormData();
      for (const [name, value] of Object.entries({ key: 'k', policy: 'cA==', 'x-amz-signature': 'abc' }))
        form.set(name, value);
      form.set('file', new Blob(['content']));
      const url = `${endpointOf(layby)}/${BUCKET}`;
      t.equal((await fetch(url, { method: 'POST', body: form })).status, 200);
      const [sent] = recorder.requests;
      t.equal(sent!.start, `POST /${BUCKET} HTTP/1.1`);
      t.match(sent!.body, /name="x-amz-signature"\r\n\r\nabc/);
      t.same(valuesOf(sent!.headers, 'authorization'), [], 'a second signature would be refused');
      t.same(valuesOf(sent!.headers, 'x-amz-date'), []);
      t.same(valuesOf(sent!.headers, 'host'), [`127.0.0.1:${recorder.port}`]);

      await layby.link('down');
      const answer = await fetch(url, { method: 'POST', body: form });
      t.equal(answer.status, 503, 'it is not stored');
      t.same(await layby.queue(), []);
    },
  );

t.test('a strict server of S3 takes such a form', { skip: noGo || noPython }, async (t) => {
  const { s3, layby, keys } = await strict(t);
  const endpoint = { url: endpointOf(layby), bucket: BUCKET, keys };
  const [made] = await boto3.run(endpoint, [{ op: 'form', key: 'by-form' }]);
  const { url, fields = {} } = made as { url: string; fields?: Record<string, string> };
  const send = (to: string) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    form.set('file', new Blob(['content']));
    return fetch(to, { method: 'POST', body: form });
  };
  t.equal((await send(url)).status, 204);
  t.same(
    (await s3.objects()).map(({ key }) => key),
    ['by-form'],
  );
});
