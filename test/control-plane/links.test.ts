// Manual overrides: of all links and of single ones, over restarts, and of destinations that come and go.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { overrideLines } from '../../src/cli/link-overrides.ts';
import { Edge } from '../../src/control-plane/edge.ts';
import { Links } from '../../src/control-plane/links.ts';
import type { Network } from '../../src/link/network.ts';
import type { EdgeState } from '../../src/wire/edge-service.ts';
import { linkMemoryText, readLinkMemory } from '../../src/wire/link-memory.ts';
import { destination } from '../policy/destination.ts';
import { testdir } from '../rig/testdir.ts';
import { memoryFile } from '../wire/memory-file.ts';

const log = pino({ level: 'silent' });
const policy = (...names: string[]) => ({
  version: names.join(),
  destinations: names.map((name) => destination({ name, upstream: { url: 'http://127.0.0.1:1' } })),
});

const start = (t: Test, file = memoryFile(), legacyFile?: string) => {
  const edge = new Edge(
    { setPolicy: () => {}, setHolds: () => true },
    { push: () => {}, settled: async () => true },
    log,
  );
  edge.setRemembered(new Set());
  edge.setPolicy(policy('a', 'b'));
  let found: (network: Network | undefined) => void = () => {};
  const links = new Links({
    ...{ edge, file, log, ...(legacyFile && { legacyFile }) },
    watch: (_log, onChange) => {
      found = onChange;
      return { look: () => {}, close: async () => {} };
    },
  });
  t.teardown(() => links.close());
  const states = () =>
    Object.fromEntries(
      edge
        .status()
        .map(({ name, hold, link }) => [name, link.by === 'override' ? `${link.state} ${hold}` : 'auto']),
    );
  return { edge, links, file, states, found: (network: Network | undefined) => found(network) };
};

t.test('link down for all also holds for a destination that is added later', async (t) => {
  const { edge, links, states, file } = start(t);
  const told: EdgeState[] = [];
  edge.attach((state) => told.push(state)).report({ pid: 1, policy_version: '', lanes: [] });
  await links.override('down', []);
  edge.setPolicy(policy('a', 'b', 'later'));
  t.same(states(), { a: 'down true', b: 'down true', later: 'down true' });
  t.match(
    told.find(({ policy }) => policy?.version === 'a,b,later')?.destinations.at(-1),
    { destination: 'later', link_up: false, link_by: 'override' },
    'the queue hears of both at once',
  );
  await links.override('auto', ['b']);
  t.same(states(), { a: 'down true', b: 'auto', later: 'down true' });
  t.same(overrideLines(links.overrides, ['a', 'b', 'later']), [
    'link override: down for all destinations, also those that are added later',
    'link override: auto for b',
  ]);
  const again = start(t, file);
  again.edge.setPolicy(policy('a', 'b', 'later', 'last'));
  t.same(again.states(), { a: 'down true', b: 'auto', later: 'down true', last: 'down true' });
  await again.links.override('auto', []);
  t.same(again.links.overrides, { all: 'auto', byName: {} });
});

t.test('link auto clears the override of a destination that the policy does not name any more', async (t) => {
  const { edge, links, states } = start(t);
  await links.override('down', ['b']);
  edge.setPolicy(policy('a'));
  t.match(overrideLines(links.overrides, ['a']), [/down for b, which the policy does not name/]);
  await t.rejects(links.override('down', ['b']), { code: 'LAYBY_DESTINATION_UNKNOWN' });
  await links.override('auto', ['b']);
  edge.setPolicy(policy('a', 'b'));
  t.same(states(), { a: 'auto', b: 'auto' });

  await links.override('down', ['b']);
  edge.setPolicy(policy('a'));
  await links.override('auto', []);
  edge.setPolicy(policy('a', 'b'));
  t.same(states(), { a: 'auto', b: 'auto' }, 'also where all are meant');
});

t.test('an override that cannot be kept takes effect, and the operator hears of it', async (t) => {
  const { links, states, file } = start(t);
  file.before = async () => {
    throw new Error('no room');
  };
  await t.rejects(links.override('down', ['a']), { code: 'LAYBY_LINK_NOT_KEPT' });
  t.same(states(), { a: 'down true', b: 'auto' });
});

t.test('overrides of an older version are taken over', async (t) => {
  const legacy = join(testdir(t), 'link-overrides.json');
  writeFileSync(legacy, '{"a":"down","b":"auto"}');
  const { links, states, file } = start(t, memoryFile(), legacy);
  t.same(states(), { a: 'down true', b: 'auto' });
  await links.close();
  t.match(readLinkMemory(file), { all: 'auto', byName: { a: 'down' } });
});

t.test('what the file has already is not written again, and the last kind of link stays in it', async (t) => {
  const first = start(t);
  await first.links.override('down', ['a']);
  await first.links.close();
  const network = { kind: 'lte', interface: 'wwan0', metered: true, roaming: false };
  const file = memoryFile(linkMemoryText({ ...readLinkMemory(first.file)!, network }));
  const again = start(t, file);
  await again.links.override('down', ['a']);
  t.equal(file.writes, 0);
  await again.links.override('down', ['b']);
  t.equal(file.writes, 1);
  await again.links.close();
});

t.test('the kind of link is told when it is known, or known to be unknowable, and not before', async (t) => {
  const { edge, file, links, found } = start(t);
  const told: EdgeState[] = [];
  edge.attach((state) => told.push(state));
  t.notOk(
    told.some(({ network }) => network),
    'nobody has looked yet',
  );
  found(undefined);
  t.match(
    told.find(({ network }) => network),
    { network: { kind: '' } },
  );
  const lte = { kind: 'lte', interface: 'wwan0', metered: true, roaming: false } as const;
  found({ ...lte, signal: 40, connectivity: 'full', by: 'networkmanager' });
  await links.close();
  t.match(readLinkMemory(file), { network: lte });
  const { writes } = file;
  found({ ...lte, signal: 41, connectivity: 'full', by: 'networkmanager' });
  await links.close();
  t.equal(file.writes, writes, 'a signal is nothing to write down');
});
