import t from 'tap';
import { DeliveryLedger, KNOWN, type Listing, WINDOW } from '../../src/replay/delivery-ledger.ts';
import type { Entry } from '../../src/store/store.ts';

const entry = (seq: number, orderKey: string, changed: Partial<Entry> = {}): Entry => ({
  id: `id-${seq}`,
  destination: 'd',
  method: 'PUT',
  url: 'http://d.example/',
  headers: [],
  orderKey,
  class: 1,
  receivedAt: 0,
  seq,
  bytes: 1,
  sha256: '',
  trailers: [],
  state: 'stored',
  attempts: 0,
  ...changed,
});

/** A lane on a disk of its own, read to its end, or as far as the ledger wants it. */
const scene = (...entries: Entry[]) => {
  const lane = [...entries];
  let changes = 0;
  const ledger = new DeliveryLedger(() => {
    changes += 1;
  });
  const walk = (listing: Listing, wanted: number): void => {
    let left = wanted;
    for (const each of lane.sort((a, b) => a.seq - b.seq)) {
      if (each.seq <= listing.after) continue;
      if (!ledger.accept(listing, each) || --left === 0) {
        ledger.listed(listing, false);
        return;
      }
    }
    ledger.listed(listing, true);
  };
  const list = (now = 0): number => {
    let walks = 0;
    for (let wanted = ledger.wanted(now); wanted > 0; wanted = ledger.wanted(now)) {
      walk(ledger.list(), wanted);
      if (++walks > 1_000) throw new Error('it lists again and again');
    }
    return walks;
  };
  list();
  return {
    ledger,
    lane,
    list,
    walk,
    seqs: (now = 0) => [...ledger.candidates(now)].map(({ seq }) => seq),
    grant: (seq: number, now = 0) => {
      const candidate = [...ledger.candidates(now)].find((one) => one.seq === seq);
      if (!candidate) throw new Error(`${seq} may not be sent`);
      return ledger.grant(candidate, now);
    },
    get changes() {
      return changes;
    },
  };
};

t.test('entries of one key go one after the other, those of others side by side', async (t) => {
  const { ledger, seqs, grant } = scene(
    entry(1, 'a'),
    entry(2, 'a'),
    entry(3, 'b'),
    entry(4, ''),
    entry(5, ''),
  );
  t.same(seqs(), [1, 3, 4, 5]);
  const lease = grant(1);
  t.same(seqs(), [3, 4, 5], '2 waits for 1');
  t.same(ledger.inFlight, { entries: 1, bytes: 1 });
  t.ok(ledger.isInFlight('id-1'));
  ledger.release(lease, 'left');
  t.same(seqs(), [2, 3, 4, 5]);
  t.notOk(ledger.isInFlight('id-1'));
  t.same(ledger.inFlight, { entries: 0, bytes: 0 });
});

t.test('an entry that pauses blocks its key, and nothing else', async (t) => {
  const { ledger, seqs, grant } = scene(entry(1, 'a'), entry(2, 'a'), entry(3, 'b'));
  ledger.release(grant(1), { notBefore: 100 });
  t.same(seqs(50), [3]);
  t.equal(ledger.nextAt(50), 100, 'when the pause of 1 is over; 2 waits for 1');
  t.match(ledger.place('id-2'), { notBefore: 0, olderId: 'id-1' });
  t.same(seqs(100), [1, 3]);
  ledger.release(grant(1, 100), { notBefore: 1_000 });
  ledger.wake();
  t.same(seqs(100), [1, 3], 'a link that comes back ends every pause');
});

t.test('a request that is in flight before it holds an entry back', async (t) => {
  const { ledger, seqs, changes } = scene(entry(1, 'a'), entry(2, 'b'));
  const release = ledger.gate.enter('a');
  t.same(seqs(), [2]);
  release();
  t.same(seqs(), [1, 2]);
  t.ok(changes >= 0);
});

t.test('what cannot be sent does not hide what is behind it', async (t) => {
  const refused = Array.from({ length: 1_000 }, (_, n) => entry(n + 1, `key-${n}`));
  const blocked = Array.from({ length: 1_000 }, (_, n) => entry(n + 2_001, 'key-0'));
  const { ledger, lane, list, seqs, grant } = scene(...refused, ...blocked, entry(9_000, 'behind'));
  for (let walks = 0; walks < 10; walks++) {
    for (const seq of seqs())
      if (seq <= 1_000) ledger.release(grant(seq), { notBefore: 60_000, refusals: 1 });
    list();
  }
  t.same(seqs(), [9_000]);
  t.equal(ledger.known, lane.length);
});

