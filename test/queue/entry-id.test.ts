import t from 'tap';
import { entryId } from '../../src/queue/entry-id.ts';

t.test('ids are UUIDv7 of now, and no two are equal', async (t) => {
  const before = Date.now();
  const ids = Array.from({ length: 2_000 }, entryId);
  t.equal(new Set(ids).size, ids.length);
  for (const id of ids.slice(0, 3)) {
    t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    const at = Number.parseInt(id.replace('-', '').slice(0, 12), 16);
    t.ok(at >= before && at <= Date.now());
  }
});
