// The way out as it really is: nobody says how much it carries, and connections share it evenly. Time is the test's.

import t from 'tap';
import { Share, WEIGHTS } from '../../src/replay/share.ts';
import { TokenBucket } from '../../src/replay/token-bucket.ts';

const [BULK, , , EVIDENCE] = [0, 1, 2, 3];
const STEP_MS = 10;

interface Upload {
  cls: number;
  /** What its destination takes at most, bytes per ms. */
  most?: number;
  from?: number;
  to?: number;
}

/** Bytes of each upload in each second. `carries`: bytes per ms, shared evenly by those that may send. */
function run(share: Share, carries: number, seconds: number, uploads: Upload[]): number[][] {
  const sent: number[][] = uploads.map(() => Array<number>(seconds).fill(0));
  for (let now = 0; now < seconds * 1000; now += STEP_MS) {
    const sending = uploads
      .map((upload, at) => ({ ...upload, at }))
      .filter(({ from = 0, to = Number.POSITIVE_INFINITY }) => now >= from && now < to)
      .filter(({ cls, most }) => most !== 0 && share.wait(cls, now) === 0)
      .sort((a, b) => (a.most ?? Number.POSITIVE_INFINITY) - (b.most ?? Number.POSITIVE_INFINITY));
    let left = carries * STEP_MS;
    for (const [i, { cls, most, at }] of sending.entries()) {
      const bytes = Math.min(left / (sending.length - i), (most ?? Number.POSITIVE_INFINITY) * STEP_MS);
      left -= bytes;
      share.took(cls, bytes, now);
      sent[at]![Math.floor(now / 1000)]! += bytes;
    }
  }
  return sent;
}

const sum = (bytes: number[], from = 0, to = bytes.length): number =>
  bytes.slice(from, to).reduce((all, one) => all + one, 0);

t.test('classes weigh 1, 4, 16 and 64', async (t) => {
  t.same(WEIGHTS, [1, 4, 16, 64]);
});

t.test('on one bottleneck the higher class has nearly all, and the lowest is not starved', async (t) => {
  const [bulk, evidence] = run(new Share(), 5_000, 60, [{ cls: BULK }, { cls: EVIDENCE }]);
  const all = sum(bulk!) + sum(evidence!);
  t.ok(sum(evidence!) / all > 0.88, `${sum(evidence!) / all}`);
  t.ok(sum(bulk!) > 0.01 * all);
  t.ok(all > 0.98 * 5_000 * 60_000, 'the way is never idle');
});

t.test('an upload of a lower class steps back within a second', async (t) => {
  const [bulk, evidence] = run(new Share(), 5_000, 12, [{ cls: BULK }, { cls: EVIDENCE, from: 10_000 }]);
  t.equal(sum(bulk!, 0, 10), 5_000 * 10_000, 'alone it had everything');
  t.ok(evidence![10]! > 0.9 * 5_000_000, `${evidence![10]}`);
});

t.test('a slow destination of a higher class does not hold the others back', async (t) => {
  const [bulk, evidence] = run(new Share(), 5_000, 60, [{ cls: BULK }, { cls: EVIDENCE, most: 100 }]);
  t.ok(sum(bulk!) > 0.85 * 4_900 * 60_000, `${sum(bulk!) / (4_900 * 60_000)}`);
  t.ok(sum(evidence!) > 0.99 * 100 * 60_000);
});

t.test('one that accepts and takes nothing costs the others nothing', async (t) => {
  const [bulk] = run(new Share(), 5_000, 10, [{ cls: BULK }, { cls: EVIDENCE, most: 0 }]);
  t.equal(sum(bulk!), 5_000 * 10_000);
});

t.test('one that stalls after it began is left behind within seconds', async (t) => {
  const share = new Share();
  const [bulk] = run(share, 5_000, 20, [{ cls: BULK }, { cls: EVIDENCE, from: 1_000, to: 5_000 }]);
  t.ok(sum(bulk!, 6) > 0.99 * 5_000 * 14_000);
});

t.test('small requests of a higher class, now and then, leave the way to a lower one', async (t) => {
  for (const every of [300, 1_500]) {
    const share = new Share();
    let bulk = 0;
    for (let now = 0; now < 60_000; now += STEP_MS) {
      if (now % every === 0 && share.wait(EVIDENCE!, now) === 0) {
        share.took(EVIDENCE!, 1_000, now);
        share.ended(EVIDENCE!, now + 5);
      }
      if (share.wait(BULK!, now + 6) > 0) continue;
      share.took(BULK!, 5_000 * STEP_MS, now + 6);
      bulk += 5_000 * STEP_MS;
    }
    t.ok(bulk > 0.6 * 5_000 * 60_000, `one each ${every} ms: ${bulk / (5_000 * 60_000)}`);
  }
});

t.test('one class shares as TCP does', async (t) => {
  const [a, b] = run(new Share(), 5_000, 10, [{ cls: 1 }, { cls: 1 }]);
  t.equal(sum(a!), sum(b!));
});

for (const rate of [20_000, 625_000, 12_500_000])
  t.test(
    `a rate of ${rate} bytes per second is kept within 5 % over 10 s, by four that share it`,
    async (t) => {
      const bucket = new TokenBucket(rate, 0);
      const free = [0, 0, 0, 0];
      let sent = 0;
      for (;;) {
        const at = free.indexOf(Math.min(...free));
        const now = free[at]!;
        // Timers are late, by up to 3 ms here.
        const leaves = now + bucket.take(bucket.piece, now) + (sent % 4);
        if (leaves >= 10_000) break;
        free[at] = leaves + 0.01;
        sent += bucket.piece;
      }
      t.ok(Math.abs(sent - rate * 10) < 0.05 * rate * 10, `${sent / (rate * 10)}`);
    },
  );
