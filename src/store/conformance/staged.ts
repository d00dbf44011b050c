// Entries that are staged and composed.

import { createHash, randomBytes } from 'node:crypto';
import type { Entry } from '../store.ts';
import { all, bodyOf, idsOf, newHead, opened, put, type Scenario } from './scene.ts';

export const staged: Record<string, Scenario> = {
  'what is staged is kept, counted apart, and found by its group': opened(async (t, store) => {
    const first = await put(store, 'one', { group: 'g' });
    const second = await put(store, 'two', { group: 'g' });
    const other = await put(store, 'other', { group: 'h' });
    const waits = await put(store, 'waits');
    t.match(first, { state: 'staged', group: 'g', seq: 1 });
    t.same(await idsOf(store.staged('dashcam', 'g')), [second.id, first.id], 'the newest first');
    t.same(await idsOf(store.staged('other', 'g')), []);
    t.same(await idsOf(store.list({ state: 'stored' })), [waits.id]);
    t.same(await idsOf(store.waitingFor('dashcam', first.url)), [waits.id], 'it does not wait');
    t.match(store.totals().get('dashcam'), { entries: 1, bytes: 5, staged: 3, oldest: { id: waits.id } });
    t.same((await bodyOf(store, first)).toString(), 'one');
    t.ok(await store.drop(first.id, 'dropped', 'by hand'));
    t.same(await idsOf(store.staged('dashcam', 'g')), [second.id]);
    t.same(
      (await all(store.evictable(9))).map(({ id, state }) => [id, state]),
      [
        [second.id, 'staged'],
        [other.id, 'staged'],
        [waits.id, 'stored'],
      ],
    );
  }),

  'staged entries become one entry, whose body is theirs in the order that was asked for': opened(
    async (t, store) => {
      const bodies = [randomBytes(700_000), randomBytes(10), randomBytes(300_001), randomBytes(0)];
      const parts: Entry[] = [];
      const writers = await Promise.all(
        bodies.map(() => store.begin(newHead({ group: 'g' }), undefined, { md5: true })),
      );
      // In turn, so that no part's chunks stand together.
      for (let at = 0; at < 700_000; at += 65_536)
        for (const [i, writer] of writers.entries())
          if (at < bodies[i]!.length) await writer.write(Buffer.from(bodies[i]!.subarray(at, at + 65_536)));
      for (const writer of writers) parts.push(await writer.commit());
      const unused = await put(store, 'not named', { group: 'g' });
      const other = await put(store, 'of another group', { group: 'h' });
      const order = [2, 0, 1, 3];
      const ids = order.map((i) => parts[i]!.id);
      const head = newHead();
      const physical = await store.physicalBytes();
      const whole = await store.compose(head, 'g', ids);
      t.ok((await store.physicalBytes()) < physical + 100_000, 'nothing is copied');
      const body = Buffer.concat(order.map((i) => bodies[i]!));
      const sumOf = (name: string, sums: string[]) =>
        `${createHash(name)
          .update(Buffer.from(sums.join(''), 'hex'))
          .digest('hex')}-4`;
      t.match(whole, { ...head, state: 'stored', seq: 7, bytes: body.length });
      t.equal(
        whole.sha256,
        sumOf(
          'sha256',
          order.map((i) => parts[i]!.sha256),
        ),
      );
      t.equal(
        whole.md5,
        sumOf(
          'md5',
          order.map((i) => parts[i]!.md5!),
        ),
      );
      t.same(await store.get(head.id), whole);
      t.ok((await bodyOf(store, whole)).equals(body));
      const range = { start: 300_000, end: 1_000_005 };
      t.ok((await bodyOf(store, whole, range)).equals(body.subarray(range.start, range.end)));
      t.same(await idsOf(store.list()), [other.id, whole.id], 'the group has left');
      t.same(await idsOf(store.staged('dashcam', 'g')), []);
      t.match(store.totals().get('dashcam'), { entries: 1, bytes: body.length, staged: 1 });
      t.match((await all(store.audit({ id: unused.id }))).at(-1), {
        kind: 'composed',
        detail: `into ${whole.id}`,
      });
      await t.rejects(store.compose(newHead(), 'g', ids), { code: 'LAYBY_ENTRY_UNKNOWN' });
      await t.rejects(store.compose(newHead(), 'g', [other.id]), { code: 'LAYBY_ENTRY_UNKNOWN' });
      await t.rejects(store.compose(head, 'h', [other.id]), { code: 'LAYBY_ENTRY_EXISTS' });
      t.same(await idsOf(store.staged('dashcam', 'h')), [other.id], 'what was refused changed nothing');
      await store.delivered(whole.id, '200');
      t.match(store.totals().get('dashcam'), { entries: 0, bytes: 0, staged: 1 });
    },
  ),

  'of two who compose one group at once, one does': opened(async (t, store) => {
    const part = await put(store, 'part', { group: 'g' });
    const results = await Promise.allSettled([1, 2].map(() => store.compose(newHead(), 'g', [part.id])));
    t.same(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
    t.match(store.totals().get('dashcam'), { entries: 1, bytes: 4, staged: 0 });
  }),

  'staged and composed entries outlive a restart': async (t, open, dir) => {
    const before = await open(dir);
    const bodies = [randomBytes(300_000), randomBytes(20)];
    const parts: Entry[] = [];
    for (const body of bodies) parts.push(await put(before, body, { group: 'g' }));
    const kept = await put(before, 'kept', { group: 'h', ttl: 1 });
    const ids = parts.map(({ id }) => id);
    const whole = await before.compose(newHead(), 'g', ids);
    await before.close();
    const after = await open(dir);
    t.match(after.report, { entries: 2, damage: [] });
    t.same(await after.get(whole.id), whole);
    t.ok((await bodyOf(after, whole)).equals(Buffer.concat(bodies)));
    t.match(await after.get(kept.id), { state: 'staged', group: 'h' });
    t.match(after.totals().get('dashcam'), { entries: 1, staged: 1 });
    t.same(await idsOf(after.staged('dashcam', 'h')), [kept.id]);
    await after.close();
  },
};
