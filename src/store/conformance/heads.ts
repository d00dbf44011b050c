// Other heads for entries: edits of what waits, and moves to another destination.

import { randomBytes } from 'node:crypto';
import type { Entry, StoreEvent } from '../store.ts';
import { all, bodyOf, idsOf, newHead, opened, put, type Scenario } from './scene.ts';

const KEY = 'dashcam.example/2026/';

export const heads: Record<string, Scenario> = {
  'an entry that waits is edited at its place, and one that is being sent is not': async (t, open, dir) => {
    const inFlight = new Set<string>();
    let store = await open(dir, (id) => inFlight.has(id));
    const [first, second] = [await put(store, 'one'), await put(store, randomBytes(600_000))];
    const edit = { url: 'http://cam.example/other', headers: ['X-New', '1'], orderKey: 'cam.example/other' };
    inFlight.add(first.id);
    t.equal(await store.edit(first.id, edit, 'too late'), false);
    inFlight.delete(first.id);
    const told: string[] = [];
    store.on('event', ({ kind }) => told.push(kind));
    const edited = store.edit(first.id, edit, 'by hand');
    t.equal(await edited, true);
    t.same(told, ['edited']);
    await store.failed(second.id, '401');
    t.equal(await store.edit(second.id, { headers: [] }, 'by hand'), true);
    const check = async (): Promise<void> => {
      t.match(await store.get(first.id), { ...edit, state: 'stored', seq: 1, sha256: first.sha256 });
      t.match(await store.get(second.id), { url: second.url, attempts: 1, lastError: '401', seq: 2 });
      t.same((await store.get(second.id))?.headers, []);
      t.same(await idsOf(store.list({ state: 'stored' })), [first.id, second.id]);
      t.same(await idsOf(store.waitingFor('dashcam', edit.url)), [first.id]);
      t.same(await idsOf(store.waitingFor('dashcam', first.url)), [second.id]);
      t.equal((await bodyOf(store, second)).length, 600_000);
    };
    await check();
    await store.close();
    store = await open(dir);
    t.same(store.report.damage, []);
    await check();
    await store.close();
  },

  'an edit that asks for a restart gives up what was begun, and any other keeps it': opened(
    async (t, store) => {
      const { id } = await put(store, 'x');
      await store.setProgress(id, 'begun');
      await store.edit(id, { headers: [] }, 'credentials');
      t.equal(await store.progress(id), 'begun');
      await store.edit(id, { url: 'http://cam.example/b', restart: true }, 'url');
      t.equal(await store.progress(id), undefined);
      const left = await all(store.leftBehind());
      t.match(left, [{ progress: 'begun' }]);
      await store.setProgress(left[0]!.id, undefined);
      t.same(await all(store.leftBehind()), []);
    },
  ),

  'a moved entry stands among those of its new destination by its receipt, also after opening again': async (
    t,
    open,
    dir,
  ) => {
    let store = await open(dir);
    const entries: Entry[] = [];
    for (const destination of ['b', 'a', 'b', 'a', 'a'])
      entries.push(
        await put(store, randomBytes(destination === 'a' ? 300_000 : 10), {
          destination,
          ttl: 3_600_000,
          orderKey: '',
        }),
      );
    const events: StoreEvent[] = [];
    store.on('event', (event) => events.push(event));
    const [, one, , dead, stays] = entries as [Entry, Entry, Entry, Entry, Entry];
    await store.dead(dead.id, '400');
    for (const { id } of [dead, one])
      t.equal(await store.move(id, { from: 'a', destination: 'b', orderKey: KEY }, 'by hand'), true);
    t.match(events.at(-1), { kind: 'moved', id: one.id, destination: 'b', from: 'a', detail: 'by hand' });
    const check = async (): Promise<void> => {
      t.match(await store.get(one.id), {
        ...{ destination: 'b', orderKey: KEY, state: 'stored', seq: 2, ttl: 3_600_000 },
        ...{ url: one.url, headers: one.headers, sha256: one.sha256, bytes: one.bytes },
      });
      t.match(await store.get(dead.id), { destination: 'b', state: 'dead', reason: '400', seq: 4 });
      t.equal((await bodyOf(store, one)).length, 300_000);
      t.same(
        await idsOf(store.list({ destination: 'b' })),
        entries.slice(0, 4).map(({ id }) => id),
        'in the order of receipts',
      );
      t.same(await idsOf(store.list({ destination: 'a' })), [stays.id]);
      t.equal((await idsOf(store.list())).length, 5);
      t.match(store.totals().get('a'), { entries: 1, dead: 0, bytes: 300_000, oldest: { seq: 5 } });
      t.match(store.totals().get('b'), { entries: 3, dead: 1, bytes: 300_020, oldest: { seq: 1 } });
      t.same(await idsOf(store.waitingFor('a', one.url)), [stays.id]);
      t.same(await idsOf(store.waitingFor('b', one.url)), [entries[2]!.id, one.id, entries[0]!.id]);
    };
    await check();
    await store.close();
    store = await open(dir);
    t.same(store.report.damage, []);
    await check();
    await store.delivered(one.id, '200');
    t.same(await idsOf(store.list({ destination: 'b' })), [entries[0]!.id, entries[2]!.id, dead.id]);
    t.equal(await store.retry(dead.id), true);
    t.same(await idsOf(store.list({ destination: 'b', state: 'stored' })), [
      entries[0]!.id,
      entries[2]!.id,
      dead.id,
    ]);
    t.match(
      (await all(store.audit({ id: one.id }))).map(({ kind, destination }) => `${kind} ${destination}`),
      ['stored a', 'moved b', 'delivered b'],
    );
    await store.close();
  },

  'what is older than all of a lane becomes the oldest of it, and leaves the other lane with its next one':
    opened(async (t, store) => {
      const [first, second] = [
        await put(store, 'x', { destination: 'a' }),
        await put(store, 'y', { destination: 'a' }),
      ];
      await put(store, 'z', { destination: 'b' });
      await store.move(first.id, { from: 'a', destination: 'b', orderKey: '' }, 'by hand');
      t.equal(store.totals().get('b')?.oldest?.id, first.id);
      t.equal(store.totals().get('a')?.oldest?.id, second.id);
      t.same(
        (await all(store.evictable(4, 'b'))).map(({ seq }) => seq),
        [1, 3],
      );
      await store.move(second.id, { from: 'a', destination: 'b', orderKey: '' }, 'by hand');
      t.equal(store.totals().get('a')?.entries, 0);
      t.equal(await store.move(second.id, { from: 'b', destination: 'a', orderKey: '' }, 'back'), true);
      t.match(store.totals().get('a'), { entries: 1, oldest: { id: second.id } });
    }),

  'what is being sent, is elsewhere, or is not there does not move': opened(async (t, store, inFlight) => {
    const { id } = await put(store, 'x');
    const to = { from: 'dashcam', destination: 'b', orderKey: '' };
    inFlight.add(id);
    t.equal(await store.move(id, to, 'too early'), false);
    t.equal((await store.get(id))?.state, 'sending');
    inFlight.delete(id);
    t.equal(await store.move(id, { ...to, from: 'c' }, 'elsewhere'), false);
    t.equal(await store.move(id, { ...to, destination: 'dashcam' }, 'nowhere'), false);
    t.equal(await store.move(newHead().id, to, 'unknown'), false);
    t.match(await store.get(id), { destination: 'dashcam', state: 'stored' });
    t.same(
      (await all(store.audit({ id }))).map(({ kind }) => kind),
      ['stored'],
    );
  }),

  'a moved entry leaves behind what was begun at the destination before': opened(async (t, store) => {
    const { id } = await put(store, 'x');
    await store.setProgress(id, 'begun');
    await store.move(id, { from: 'dashcam', destination: 'b', orderKey: '' }, 'by hand');
    t.equal(await store.progress(id), undefined);
    t.match(await all(store.leftBehind()), [{ progress: 'begun' }]);
  }),

  'the parts of an upload move, and it is completed where they are': opened(async (t, store) => {
    const parts: Entry[] = [];
    for (const body of ['one', 'two']) parts.push(await put(store, body, { group: 'g' }));
    for (const { id } of parts)
      t.equal(await store.move(id, { from: 'dashcam', destination: 'b', orderKey: '' }, 'by hand'), true);
    t.same(await idsOf(store.staged('dashcam', 'g')), []);
    t.same(await idsOf(store.staged('b', 'g')), parts.map(({ id }) => id).reverse());
    const whole = await store.compose(
      newHead({ destination: 'b' }),
      'g',
      parts.map(({ id }) => id),
    );
    t.equal((await bodyOf(store, whole)).toString(), 'onetwo');
    t.match(store.totals().get('b'), { entries: 1, staged: 0 });
  }),

  'an edit and a move at once are both done': opened(async (t, store) => {
    const { id } = await put(store, 'x');
    t.same(
      await Promise.all([
        store.edit(id, { headers: ['A', '1'] }, 'edit'),
        store.move(id, { from: 'dashcam', destination: 'b', orderKey: KEY }, 'move'),
      ]),
      [true, true],
    );
    t.match(await store.get(id), { destination: 'b', headers: ['A', '1'], orderKey: KEY });
  }),
};
