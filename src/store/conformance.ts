// What any store must do, as tests: call it with a tap test and a way to open the store in a directory. It knows the contract
// in store.ts and nothing of any implementation.

import { createHash, randomBytes } from 'node:crypto';
import type { Test } from 'tap';
import { v7 as uuid } from 'uuid';
import type { Entry, EntryHead, Store } from './store.ts';

export type OpenStore = (dir: string) => Promise<Store>;

export const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

export const newHead = (head: Partial<EntryHead> = {}): EntryHead => ({
  id: uuid(),
  destination: 'dashcam',
  method: 'PUT',
  url: 'http://dashcam.example/2026/%E3%81%82+b.mp4?x=1&y',
  headers: ['Content-Type', 'video/mp4', 'X-Twice', 'a', 'x-twice', 'b'],
  orderKey: 'dashcam.example/2026/',
  class: 1,
  receivedAt: 1_790_000_000_000,
  ...head,
});

export const put = async (store: Store, body: Buffer | string, head?: Partial<EntryHead>): Promise<Entry> => {
  const bytes = Buffer.from(body);
  const writer = await store.begin(newHead(head), bytes.length);
  for (let at = 0; at < bytes.length; at += 65_536) await writer.write(bytes.subarray(at, at + 65_536));
  return writer.commit();
};

export const bodyOf = async (
  store: Store,
  entry: Entry,
  range?: { start?: number; end?: number },
): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  for await (const piece of store.read(entry, range)) pieces.push(piece);
  return Buffer.concat(pieces);
};

export const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
};

const idsOf = async (entries: AsyncIterable<Entry>): Promise<string[]> =>
  (await all(entries)).map(({ id }) => id);

type Scenario = (t: Test, open: OpenStore, dir: string) => Promise<void>;

const opened =
  (run: (t: Test, store: Store) => Promise<void>): Scenario =>
  async (t, open, dir) => {
    const store = await open(dir);
    try {
      await run(t, store);
    } finally {
      await store.close();
    }
  };

const scenarios: Record<string, Scenario> = {
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
    async (t, store) => {
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
      store.sending(entries[0]!.id, true);
      t.same(await seqs({ state: 'dead' }), [5]);
      t.same(await seqs({ state: 'sending' }), [1]);
      t.same(await seqs({ state: 'stored', limit: 4 }), [2, 3, 4, 6]);
      store.sending(entries[0]!.id, false);
      t.same(await seqs({ state: 'stored', limit: 2 }), [1, 2]);
    },
  ),

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

  'a failed try counts, and the entry waits again': opened(async (t, store) => {
    const { id } = await put(store, 'x');
    store.sending(id, true);
    t.equal((await store.get(id))?.state, 'sending');
    t.match(await store.failed(id, 'connection reset'), {
      state: 'stored',
      attempts: 1,
      lastError: 'connection reset',
    });
    t.match(await store.failed(id, 'timeout'), { attempts: 2, lastError: 'timeout' });
    t.equal(await store.failed('nobody', 'x'), undefined);
  }),

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
      t.equal(await store.edit(id, edit, 'too early'), false, 'only a dead letter');
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

  'a rule does not take an entry that is being sent, an operator does': opened(async (t, store) => {
    const { id } = await put(store, 'x');
    store.sending(id, true);
    t.equal(await store.drop(id, 'expired', 'ttl 7d'), false);
    t.equal(await store.drop(id, 'evicted', 'full'), false);
    t.equal((await store.get(id))?.state, 'sending');
    t.equal(await store.drop(id, 'dropped', 'by hand'), true);
    t.equal(await store.get(id), undefined);
  }),

  'what may be evicted comes by class, then by age, without what is being sent': opened(async (t, store) => {
    const entries: Entry[] = [];
    for (let i = 0; i < 24; i++)
      entries.push(await put(store, `${i}`, { destination: `d${i % 2}`, class: (i * 7) % 4 }));
    await store.dead(entries[1]!.id, 'refused');
    store.sending(entries[4]!.id, true);
    const expected = (below: number, destination?: string) =>
      entries
        .filter((entry) => entry.class < below && entry !== entries[4])
        .filter((entry) => destination === undefined || entry.destination === destination)
        .sort((a, b) => a.class - b.class || a.seq - b.seq)
        .map(({ id }) => id);
    for (const [below, destination] of [[0], [1], [3], [4], [4, 'd1'], [4, 'nobody']] as [number, string?][])
      t.same(
        (await all(store.evictable(below, destination))).map(({ id }) => id),
        expected(below, destination),
      );
  }),

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

  'room is made as far as it goes, and the rest is told': opened(async (t, store) => {
    t.equal(store.lacking(1000), 0);
    t.equal(await store.makeRoom(1000), 0);
    t.ok((await store.makeRoom(Number.MAX_SAFE_INTEGER)) > 0);
    const { id } = await put(store, 'still open');
    t.equal((await all(store.expired())).length, 0);
    t.equal((await store.get(id))?.state, 'stored');
  }),

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

  'what waits for a resource is found by any of its URLs, the newest first, whatever the order key': opened(
    async (t, store) => {
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

      store.sending(newest[0]!, true);
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

  'everything is there after closing and opening again, and sending is not remembered': async (
    t,
    open,
    dir,
  ) => {
    const body = randomBytes(900_000);
    const before = await open(dir);
    t.same(before.report.damage, []);
    const big = await put(before, body);
    const small = await put(before, 'small', { destination: 'other' });
    const dead = await put(before, 'dead');
    const gone = await put(before, 'gone');
    await before.dead(dead.id, 'refused');
    await before.failed(small.id, 'reset');
    await before.delivered(gone.id, 'ok');
    before.sending(big.id, true);
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

  'the disk use is counted': opened(async (t, store) => {
    const before = await store.physicalBytes();
    await put(store, randomBytes(2_000_000));
    t.ok((await store.physicalBytes()) >= before + 2_000_000);
  }),
};

/** Runs the whole suite; `open` must open the same store again after it was closed. */
export const conformance = async (t: Test, open: OpenStore): Promise<void> => {
  for (const [name, run] of Object.entries(scenarios))
    await t.test(name, async (test) => run(test, open, test.testdir()));
};
