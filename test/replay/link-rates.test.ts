// The rate of a link holds for all destinations together, beside that of each: on real bodies out of a real store.

import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import type { LinkNature } from '../../src/replay/allowed.ts';
import { LinkBuckets, linkRates } from '../../src/replay/link-rates.ts';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { type Asked, startReplay } from './scene.ts';

t.setTimeout(60_000);

const lte: LinkNature = { kind: 'lte', interface: 'wwan0', metered: true, roaming: false };
const wifi: LinkNature = { kind: 'wifi', interface: 'wlan0', metered: false, roaming: false };
const to = (name: string, replay: Partial<Destination['replay']>): Destination => ({
  ...destinationOf(name),
  replay: { concurrency: 2, resume: 'none', retry: { max: 200 }, ...replay },
});

t.test(
  'of several rates for one kind the lowest holds, and a bucket lives as long as its rate',
  async (t) => {
    const policy = [
      to('a', { linkRates: { lte: 500, wifi: 9 } }),
      to('b', { linkRates: { lte: 300 } }),
      to('c', {}),
    ];
    t.same(linkRates(policy), { lte: 300, wifi: 9 });
    const buckets = new LinkBuckets();
    t.equal(buckets.of('lte'), undefined);
    buckets.policy(policy, 0);
    const bucket = buckets.of('lte')!;
    t.equal(bucket.rate, 300);
    t.equal(buckets.of(undefined), undefined);
    t.equal(buckets.of('wired'), undefined);
    buckets.policy([policy[1]!], 1);
    t.equal(buckets.of('lte'), bucket, 'what was taken from it stays taken');
    t.equal(buckets.of('wifi'), undefined);
  },
);

t.test(
  'over ten seconds the rates of link and destination are kept within 5 %, and another link has its own',
  async (t) => {
    const MB = 1_000_000;
    const scene = await startReplay(
      t,
      to('a', { linkRates: { lte: MB } }),
      to('b', { rate: 250_000 }),
      to('c', {}),
    );
    scene.nature = lte;
    for (const name of ['a', 'b', 'c'])
      for (let n = 0; n < 3; n++)
        await put(scene.store, Buffer.alloc(6 * MB), {
          ...{ url: `http://${name}.example/${n}`, orderKey: '', destination: name },
        });
    const of = (name: string): number =>
      scene.asked.reduce((sum, one: Asked) => sum + (one.destination === name ? one.bytes : 0), 0);
    const all = (): number => of('a') + of('b') + of('c');
    await scene.until(() => of('a') > 0 && of('b') > 0 && of('c') > 0);
    await sleep(500);
    const from = { at: performance.now(), all: all(), b: of('b') };
    await sleep(10_000);
    const seconds = (performance.now() - from.at) / 1_000;
    const link = (all() - from.all) / seconds / MB;
    const own = (of('b') - from.b) / seconds / 250_000;
    t.ok(link > 0.95 && link < 1.05, `the link carried ${link.toFixed(3)} of its rate`);
    t.ok(own > 0.95 && own < 1.05, `b had ${own.toFixed(3)} of its own`);
    t.ok(of('a') > 0.25 * all() && of('c') > 0.25 * all(), 'a and c share the rest');
    scene.nature = wifi;
    const began = performance.now();
    const before = all();
    await scene.until(() => all() - before > 6 * MB);
    const fast = 6_000 / (performance.now() - began);
    t.ok(fast > 2, `over Wi-Fi it goes at ${fast.toFixed(1)} times the rate of the other link`);
  },
);
