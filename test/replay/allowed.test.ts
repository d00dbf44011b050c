// Which link an entry may go over: as a table, and in replay on a real store, with a server for the destination.

import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { Egress } from '../../src/egress/egress.ts';
import type { Destination } from '../../src/policy/policy.ts';
import { forbidden, type LinkNature } from '../../src/replay/allowed.ts';
import { Budget } from '../../src/replay/budget.ts';
import { DeliveryLedgers } from '../../src/replay/delivery-ledgers.ts';
import { Hurried } from '../../src/replay/hurried.ts';
import { Replay } from '../../src/replay/replay.ts';
import { why } from '../../src/replay/why.ts';
import { put } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import { logger } from '../../src/telemetry/log.ts';
import { listen } from '../../src/wire/http.ts';
import { destinationOf } from '../queue/scene.ts';
import { testdir } from '../rig/testdir.ts';

const log = logger('queue');
log.level = 'silent';

const lte: LinkNature = { kind: 'lte', interface: 'wwan0', metered: true, roaming: false };
const wifi: LinkNature = { kind: 'wifi', interface: '', metered: false, roaming: false };
const dashcam = (replay: Partial<Destination['replay']>): Destination => ({
  ...destinationOf('dashcam'),
  replay: { concurrency: 4, resume: 'none', retry: { max: 200 }, ...replay },
});
const unused = { day: 0, month: 0 };

t.test(
  'the policy forbids by kind, metered, roaming and budget, and nothing where the kind is not known',
  async (t) => {
    for (const [replay, link, used, bytes, words] of [
      [{}, lte, unused, 1, undefined],
      [
        { links: ['wifi', 'wired'] },
        lte,
        unused,
        1,
        /^the link \(lte wwan0\) is none .*links is wifi, wired$/,
      ],
      [{ links: ['wifi'] }, wifi, unused, 1, undefined],
      [{ links: ['wifi'] }, { ...lte, kind: undefined }, unused, 1, undefined],
      [{ metered: 'deny' }, lte, unused, 1, /is metered, and replay\.metered of dashcam is deny$/],
      [{ metered: 'deny' }, wifi, unused, 1, undefined],
      [{ roaming: 'deny' }, { ...lte, roaming: true }, unused, 1, /is roaming/],
      [{ roaming: 'deny' }, lte, unused, 1, undefined],
      [{ budget: { lte: { daily: 100 } } }, lte, { day: 60, month: 900 }, 40, undefined],
      [{ budget: { lte: { daily: 100 } } }, lte, { day: 60, month: 60 }, 41, /daily budget .* has 40 of 100/],
      [{ budget: { lte: { monthly: 100 } } }, lte, { day: 0, month: 120 }, 1, /monthly .* has 0 of 100/],
      [{ budget: { lte: { monthly: 100 } } }, wifi, { day: 0, month: 120 }, 1, undefined],
    ] as const) {
      const said = forbidden(dashcam(replay as Partial<Destination['replay']>), link, used, bytes);
      if (words === undefined) t.equal(said, undefined);
      else t.match(said, words);
    }
  },
);

t.test(
  'replay sends what the policy lets go, all of it on another link, and what an operator wants now',
  async (t) => {
    const dir = testdir(t);
    const arrived: string[] = [];
    let changed = () => {};
    const server = createServer(async (request, response) => {
      for await (const _ of request);
      arrived.push(request.url!);
      response.end();
      changed();
    });
    // A socket's path has 107 bytes at most.
    const sockets = await mkdtemp(join(tmpdir(), 'layby-replay-'));
    t.teardown(() => rm(sockets, { recursive: true }));
    const at = { unix: join(sockets, 'egress') };
    await listen(server, at);
    const until = (count: number) =>
      new Promise<void>((resolve) => {
        changed = () => arrived.length >= count && resolve();
        changed();
      });
    const ledgers = new DeliveryLedgers((destination) => replay?.wake(destination));
    const store = await openStore(join(dir, 'store'), { isInFlight: (id) => ledgers.isInFlight(id) });
    ledgers.follow(store);
    const egress = new Egress(at);
    const budget = new Budget(join(dir, 'usage.json'), log);
    let nature = lte;
    const left: (() => void)[] = [];
    const replay: Replay = new Replay({
      store,
      egress,
      log,
      budget,
      hurried: new Hurried(join(dir, 'send-now'), log),
      nature: () => nature,
      ledgers,
      onOutcome: () => {},
      maySend: () => true,
      onLeft: () => left.shift()?.(),
      count: () => {},
    });
    const entry = (name: string, bytes: number) =>
      put(store, 'x'.repeat(bytes), { url: `http://dashcam.example/${name}`, orderKey: '' });
    const large = await entry('large', 800);
    const [first, second] = [await entry('first', 300), await entry('second', 300)];
    await entry('third', 300);
    const policy = (rules: Partial<Destination['replay']>) =>
      replay.policy({ version: '1', destinations: [dashcam(rules)] });

    policy({ budget: { lte: { daily: 700 } } });
    replay.start();
    await until(2);
    t.same(arrived.sort(), ['/first', '/second'], 'the two that fit, side by side');
    while ((await store.get(first.id)) || (await store.get(second.id)));
    t.same(budget.used('lte'), { day: 600, month: 600 });
    const lane = replay.view(large)!;
    t.match(why({ id: large.id, now: 0, entry: large, lane }), [
      /daily budget of dashcam for lte has 100 of 700/,
    ]);

    await replay.hurry(large);
    await until(3);
    t.equal(arrived.at(-1), '/large');
    nature = wifi;
    replay.look();
    await until(4);
    t.equal(arrived.at(-1), '/third');

    nature = { ...lte, roaming: true };
    policy({ roaming: 'deny' });
    const fifth = await entry('fifth', 1);
    t.match(replay.view(fifth)?.forbidden, /roaming/);
    policy({ roaming: 'allow' });
    await until(5);
    await replay.stop();
    await egress.close();
    await budget.close();
    await store.close();
    server.closeAllConnections();
    server.close();
  },
);
