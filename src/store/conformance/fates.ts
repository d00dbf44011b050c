// What becomes of entries: tries, dead letters and their edits, drops, evictions, progress, the trail.

import { randomBytes } from 'node:crypto';
import type { Entry } from '../store.ts';
import { all, bodyOf, idsOf, newHead, opened, put, type Scenario } from './scene.ts';

export const fates: Record<string, Scenario> = {
  'a delivered entry leaves, and the audit trail keeps it': opened(async (t, store) => {
    const entry = await put(store, 'gone');
    const stays = await put(store, 'stays');
    await store.delivered(entry.id, '201 Created');
    t.equal(await store.get(entry.id), undefined);
    await t.rejects(bodyOf(store, entry), { code: 'LAYBY_ENTRY_UNKNOWN' });
    t.same(await idsOf(store.list()), [stays.id]);
    t.match(store.totals().get('dashcam'), { entries: 1, bytes: 5, oldest: { id: stays.id, seq: 2 } });
    const trail = await all(store.audit({ id: entry.id }));
    t.match(trail, [
      { kind: 'stored', seq: 1, destination: 'dashcam', bytes: 4 },
      { kind: 'delivered', detail: '201 Created' },
    ]);
    await store.delivered(entry.id, 'again');
    t.equal((await all(store.audit())).length, 3, 'a second time changes nothing');
  }),

  'a failed try counts, and the entry waits again': opened(async (t, store, inFlight) => {
    const { id } = await put(store, 'x');
    inFlight.add(id);
    t.equal((await store.get(id))?.state, 'sending');
    inFlight.delete(id);
    t.match(await store.failed(id, 'connection reset'), {
      state: 'stored',
      attempts: 1,
      lastError: 'connection reset',
    });
    t.match(await store.failed(id, 'timeout'), { attempts: 2, lastError: 'timeout' });
    t.equal(await store.failed('nobody', 'x'), undefined);
  }),

  'for how long an entry is refused beside others is kept, until it has another head or waits again': async (
    t,
    open,
    dir,
  ) => {
    let store = await open(dir);
    const entries = [await put(store, 'x'), await put(store, 'y', { ttl: 1_000_000 }), await put(store, 'z')];
    const [edited, dead, moved] = entries.map(({ id }) => id) as [string, string, string];
    const stuck = { since: 1_700_000_000_000, answers: 3, counted: 60_000 };
    for (const { id } of entries) t.match(await store.failed(id, '500', stuck), { attempts: 1, stuck });
    t.match(await store.failed(edited, 'no link'), { attempts: 2, lastError: 'no link', stuck });
    await store.close();
    store = await open(dir);
    for (const { id } of entries) t.same((await store.get(id))?.stuck, stuck);
    t.match(await store.get(dead), { ttl: 1_000_000, lastError: '500' });
    t.same(await idsOf(store.waitingFor('dashcam', entries[0]!.url)), [moved, dead, edited]);
    await store.edit(edited, { headers: [] }, 'by hand');
    await store.move(moved, { from: 'dashcam', destination: 'other', orderKey: 'k' }, 'by hand');
    await store.dead(dead, '500');
    await store.retry(dead);
    const check = async (): Promise<void> => {
      for (const { id } of entries) t.equal((await store.get(id))?.stuck, undefined);
    };
    await check();
    await store.close();
    store = await open(dir);
    await check();
    await store.close();
  },

  'a try that has begun is told, and of many the trail has the first and then fewer and fewer': async (
    t,
    open,
    dir,
  ) => {
    let store = await open(dir);
    const told: (string | undefined)[] = [];
    store.on('event', ({ kind, detail }) => kind === 'sent' && told.push(detail));
    let entry = await put(store, 'x');
    for (let i = 0; i < 300; i++) {
      store.sent(entry);
      entry = (await store.failed(entry.id, `no link (${i})`))!;
    }
    t.equal(told.length, 300);
    t.match(told, ['try 1', 'try 2, after: no link (0)', 'try 3, after: no link (1)']);
    const lines = (await all(store.audit({ id: entry.id }))).filter(({ kind }) => kind === 'sent');
    t.match(lines, [{ detail: 'try 1', bytes: 1, destination: 'dashcam' }, { detail: /^try 2,/ }]);
    t.ok(lines.length >= 5 && lines.length <= 20, `${lines.length} lines`);
    await store.close();
    store = await open(dir);
    t.match(
      (await all(store.audit({ id: entry.id }))).map(({ kind }) => kind),
      ['stored', ...lines.map(() => 'sent')],
    );
    t.match(await store.get(entry.id), { state: 'stored', attempts: 300 });
    await store.close();
  },

  'a dead letter is counted apart, keeps its body, and waits again at its place after retry': opened(
    async (t, store) => {
      const [first, second] = [await put(store, 'one'), await put(store, 'second')];
      await store.failed(first.id, '400');
      await store.dead(first.id, '400 Bad Request');
      t.match(await store.get(first.id), { state: 'dead', reason: '400 Bad Request', attempts: 1 });
      t.match(store.totals().get('dashcam'), { entries: 1, bytes: 6, dead: 1, oldest: { id: second.id } });
      t.equal((await bodyOf(store, first)).toString(), 'one');
      t.equal(await store.retry(second.id), false);
      t.equal(await store.retry(first.id), true);
      t.match(await store.get(first.id), { state: 'stored', attempts: 0 });
      t.match(store.totals().get('dashcam'), { entries: 2, bytes: 9, dead: 0, oldest: { id: first.id } });
      t.same(await idsOf(store.list({ state: 'stored' })), [first.id, second.id]);
    },
  ),

  'a dead letter keeps what the destination answered until it is tried again': async (t, open, dir) => {
    let store = await open(dir);
    const { id } = await put(store, 'x');
    const answer = { status: 422, headers: ['X-Why', 'no', 'x-why', '"'], body: randomBytes(4096) };
    await store.dead(id, '422', answer);
    t.same((await store.get(id))?.answer, answer);
    await store.close();
    store = await open(dir);
    t.match(await store.get(id), { state: 'dead', reason: '422' });
    t.same((await store.get(id))?.answer, answer);
    await store.retry(id, 'by hand');
    t.equal((await store.get(id))?.answer, undefined);
    t.match((await all(store.audit({ id }))).at(-1), { kind: 'retried', detail: 'by hand' });
    await store.close();
  },

  'a dead letter is edited: its head changes, its id, number and body stay, also after opening again': async (
    t,
    open,
    dir,
  ) => {
    let store = await open(dir);
    const bodies = ['small', randomBytes(600_000)].map((body) => Buffer.from(body));
    const entries: Entry[] = [];
    for (const body of bodies) entries.push(await put(store, body, { ttl: 60_000 }));
    const edit = { url: 'http://cam.example/other', headers: ['X-New', '1'], orderKey: 'cam.example/other' };
    for (const { id } of entries) {
      await store.dead(id, '400');
      t.equal(await store.edit(id, { url: 'http://cam.example/first' }, 'first'), true);
      t.equal(await store.edit(id, edit, 'second'), true);
    }
    t.equal(await store.edit(newHead().id, edit, 'unknown'), false);
    const check = async (): Promise<void> => {
      for (const [i, { attempts: _, ...before }] of entries.entries()) {
        const now = (await store.get(before.id))!;
        t.match(now, { ...before, ...edit, state: 'dead', reason: '400' });
        t.same(now.headers, edit.headers);
        t.ok((await bodyOf(store, now)).equals(bodies[i]!));
      }
    };
    await check();
    await store.close();
    store = await open(dir);
    t.same(store.report.damage, []);
    await check();
    const { id } = entries[1]!;
    const lines = (await all(store.audit({ id }))).map(({ kind, detail }) => `${kind} ${detail}`);
    t.same(lines.slice(-3), ['dead 400', 'edited first', 'edited second']);
    for (const { id } of entries) await store.retry(id);
    t.same(
      (await all(store.waitingFor('dashcam', edit.url))).map(({ id }) => id),
      entries.map(({ id }) => id).reverse(),
      'found by its new URL',
    );
    t.same(await all(store.waitingFor('dashcam', entries[0]!.url)), []);
    await store.close();
  },

  'two edits at once leave one of them whole, and both in the trail': opened(async (t, store) => {
    const { id } = await put(store, 'x');
    await store.dead(id, 'no');
    const urls = ['http://cam.example/a', 'http://cam.example/b'];
    t.same(await Promise.all(urls.map((url) => store.edit(id, { url }, url))), [true, true]);
    const edits = (await all(store.audit({ id }))).filter(({ kind }) => kind === 'edited');
    t.same(edits.map(({ detail }) => detail).sort(), urls);
    t.equal((await store.get(id))?.url, edits.at(-1)?.detail);
  }),

  'a dropped entry leaves, with its rule in the audit trail': opened(async (t, store) => {
    const { id } = await put(store, 'x');
    t.equal(await store.drop(id, 'expired', 'ttl 7d'), true);
    t.equal(await store.drop(id, 'expired', 'ttl 7d'), false);
    t.equal(await store.get(id), undefined);
    t.match((await all(store.audit({ id }))).at(-1), { kind: 'expired', detail: 'ttl 7d' });
  }),

  'a rule does not take an entry that is being sent, an operator does': opened(async (t, store, inFlight) => {
    const { id } = await put(store, 'x');
    inFlight.add(id);
    t.equal(await store.drop(id, 'expired', 'ttl 7d'), false);
    t.equal(await store.drop(id, 'evicted', 'full'), false);
    t.equal((await store.get(id))?.state, 'sending');
    t.equal(await store.drop(id, 'dropped', 'by hand'), true);
    t.equal(await store.get(id), undefined);
  }),

  'what may be evicted comes by class, then by age, without what is being sent': opened(
    async (t, store, inFlight) => {
      const entries: Entry[] = [];
      for (let i = 0; i < 24; i++)
        entries.push(await put(store, `${i}`, { destination: `d${i % 2}`, class: (i * 7) % 4 }));
      await store.dead(entries[1]!.id, 'refused');
      inFlight.add(entries[4]!.id);
      const expected = (below: number, destination?: string) =>
        entries
          .filter((entry) => entry.class < below && entry !== entries[4])
          .filter((entry) => destination === undefined || entry.destination === destination)
          .sort((a, b) => a.class - b.class || a.seq - b.seq)
          .map(({ id }) => id);
      for (const [below, destination] of [[0], [1], [3], [4], [4, 'd1'], [4, 'nobody']] as [
        number,
        string?,
      ][])
        t.same(
          (await all(store.evictable(below, destination))).map(({ id }) => id),
          expected(below, destination),
        );
    },
  ),

  'the progress of a delivery survives, and goes with what was delivered': async (t, open, dir) => {
    let store = await open(dir);
    const [large, gone, dead] = [
      await put(store, 'large'),
      await put(store, 'gone'),
      await put(store, 'dead'),
    ];
    t.equal(await store.progress(large.id), undefined);
    await store.setProgress(large.id, { upload: 'x', parts: [['e1', 5]] });
    await store.setProgress(gone.id, 'gone');
    await store.setProgress(dead.id, 'dead');
    t.same(await store.progress(large.id), { upload: 'x', parts: [['e1', 5]] });
    t.same(await all(store.leftBehind()), [], 'all of them wait');
    await store.close();
    store = await open(dir);
    t.same(await store.progress(large.id), { upload: 'x', parts: [['e1', 5]] });
    await store.setProgress(large.id, { upload: 'x', parts: [] });
    t.same(await store.progress(large.id), { upload: 'x', parts: [] }, 'the last word counts');
    await store.failed(large.id, 'reset');
    t.same(await store.progress(large.id), { upload: 'x', parts: [] }, 'a failed try keeps it');
    await store.delivered(large.id, '200');
    await store.drop(gone.id, 'dropped', 'by hand');
    await store.dead(dead.id, '400');
    t.equal(await store.progress(large.id), undefined);
    await store.close();
    store = await open(dir);
    t.equal(await store.progress(large.id), undefined);
    const left = (await all(store.leftBehind())).sort((a, b) => (`${a.progress}` < `${b.progress}` ? -1 : 1));
    t.same(left, [
      { id: dead.id, progress: 'dead' },
      { id: gone.id, progress: 'gone' },
    ]);
    await store.setProgress(gone.id, undefined);
    await store.setProgress(gone.id, undefined);
    t.equal(await store.retry(dead.id), true);
    t.equal(await store.progress(dead.id), 'dead', 'a dead letter that waits again goes on where it was');
    t.same(await all(store.leftBehind()), []);
    await store.close();
  },

  'the trail of a URL is the trail of every entry that was called by it': opened(async (t, store) => {
    const one = await put(store, 'x', { url: 'http://a.example/clip-17.mp4?"' });
    await put(store, 'y', { url: 'http://a.example/clip-18.mp4' });
    const two = await put(store, 'z', { url: 'http://a.example/clip-17.mp4' });
    await store.delivered(one.id, '200');
    t.same(
      (await all(store.audit({ url: 'clip-17' }))).map(({ kind, id }) => `${kind} ${id}`),
      [`stored ${one.id}`, `stored ${two.id}`, `delivered ${one.id}`],
    );
    t.match(await all(store.audit({ id: two.id })), [{ kind: 'stored', method: 'PUT', url: /clip-17/ }]);
  }),

  'events tell of every step': opened(async (t, store) => {
    const kinds: string[] = [];
    store.on('event', ({ kind }) => kinds.push(kind));
    const { id } = await put(store, 'x');
    await store.dead(id, 'no');
    await store.retry(id);
    await store.delivered(id, 'ok');
    const other = await put(store, 'y');
    await store.drop(other.id, 'evicted', 'full');
    t.same(kinds, ['stored', 'dead', 'retried', 'delivered', 'stored', 'evicted']);
  }),
};
