// An entry that the destination refuses again and again: what waits for it, what does not, and how an operator sees it.

import t, { type Test } from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import type { QueueStatus } from '../../src/wire/edge-service.ts';
import { testdir } from '../rig/testdir.ts';
import { bucketOf } from './s3/bucket.ts';
import { destinationOf, scene } from './scene.ts';

t.setTimeout(60_000);

/** The queue with an entry that is refused with 500, three times while others pass. `below`: before all paths. */
const refusing = async (t: Test, destination: Destination, below = '') => {
  t.teardown(() => at.stop());
  const at = await scene(testdir(t), [destination]);
  const { link, call, admin, answer } = at;
  link.up = true;
  link.status = ({ method, url }) => (method === 'PUT' && url === `${below}/stuck` ? 500 : undefined);
  const failedOver = { 'layby-host': destination.hosts[0]! };
  const receipt = await call('PUT', `${below}/stuck`, Buffer.from('1'), failedOver);
  const status = async (): Promise<QueueStatus> => JSON.parse((await admin('/v1/queue/status')).text);
  // The way is known to be there once a try was answered.
  while ((await status()).lanes[0]?.failing !== false);
  const refused = async () => (await status()).refused?.[0];
  while ((await refused())?.oldest[0]?.since == null) await call('PUT', `${below}/passes`, Buffer.from('1'));
  return { ...at, answer, status, refused, id: receipt.headers['layby-entry'] as string };
};

const api = destinationOf('api', { mode: 'failover', order: 'key' });

t.test('a refused entry is named, with since when, what follows, and that nothing else waits', async (t) => {
  const { call, refused, admin, id } = await refusing(t, api);
  t.match(await refused(), {
    ...{ destination: 'api', entries: 1, behind: 0, alone: true },
    oldest: [{ id, request: 'PUT http://api.example/stuck', lastError: /^500/ }],
  });
  let why = '';
  while (!/taken others/.test(why)) {
    await call('PUT', '/passes', Buffer.from('1'));
    why = JSON.parse((await admin(`/v1/queue/entries/${id}/why`)).text).why.join('\n');
  }
  t.match(why, /api has refused it \d+ times since .* and taken others meanwhile: .*dead letter at/);
  t.match((await admin('/metrics')).text, 'layby_refused_entries{destination="api"} 1');
  const other = await call('PUT', '/other', Buffer.from('1'));
  t.equal(other.status, 200, 'the destination itself has answered');
  t.equal(other.headers['layby-entry'], undefined);
  t.ok((await call('PUT', '/stuck', Buffer.from('2'))).headers['layby-entry'], 'of its resource: behind it');
  while ((await refused())?.behind !== 1);
  t.match(await refused(), { entries: 1, alone: true });
});

t.test('a copy waits for nothing but entries of the two objects', async (t) => {
  const { call, refused } = await refusing(t, bucketOf({ mode: 'failover' }), '/b');
  const copy = (to: string, from: string) =>
    call('PUT', to, undefined, { 'x-amz-copy-source': from, 'content-length': '0' });
  t.match(await refused(), { entries: 1, alone: true });
  t.equal((await copy('/b/to', '/b/from')).status, 200);
  t.equal((await copy('/b/to', 'b/fr%6fm?versionId=1')).status, 200);
  const stored = await copy('/b/to', '/b/stuck');
  t.match(stored, { status: 200, headers: { 'layby-entry': /./ } }, 'S3 would copy what is there before');
  t.match(await copy('/b/to', 'b/st%75ck'), { headers: { 'layby-entry': /./ } }, 'whatever its spelling');
  t.equal((await copy('/b/stuck', '/b/from')).status, 503);
  t.equal((await copy('/b/to', 'arn:aws:s3:r:1:accesspoint/a/object/k')).status, 503, 'nobody knows which');
});
