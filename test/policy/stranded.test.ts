// What a change of policy does to entries that are stored.

import t from 'tap';
import { hostsLost, strandedBy, strandedText } from '../../src/policy/stranded.ts';
import { destinationOf } from '../queue/scene.ts';

const policy = (of: Record<string, string[]>) => ({
  version: '1',
  destinations: Object.entries(of).map(([name, hosts]) => ({ ...destinationOf(name), hosts })),
});
const stored = new Map([
  ['cam', 3],
  ['api', 1],
]);

t.test('a destination that goes strands its entries, and who serves its hosts is told', async (t) => {
  const before = policy({
    cam: ['cam.example', 'other.example'],
    api: ['api.example'],
    empty: ['x.example'],
  });
  t.same(strandedBy(before, before, stored), []);
  t.same(strandedBy(before, policy({ camera: ['cam.example'], api: ['api.example'] }), stored), [
    { destination: 'cam', entries: 3, removed: true, hosts: ['cam.example'], to: ['camera'] },
  ]);
  const [gone, one] = strandedBy(before, policy({}), stored);
  t.match(gone, { destination: 'cam', removed: true, hosts: [], to: [] });
  t.match(
    strandedText(gone!),
    /^3 entries are stored for cam, which is removed: .*queue move --from cam --to NAME/,
  );
  t.match(strandedText(one!), /^1 entry is stored for api/);
});

t.test('a host that goes to another destination is told with those that keep theirs', async (t) => {
  const before = policy({ cam: ['cam.example', '*.video.example'], api: ['api.example'] });
  const after = policy({
    cam: ['*.video.example'],
    api: ['api.example', 'cam.example', 'front.video.example'],
  });
  t.same(strandedBy(before, after, stored), [
    {
      destination: 'cam',
      entries: 3,
      removed: false,
      hosts: ['cam.example', 'front.video.example'],
      to: ['api'],
    },
  ]);
  const text = strandedText(strandedBy(before, after, stored)[0]!);
  t.match(text, /cam\.example, front\.video\.example go to api: .*queue move --from cam --to api/);
  t.ok(text.length < 256, 'kubectl shows all of it');
  t.same(hostsLost(before, after, 'api'), [], 'who gains one has lost none');
  t.same(hostsLost(after, after, 'cam'), [], 'it was the other one already');
  const wider = policy({ cam: ['cam.example', '*.video.example'], api: ['*.example'] });
  t.same(hostsLost(before, wider, 'cam'), [], 'a more exact name counts before a wider one');
  t.same(hostsLost(before, policy({ cam: [], api: ['*.example'] }), 'cam'), [
    { host: 'cam.example', to: 'api' },
    { host: '*.video.example', to: 'api' },
  ]);
});
