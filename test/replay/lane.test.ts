import t from 'tap';
import { Lane, WINDOW } from '../../src/replay/lane.ts';
import type { Entry } from '../../src/store/store.ts';

const entry = (seq: number, orderKey: string): Entry => ({
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
});

const laneOf = (...entries: Entry[]): Lane => {
  const lane = new Lane();
  for (const each of entries) lane.add(each);
  return lane;
};

t.test('entries of one key go one after the other, those of others side by side', async (t) => {
  const lane = laneOf(entry(1, 'a'), entry(2, 'a'), entry(3, 'b'));
  t.equal(lane.next(0)?.seq, 1);
  t.equal(lane.next(0)?.seq, 3);
  t.equal(lane.next(0), undefined, '2 waits for 1');
  lane.left('id-1');
  t.equal(lane.next(0)?.seq, 2);
});

t.test('an entry that pauses blocks its key, and nothing else', async (t) => {
  const lane = laneOf(entry(1, 'a'), entry(2, 'a'), entry(3, 'b'));
  lane.next(0);
  lane.stays(entry(1, 'a'), 100);
  t.equal(lane.next(50)?.seq, 3);
  t.equal(lane.next(50), undefined);
  t.equal(lane.nextAt(), 100, 'when the pause of 1 is over, not that of 2, which waits for 1');
  t.equal(lane.next(100)?.seq, 1);
});

t.test('without a key nothing waits for another', async (t) => {
  const lane = laneOf(entry(1, ''), entry(2, ''));
  lane.next(0);
  lane.stays(entry(1, ''), 100);
  t.equal(lane.next(0)?.seq, 2);
});

t.test('one key for all keeps the strict order', async (t) => {
  const lane = laneOf(entry(1, '*'), entry(2, '*'));
  t.equal(lane.next(0)?.seq, 1);
  t.equal(lane.next(0), undefined);
});

t.test('a link that comes back ends every pause', async (t) => {
  const lane = laneOf(entry(1, 'a'));
  lane.next(0);
  lane.stays(entry(1, 'a'), 1_000);
  t.equal(lane.next(0), undefined);
  lane.wake();
  t.equal(lane.next(0)?.seq, 1);
});

t.test('rewinding keeps what is under way and lists the rest anew', async (t) => {
  const lane = laneOf(entry(5, 'a'), entry(6, 'b'));
  lane.next(0);
  lane.rewind();
  t.equal(lane.seen, 0);
  t.ok(lane.has('id-5'));
  t.notOk(lane.has('id-6'));
  t.equal(lane.room, WINDOW - 1);
});

t.test('an older entry that comes back waits for a newer one with its key that is on its way', async (t) => {
  const lane = new Lane();
  const [older, newer] = [entry(1, 'a'), entry(2, 'a')];
  lane.add(newer);
  t.equal(lane.next(0)?.seq, 2);
  lane.rewind();
  lane.add(older);
  t.equal(lane.next(0), undefined);
  t.equal(lane.nextAt(), undefined);
  lane.left(newer.id);
  t.equal(lane.next(0)?.seq, 1);
});
