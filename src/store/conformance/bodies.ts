// What is stored and read back: bytes, heads, numbers, order.

import { createHash, randomBytes } from 'node:crypto';
import type { Entry, Store } from '../store.ts';
import { all, bodyOf, idsOf, newHead, opened, put, type Scenario, sha256 } from './scene.ts';

export const bodies: Record<string, Scenario> = {
  'an entry comes back byte for byte, with its head, trailers and hashes': opened(async (t, store) => {
    const body = randomBytes(700_001);
    const head = newHead({ ttl: 60_000 });
    const writer = await store.begin(head, undefined, { md5: true });
    for (const end of [1, 65_537, 400_000, 700_001]) await writer.write(body.subarray(writer.bytes, end));
    t.equal(writer.bytes, body.length);
    const entry = await writer.commit(['X-Checksum', 'abc']);
    t.match(entry, { ...head, seq: 1, bytes: body.length, state: 'stored', attempts: 0 });
    t.same(entry.trailers, ['X-Checksum', 'abc']);
    t.equal(entry.sha256, sha256(body));
    t.equal(entry.md5, createHash('md5').update(body).digest('hex'));
    t.same(await store.get(head.id), entry);
    t.ok((await bodyOf(store, entry)).equals(body));
  }),

  'an empty body is an entry too': opened(async (t, store) => {
    const entry = await put(store, '');
    t.equal(entry.bytes, 0);
    t.equal(entry.sha256, sha256(Buffer.alloc(0)));
    t.same(await bodyOf(store, entry), Buffer.alloc(0));
  }),

  'a range of a body is read, start inclusive and end exclusive': opened(async (t, store) => {
    const body = randomBytes(1_500_000);
    const entry = await put(store, body);
    for (const [start, end] of [
      [0, 1],
      [262_143, 262_145],
      [524_288, 1_400_000],
      [1_499_999, 1_500_000],
      [7, 7],
      [1_400_000, 9_000_000],
    ] as const)
      t.ok((await bodyOf(store, entry, { start, end })).equals(body.subarray(start, end)), `${start}-${end}`);
    t.ok((await bodyOf(store, entry, { start: 1_000_000 })).equals(body.subarray(1_000_000)));
  }),

  'what is kept of a body can be read while it grows': opened(async (t, store) => {
    const body = randomBytes(3_000_000);
    const writer = await store.begin(newHead());
    t.equal(writer.kept, 0);
    const read = async (range?: { start?: number; end?: number }) =>
      Buffer.concat(await all(writer.read(range)));
    for (let at = 0; at < body.length; at += 500_000) {
      await writer.write(Buffer.from(body.subarray(at, at + 500_000)));
      while (writer.kept < at) await new Promise(setImmediate);
      const { kept } = writer;
      t.ok(kept <= writer.bytes);
      t.ok((await read()).equals(body.subarray(0, kept)), `${kept} of ${writer.bytes}`);
      const range = { start: Math.floor(kept / 3), end: Math.floor(kept / 2) };
      t.ok((await read(range)).equals(body.subarray(range.start, range.end)));
    }
    const slow = writer.read()[Symbol.asyncIterator]();
    const first = (await slow.next()).value as Buffer;
    const { kept } = writer;
    const committed = writer.commit();
    t.ok((await read()).equals(body.subarray(0, kept)), 'also while it is committed');
    const entry = await committed;
    t.ok(first.equals(body.subarray(0, first.length)));
    t.ok((await slow.next()).value!.equals(body.subarray(first.length, first.length * 2)), 'it goes on');
    await slow.return?.();
    t.ok((await bodyOf(store, entry)).equals(body));
    const given = await store.begin(newHead());
    await given.abort();
    await t.rejects(all(given.read()), { code: 'LAYBY_WRITER_ENDED' });
  }),

  'no piece of a body is larger than 1 MiB': opened(async (t, store) => {
    const entry = await put(store, randomBytes(3_000_000));
    for await (const piece of store.read(entry)) t.ok(piece.length <= 1024 * 1024);
  }),

  'an entry that was not committed is nowhere': opened(async (t, store) => {
    const head = newHead();
    const writer = await store.begin(head);
    await writer.write(randomBytes(600_000));
    t.equal(await store.get(head.id), undefined);
    await writer.abort();
    await writer.abort();
    t.equal(await store.get(head.id), undefined);
    t.same(await idsOf(store.list()), []);
    await t.rejects(async () => writer.write(Buffer.from('x')), { code: 'LAYBY_WRITER_ENDED' });
    await t.rejects(writer.commit(), { code: 'LAYBY_WRITER_ENDED' });
    const entry = await put(store, 'next');
    t.equal(entry.seq, 1, 'it takes no number');
  }),

  'an entry is seen by get, list, totals and read as soon as its commit resolves': opened(
    async (t, store) => {
      for (let i = 1; i <= 50; i++) {
        const entry = await put(store, `body ${i}`);
        const totals = store.totals().get('dashcam');
        t.equal(totals?.entries, i);
        t.equal((await store.get(entry.id))?.seq, i);
        t.equal((await idsOf(store.list({ destination: 'dashcam' }))).at(-1), entry.id);
        t.equal((await bodyOf(store, entry)).toString(), `body ${i}`);
      }
    },
  ),

  'a thousand entries at once are numbered without gaps, in the order of their commits': opened(
    async (t, store) => {
      const writers = await Promise.all(Array.from({ length: 1000 }, () => store.begin(newHead())));
      for (const [i, writer] of writers.entries()) await writer.write(Buffer.from(`entry ${i}`));
      const entries = await Promise.all(writers.map((writer) => writer.commit()));
      t.same(
        entries.map(({ seq }) => seq),
        Array.from({ length: 1000 }, (_, i) => i + 1),
      );
      t.same(
        await idsOf(store.list()),
        entries.map(({ id }) => id),
      );
      t.same(store.totals().get('dashcam')?.entries, 1000);
    },
  ),

  'a second entry with an id that is stored is refused': opened(async (t, store) => {
    const head = newHead();
    const [first, second] = await Promise.all([store.begin(head), store.begin(head)]);
    await first.commit();
    await t.rejects(second.commit(), { code: 'LAYBY_ENTRY_EXISTS' });
    await t.rejects(store.begin(head), { code: 'LAYBY_ENTRY_EXISTS' });
    t.equal(store.totals().get('dashcam')?.entries, 1);
  }),

  'list goes by seq over all destinations, and by destination, state, after and limit': opened(
    async (t, store, inFlight) => {
      const entries: Entry[] = [];
      for (let i = 0; i < 30; i++)
        entries.push(await put(store, `${i}`, { destination: ['a', 'b/ü', 'c'][i % 3]! }));
      const seqs = async (options: Parameters<Store['list']>[0]): Promise<number[]> =>
        (await all(store.list(options))).map(({ seq }) => seq);
      t.same(
        await seqs({}),
        entries.map(({ seq }) => seq),
      );
      t.same(await seqs({ destination: 'b/ü' }), [2, 5, 8, 11, 14, 17, 20, 23, 26, 29]);
      t.same(await seqs({ destination: 'b/ü', after: 14, limit: 2 }), [17, 20]);
      t.same(await seqs({ after: 28 }), [29, 30]);
      t.same(await seqs({ limit: 12, after: 1 }), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
      t.same(await seqs({ destination: 'nobody' }), []);
      await store.dead(entries[4]!.id, '403 Forbidden');
      inFlight.add(entries[0]!.id);
      t.same(await seqs({ state: 'dead' }), [5]);
      t.same(await seqs({ state: 'sending' }), [1]);
      t.same(await seqs({ state: 'stored', limit: 4 }), [2, 3, 4, 6]);
      t.same(await seqs({ state: 'undelivered', limit: 4 }), [1, 2, 3, 4]);
      inFlight.delete(entries[0]!.id);
      t.same(await seqs({ state: 'stored', limit: 2 }), [1, 2]);
    },
  ),
};
