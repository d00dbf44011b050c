// What is found and counted: resources, totals, room, and what outlives a restart.

import { randomBytes } from 'node:crypto';
import type { Entry } from '../store.ts';
import { all, bodyOf, idsOf, newHead, opened, put, type Scenario, sha256 } from './scene.ts';

export const lookups: Record<string, Scenario> = {
  'what entries hold is counted until they leave': opened(async (t, store) => {
    const first = await put(store, randomBytes(300_000));
    const held = store.totals().get('dashcam')!.held;
    t.ok(held > 300_000 && held < 302_000, `${held} bytes`);
    const second = await put(store, 'x');
    await store.dead(first.id, '400');
    t.ok(store.totals().get('dashcam')!.held > held, 'dead letters hold theirs');
    await store.drop(first.id, 'dropped', 'by hand');
    await store.delivered(second.id, 'ok');
    t.equal(store.totals().get('dashcam')!.held, 0);
  }),

  'room is made as far as it goes, and the rest is told': opened(async (t, store) => {
    t.equal(store.lacking(1000), 0);
    t.equal(await store.makeRoom(1000), 0);
    t.ok((await store.makeRoom(Number.MAX_SAFE_INTEGER)) > 0);
    const { id } = await put(store, 'still open');
    t.equal((await all(store.expired())).length, 0);
    t.equal((await store.get(id))?.state, 'stored');
  }),

  'what waits for a resource is found by any of its URLs, the newest first, whatever the order key': opened(
    async (t, store, inFlight) => {
      const url = 'http://Cam.example:8080/clip?part=1';
      const ids = async (of: string, destination = 'dashcam') => idsOf(store.waitingFor(destination, of));
      t.equal(store.occupied('dashcam', url), false);
      const entries: Entry[] = [];
      for (let i = 0; i < 40; i++)
        entries.push(
          await put(store, `${i}`, { url: i % 2 === 0 ? url : 'http://cam.example/clip', orderKey: '' }),
        );
      await put(store, 'other', { url: 'http://cam.example/clip2' });
      await put(store, 'elsewhere', { url, destination: 'b/ü' });
      const newest = entries.map(({ id }) => id).reverse();
      t.same(await ids('http://cam.example/clip?x'), newest);
      t.equal((await ids(url, 'b/ü')).length, 1);
      t.same(await ids('http://cam.example/clip3'), []);
      t.equal(await store.occupied('dashcam', url), true);
      t.equal(await store.occupied('dashcam', 'http://cam.example/clip3'), false);

      inFlight.add(newest[0]!);
      t.match(await all(store.waitingFor('dashcam', url)), [{ state: 'sending' }], 'also what is being sent');
      await store.dead(newest[1]!, 'no');
      await store.delivered(newest[2]!, '200');
      t.same(await ids(url), [newest[0], ...newest.slice(3)], 'a dead letter does not wait');
      await store.retry(newest[1]!);
      t.same((await ids(url)).slice(0, 3), [newest[0], newest[1], newest[3]]);
      for (const id of newest) await store.delivered(id, '200');
      t.same(await ids(url), []);
      t.equal(await store.occupied('dashcam', url), false);
    },
  ),

  'what left a moment ago occupies its resource until that is on the disk': opened(async (t, store) => {
    const url = 'http://cam.example/clip';
    const { id } = await put(store, 'x', { url });
    const leaving = store.delivered(id, '200');
    while ((await all(store.waitingFor('dashcam', url))).length > 0);
    t.equal(await store.occupied('dashcam', url), true, 'a crash now would bring it back');
    await leaving;
    t.equal(await store.occupied('dashcam', url), false);
  }),

  'totals name the oldest entry that waits, whatever the order in which entries leave': opened(
    async (t, store) => {
      const entries = await Promise.all(Array.from({ length: 40 }, (_, i) => put(store, `${i}`)));
      const left = new Set(entries);
      const leaving = [...entries.filter((_, i) => i % 3 === 0), ...entries.filter((_, i) => i % 3 !== 0)];
      while (leaving.length > 0) {
        const next = leaving.splice(0, 7);
        for (const entry of next) left.delete(entry);
        await Promise.all(next.map(({ id }) => store.delivered(id, 'ok')));
        const oldest = [...left].sort((a, b) => a.seq - b.seq)[0];
        t.equal(store.totals().get('dashcam')?.oldest?.seq, oldest?.seq);
        t.equal(store.totals().get('dashcam')?.entries, left.size);
      }
      t.equal(store.totals().get('dashcam')?.bytes, 0);
    },
  ),

  'everything is there after closing and opening again, and sending is not remembered': async (
    t,
    open,
    dir,
  ) => {
    const body = randomBytes(900_000);
    const inFlight = new Set<string>();
    const before = await open(dir, (id) => inFlight.has(id));
    t.same(before.report.damage, []);
    const big = await put(before, body);
    const small = await put(before, 'small', { destination: 'other' });
    const dead = await put(before, 'dead');
    const gone = await put(before, 'gone');
    await before.dead(dead.id, 'refused');
    await before.failed(small.id, 'reset');
    await before.delivered(gone.id, 'ok');
    inFlight.add(big.id);
    const trail = await all(before.audit());
    await before.close();

    const after = await open(dir);
    t.match(after.report, { entries: 3, abandoned: 0, damage: [] });
    t.same(await after.get(big.id), { ...big, state: 'stored' });
    t.match(await after.get(small.id), { attempts: 1, lastError: 'reset' });
    t.match(await after.get(dead.id), { state: 'dead', reason: 'refused' });
    t.equal(await after.get(gone.id), undefined);
    t.ok((await bodyOf(after, big)).equals(body));
    t.match(after.totals().get('dashcam'), { entries: 1, dead: 1, oldest: { id: big.id } });
    t.match(after.totals().get('other'), { entries: 1, bytes: 5 });
    t.same(await all(after.audit()), trail);
    t.same(await idsOf(after.waitingFor('other', small.url)), [small.id]);
    t.equal(await after.occupied('dashcam', big.url), true);
    await after.delivered(big.id, 'ok');
    t.same(await idsOf(after.waitingFor('dashcam', big.url)), [], 'the dead letter does not wait');
    t.equal((await put(after, 'next')).seq, 5, 'numbers go on');
    await after.close();
  },

  'a closed store refuses, and closing ends the bodies that are open': async (t, open, dir) => {
    const store = await open(dir);
    const writer = await store.begin(newHead());
    const under = put(store, 'under way');
    await writer.write(Buffer.from('half'));
    const entry = await under;
    await store.close();
    await store.close();
    await t.rejects(async () => writer.write(Buffer.from('more')), { code: 'LAYBY_STORE_CLOSED' });
    await writer.abort();
    await t.rejects(store.begin(newHead()), { code: 'LAYBY_STORE_CLOSED' });
    await t.rejects(store.get(entry.id), { code: 'LAYBY_STORE_CLOSED' });
  },

  'a commit that is under way when the store is closed is kept': async (t, open, dir) => {
    const store = await open(dir);
    const writer = await store.begin(newHead());
    await writer.write(randomBytes(300_000));
    const committing = writer.commit();
    await store.close();
    const entry = await committing;
    const again = await open(dir);
    t.equal(sha256(await bodyOf(again, entry)), entry.sha256);
    await again.close();
  },

  'the disk use is counted': opened(async (t, store) => {
    const before = await store.physicalBytes();
    await put(store, randomBytes(2_000_000));
    t.ok((await store.physicalBytes()) >= before + 2_000_000);
  }),
};
