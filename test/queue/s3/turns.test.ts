// What is stored by S3's own ways takes its turn like everything else (order-gate.ts): while it is being stored, nothing of its object goes
// straight on.

import t, { type Test } from 'tap';
import { Room } from '../../../src/queue/room.ts';
import { LevelStore } from '../../../src/store/leveldb/leveldb-store.ts';
import { drainingScene } from '../draining.ts';
import { bucketOf, xml } from './bucket.ts';

t.setTimeout(120_000);

/** The next call of a method waits until the test lets it go on. */
const gate = <Name extends string, T extends Record<Name, (...args: never[]) => Promise<unknown>>>(
  t: Test,
  on: T,
  name: Name,
) => {
  const real = on[name];
  const begun = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const restore = () => Object.assign(on, { [name]: real });
  Object.assign(on, {
    async [name](this: T, ...args: never[]) {
      restore();
      begun.resolve();
      await go.promise;
      return real.apply(this, args);
    },
  });
  t.teardown(restore);
  return { begun: begun.promise, go: () => go.resolve() };
};

const draining = (t: Test) => drainingScene(t, bucketOf({ mode: 'failover' }), '/b');

t.test('while a deletion of DeleteObjects is being stored, a PUT of its object is stored', async (t) => {
  const s3 = await draining(t);
  const list = '<Delete><Object><Key>k</Key></Object><Object><Key>l</Key></Object></Delete>';
  const { begun, go } = gate(t, Room.prototype, 'begin');
  const deleted = s3.call('POST', '/b?delete', Buffer.from(list));
  await begun;
  for (const key of ['k', 'l']) {
    const put = await s3.call('PUT', `/b/${key}`, Buffer.from('1'));
    t.ok(put.headers['layby-entry'], key);
  }
  t.notOk((await s3.call('PUT', '/b/m', Buffer.from('1'))).headers['layby-entry'], 'another passes');
  go();
  t.equal((await deleted).status, 200);
  s3.answer('/b/slow');
  await s3.until(() => s3.order.length === 7);
});

t.test('while an upload is being completed, a PUT of its object is stored', async (t) => {
  const s3 = await draining(t);
  const id = xml(await s3.call('POST', '/b/k?uploads'), 'UploadId');
  const part = await s3.call('PUT', `/b/k?partNumber=1&uploadId=${id}`, Buffer.from('whole'));
  const list = `<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>${part.headers.etag}</ETag></Part></CompleteMultipartUpload>`;
  const { begun, go } = gate(t, LevelStore.prototype, 'compose');
  const completed = s3.call('POST', `/b/k?uploadId=${id}`, Buffer.from(list));
  await begun;
  const put = s3.call('PUT', '/b/k', Buffer.from('1'));
  // Until another was answered it had the time to pass; its commit comes after that of the composition.
  t.notOk((await s3.call('PUT', '/b/m', Buffer.from('1'))).headers['layby-entry'], 'another passes');
  go();
  t.ok((await put).headers['layby-entry']);
  t.equal((await completed).status, 200);
  s3.answer('/b/slow');
  await s3.until(() => s3.order.length === 5);
});