t.test('more than can be remembered is gone through in passes, each key in its order', async (t) => {
  const many = Array.from({ length: 3 * KNOWN }, (_, n) => entry(n + 1, `key-${n % (2 * KNOWN)}`));
  const { ledger, list, seqs } = scene(...many, entry(9e6, 'behind'));
  const tried = new Set<number>();
  while (!tried.has(9e6)) {
    const now = [...ledger.candidates(0)];
    t.ok(now.length > 0, 'there is always something to try');
    for (const candidate of now) {
      const { seq } = candidate;
      const older = seq - 2 * KNOWN;
      if (older > 0 && seq < 9e6) t.fail(`${seq} before ${older}`);
      ledger.release(ledger.grant(candidate, 0), { notBefore: 60_000, refusals: 1 });
      tried.add(seq);
    }
    list();
    if (ledger.known > KNOWN) t.fail(`${ledger.known} are known`);
  }
  t.ok(tried.size >= 2 * KNOWN - 10, 'nearly each key was tried; a few share a bit with another one');
  t.equal(ledger.again, 60_000);
  ledger.begin();
  list(60_000);
  t.equal(seqs(60_000)[0], 1, 'then it begins anew');
});

t.test('a dead letter that comes back while the lane is read costs nobody his place', async (t) => {
  const { ledger, lane, list, walk, seqs } = scene();
  const all = Array.from({ length: 60 }, (_, n) => entry(n + 1, 'k'));
  const dead = all[20]!;
  lane.push(...all.filter((one) => one !== dead));
  ledger.appended();
  const listing = ledger.list();
  for (const each of lane.slice(0, 30)) t.ok(ledger.accept(listing, each));
  lane.push(dead);
  await ledger.cameBack(async () => dead);
  t.notOk(ledger.accept(listing, lane[30]!), 'the walk looked before it came back');
  walk(listing, 0);
  list();
  const order: number[] = [];
  for (let next = seqs()[0]; next !== undefined; next = seqs()[0]) {
    order.push(next);
    const lease = ledger.grant([...ledger.candidates(0)][0]!, 0);
    ledger.release(lease, 'left');
  }
  t.same(
    order,
    all.map(({ seq }) => seq),
  );
});

t.test('while an entry that came back is read nothing overtakes it', async (t) => {
  const { ledger, seqs } = scene(entry(2, 'a'), entry(3, 'b'));
  const { promise, resolve } = Promise.withResolvers<Entry>();
  const back = ledger.cameBack(() => promise);
  t.same(seqs(), []);
  resolve(entry(1, 'a'));
  await back;
  t.same(seqs(), [1, 3]);
  await ledger.cameBack(async () => entry(1, 'b'));
  t.same(seqs(), [1, 2], 'with another key it blocks others');
  await ledger.cameBack(async () => {
    throw new Error('the disk');
  });
  t.same(seqs(), [], 'what cannot be read is listed anew, with all else');
  t.equal(ledger.wanted(0), WINDOW);
});

t.test('an upload that became an entry while the lane was read is leased once', async (t) => {
  const { ledger, lane, list, seqs } = scene();
  const lease = ledger.claim('id-1', 5);
  t.throws(() => ledger.claim('id-1', 5), { code: 'LAYBY_ENTRY_EXISTS' });
  lane.push(entry(1, 'a', { state: 'sending' }), entry(2, 'a'));
  ledger.appended();
  list();
  t.same(seqs(), []);
  ledger.becomes(lease, entry(1, 'a'));
  t.same(ledger.inFlight, { entries: 1, bytes: 1 });
  ledger.release(lease, { notBefore: 0, refusals: 0 });
  t.same(seqs(), [1]);
});

t.test('with the window full and the next one adopted, the lane is not read again and again', async (t) => {
  const { ledger, lane, list } = scene(...Array.from({ length: WINDOW - 1 }, (_, n) => entry(n + 1, '')));
  const next = entry(WINDOW, '');
  ledger.becomes(ledger.claim(next.id, 0), next);
  lane.push(next);
  ledger.appended();
  t.ok(list() <= 1);
});

t.test('an entry that leaves while it is delivered ends its delivery', async (t) => {
  const { ledger, seqs, grant } = scene(entry(1, 'a'), entry(2, 'a'));
  const lease = grant(1);
  ledger.left('id-1');
  t.ok(lease.end.signal.aborted);
  t.same(seqs(), [2]);
  ledger.release(lease, { notBefore: 0 });
  t.same(seqs(), [2]);
  t.throws(() => ledger.release(lease, 'left'), /not leased/);
});

t.test(
  'an entry that left while the lane was read does not come back by what the walk had read before',
  async (t) => {
    const { ledger, lane, list, grant, seqs } = scene(entry(1, 'a'), entry(2, 'b'));
    const [delivered, dropped] = [grant(1), grant(2)];
    ledger.begin();
    const listing = ledger.list();
    ledger.release(delivered, 'left');
    ledger.left('id-2');
    for (const each of lane) t.ok(ledger.accept(listing, each) || listing.stale);
    ledger.listed(listing, true);
    t.same(seqs(), []);
    ledger.release(dropped, 'left');
    lane.splice(0);
    list();
    t.same(seqs(), []);
  },
);
