// The report of one node: what it holds, how large it may become, and which changes of it are worth a write.

import t from 'tap';
import { buildReport, changeOf, cutText } from '../../src/policy/sources/kubernetes/build-report.ts';
import { checkNodeName } from '../../src/policy/sources/kubernetes/names.ts';
import type { Finding, Verdict } from '../../src/policy/sources/kubernetes/objects.ts';

const verdict = (name: string, findings: readonly Finding[] = []): Verdict => ({
  object: {
    kind: 'Destination',
    metadata: {
      ...{ namespace: 'default', name, uid: `uid-${name}`, resourceVersion: '1', generation: 3 },
      creationTimestamp: '2026-01-01T00:00:00Z',
    },
    spec: {},
  },
  findings,
});

const report = (changes: Partial<Parameters<typeof buildReport>[0]> = {}) =>
  buildReport({
    version: '0.1.0',
    now: '2026-01-01T00:00:00Z',
    verdicts: [verdict('api')],
    standing: () => ({ sidecars: 2, programmed: 2 }),
    backlog: undefined,
    queueAnswers: true,
    ...changes,
  });

const backlog = (entries: number, orphans: { destination: string; entries: number }[] = []) => ({
  destinations: new Map([['api', { entries, dead: 0 }]]),
  orphans,
});

t.test('what is nothing is left out', async (t) => {
  const object = {
    kind: 'Destination',
    namespace: 'default',
    name: 'api',
    uid: 'uid-api',
    observedGeneration: 3,
  };
  t.strictSame(report({ standing: () => ({ sidecars: 0, programmed: 0 }) }).objects, [
    { ...object, accepted: true },
  ]);
  t.strictSame(
    report({
      verdicts: [verdict('api', [{ path: 'spec.x', message: 'no' }])],
      backlog: { destinations: new Map([['api', { entries: 7, dead: 2 }]]), orphans: [] },
    }).objects,
    [{ ...object, accepted: false, message: 'spec.x: no', sidecars: 2, programmed: 2, entries: 7, dead: 2 }],
  );
});

t.test(
  'numbers alone are no change that is worth a write; whether all sidecars are up to date is',
  async (t) => {
    const before = report({ backlog: backlog(1) });
    const later = '2026-01-01T00:00:09Z';
    const standing = (sidecars: number, programmed: number) => () => ({ sidecars, programmed });
    for (const [what, changes, change] of [
      ['the time', {}, 'none'],
      ['entries', { backlog: backlog(2) }, 'numbers'],
      ['no entries', { backlog: backlog(0) }, 'numbers'],
      ['one more sidecar, up to date', { standing: standing(3, 3) }, 'numbers'],
      ['one that waits', { standing: standing(3, 2) }, 'more'],
      ['the queue', { queueAnswers: false }, 'more'],
      ['an orphan', { backlog: backlog(1, [{ destination: 'old', entries: 1 }]) }, 'more'],
      ['an object', { verdicts: [verdict('api'), verdict('b')] }, 'more'],
      ['a refusal', { standing: () => ({ sidecars: 2, programmed: 1, nack: 'no' }) }, 'more'],
    ] as const)
      t.equal(changeOf(before, report({ backlog: backlog(1), now: later, ...changes })), change, what);
    t.equal(changeOf(undefined, before), 'more');
  },
);

t.test('a text is cut between characters, and says so', async (t) => {
  t.equal(cutText('short', 20), 'short');
  const cut = cutText('ä'.repeat(600), 1024);
  t.match(cut, /^ä+ … \(cut\)$/);
  t.ok(Buffer.byteLength(cut) <= 1024);
  const { objects } = report({ verdicts: [verdict('api', [{ path: '', message: 'x'.repeat(5000) }])] });
  t.equal(Buffer.byteLength(objects[0]!.message!), 1024);
});

t.test(
  'thousands of objects stay within 256 KiB: what is wrong comes first, and the rest is counted',
  async (t) => {
    const many = Array.from({ length: 5000 }, (_, n) =>
      verdict(`destination-${n}`, n >= 4900 ? [{ path: 'spec', message: 'no'.repeat(2000) }] : []),
    );
    const orphans = Array.from({ length: 900 }, (_, n) => ({
      destination: `gone-${n}`.padEnd(300, 'x'),
      entries: n,
    }));
    const full = report({ verdicts: many, backlog: backlog(0, orphans) });
    const size = Buffer.byteLength(JSON.stringify(full));
    t.ok(size < 252 * 1024, `${size} bytes`);
    t.ok(full.objects.length > 500, `${full.objects.length} objects`);
    t.equal(full.objects.filter(({ accepted }) => !accepted).length, 100);
    t.equal(full.omitted, 5000 - full.objects.length + 700);
    t.equal(
      changeOf(
        full,
        report({
          verdicts: many,
          backlog: backlog(0, orphans),
          standing: () => ({ sidecars: 999, programmed: 999 }),
        }),
      ),
      'numbers',
      'longer numbers push nothing out',
    );
  },
);

t.test('a thousand objects that are right all fit', async (t) => {
  const many = Array.from({ length: 1000 }, (_, n) => verdict(`destination-${n}`));
  t.equal(report({ verdicts: many }).objects.length, 1000);
  t.equal(report({ verdicts: many }).omitted, undefined);
});

t.test('a node is called as Kubernetes calls nodes', async (t) => {
  for (const name of ['edge-1', 'ip-10-0-0-1.eu.internal', 'a']) t.equal(checkNodeName(name), name);
  for (const name of ['Edge', 'edge_1', '', '-a', 'a..b', 'a/b', 'a'.repeat(254)])
    t.throws(() => checkNodeName(name), { code: 'LAYBY_KUBERNETES_CONFIG_INVALID' }, name.slice(0, 10));
});

t.test('what is held is counted by kind, with the first names, and worth a write', async (t) => {
  t.equal(report().held, undefined);
  const keys = Array.from({ length: 1_000 }, (_, i) => `Destination d${i}`);
  const { held } = report({ held: [...keys, 'Mesh', 'Service s'] });
  t.match(held, {
    count: 1_002,
    kinds: [
      { kind: 'Destination', count: 1_000, names: ['d0'] },
      { kind: 'Service', count: 1, names: ['s'] },
      { kind: 'Mesh', count: 1 },
    ],
  });
  t.ok(JSON.stringify(held).length < 1_024);
  t.equal(changeOf(report(), report({ held: ['Mesh'] })), 'more');
});
