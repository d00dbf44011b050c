// An attempt goes on only as long as the policy allows it over the link that there is: replay on a real store, and a server that takes
// bodies as slowly as the test wants.

import type { IncomingMessage } from 'node:http';
import t, { type Test } from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import type { LinkNature } from '../../src/replay/allowed.ts';
import type { Body } from '../../src/replay/deliver/body.ts';
import type { Result } from '../../src/replay/deliver/deliver.ts';
import { why } from '../../src/replay/why.ts';
import { newHead, put } from '../../src/store/conformance.ts';
import type { Entry } from '../../src/store/store.ts';
import { destinationOf } from '../queue/scene.ts';
import { type Asked, type ReplayScene, read, startReplay } from './scene.ts';

const MIB = 1024 * 1024;
const WIFI: LinkNature = { kind: 'wifi', interface: 'wlan0', metered: false, roaming: false };
const LTE: LinkNature = { kind: 'lte', interface: 'wwan0', metered: true, roaming: false };

const to = (name: string, replay: Partial<Destination['replay']>): Destination => {
  const destination = destinationOf(name);
  return { ...destination, replay: { ...destination.replay, ...replay } };
};

const toS3 = (replay: Partial<Destination['replay']>): Destination => {
  const destination = to('dashcam', replay);
  const sign = { aws: { service: 's3', region: 'us-east-1' } } as const;
  return { ...destination, upstream: { ...destination.upstream, sign } };
};

/** Replay over Wi-Fi, to a server that reads only so far of all bodies together. */
const slowScene = async (t: Test, ...destinations: Destination[]) => {
  const scene = await startReplay(t, ...destinations);
  let [limit, got] = [0, 0];
  let wake = Promise.withResolvers<void>();
  const takes = async (asked: Asked, request: IncomingMessage): Promise<void> => {
    for await (const piece of request as AsyncIterable<Buffer>) {
      got += piece.length;
      asked.bytes += piece.length;
      scene.passed();
      while (got >= limit) await wake.promise;
    }
  };
  return Object.assign(scene, {
    takes,
    /** The server has read so many bytes, and reads no more. */
    read: async (bytes: number): Promise<void> => {
      limit = bytes;
      wake.resolve();
      wake = Promise.withResolvers();
      await scene.until(() => got >= bytes);
    },
    flow: () => {
      limit = Number.POSITIVE_INFINITY;
      wake.resolve();
    },
    link: (nature: LinkNature) => {
      scene.nature = nature;
      scene.replay.look();
    },
  });
};

const state = async ({ store }: ReplayScene, { id }: Entry) => (await store.get(id))?.state;
const days = ({ budget }: ReplayScene) => [budget.used('wifi').day, budget.used('lte').day];
const left = ({ store }: ReplayScene, name = 'dashcam') => store.totals().get(name)?.entries === 0;

t.test('an upload is interrupted at once when the link is one that the policy does not allow', async (t) => {
  const scene = await slowScene(t, toS3({ links: ['wifi'] }), to('api', {}));
  const parts: string[] = [];
  scene.answer = async (asked, request, response) => {
    const { searchParams } = new URL(asked.path, 'http://s3.example');
    const part = searchParams.get('partNumber');
    if (part !== null) {
      await scene.takes(asked, request);
      parts.push(part);
      response.setHeader('etag', `"${part}"`);
    } else await read(asked, request);
    if (searchParams.has('uploads'))
      response.end('<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>');
    else if (request.method === 'GET') response.writeHead(501).end();
    else if (searchParams.has('uploadId') && request.method === 'POST')
      response.end('<CompleteMultipartUploadResult><ETag>"x-3"</ETag></CompleteMultipartUploadResult>');
    else response.end();
  };
  scene.link(WIFI);
  const url = 'http://dashcam.example/bucket/clip';
  const clip = await put(scene.store, Buffer.alloc(13 * MIB), { orderKey: '', url });
  await scene.read(7 * MIB);
  const asked = scene.asked.length;
  scene.link(LTE);
  while ((await state(scene, clip)) !== 'stored');
  const [overWifi, overLte] = days(scene);
  t.ok(overWifi! >= 7 * MIB && overWifi! < 9 * MIB, `${overWifi} bytes left over Wi-Fi`);
  t.equal(overLte, 0);
  t.equal(scene.asked.length, asked, 'nothing is tried');
  t.notOk(
    scene.outcomes.some(({ reached }) => !reached),
    'the link is not reported as failing',
  );
  const now = (await scene.store.get(clip.id))!;
  const lane = scene.replay.view(now)!;
  t.equal(lane.pause.ms, 0, 'and the destination does not pause');
  t.match(why({ id: clip.id, now: 0, entry: now, lane }), [
    /^the link \(lte wwan0\) is none .*links is wifi$/,
  ]);

  await put(scene.store, 'x', { orderKey: '', url: 'http://api.example/x', destination: 'api' });
  await scene.until(() => left(scene, 'api'));
  t.same(days(scene), [overWifi, 1], 'others go on');

  scene.flow();
  scene.link(WIFI);
  await scene.until(() => left(scene));
  t.same(parts.sort(), ['1', '2', '3'], 'it went on where it was');
});

t.test('an upload that may go on over another link is counted for each by what left over it', async (t) => {
  const scene = await slowScene(t, to('dashcam', { budget: { lte: { daily: 20 * MIB } } }));
  scene.answer = async (asked, request, response) => {
    await scene.takes(asked, request);
    response.end();
  };
  scene.link(WIFI);
  await put(scene.store, Buffer.alloc(12 * MIB), { orderKey: '', url: 'http://dashcam.example/clip' });
  await scene.read(4 * MIB);
  scene.link(LTE);
  const [before, reserved] = days(scene) as [number, number];
  t.ok(before >= 4 * MIB && before < 6 * MIB, `${before} bytes left over Wi-Fi`);
  t.equal(before + reserved, 12 * MIB, 'what is still to be sent is reserved over LTE');
  scene.flow();
  await scene.until(() => left(scene));
  t.same(days(scene), [before, reserved]);
  t.equal(scene.asked.length, 1, 'in one request');
});

t.test('of uploads that a budget has no room for together the oldest goes on', async (t) => {
  const scene = await slowScene(t, to('dashcam', { budget: { lte: { daily: 5 * MIB } } }));
  scene.answer = async (asked, request, response) => {
    await scene.takes(asked, request);
    response.end();
  };
  scene.link(WIFI);
  const body = Buffer.alloc(4 * MIB);
  const first = await put(scene.store, body, { orderKey: '', url: 'http://dashcam.example/first' });
  const second = await put(scene.store, body, { orderKey: '', url: 'http://dashcam.example/second' });
  await scene.until(() => scene.asked.length === 2);
  await scene.read(1 * MIB);
  scene.link(LTE);
  while ((await state(scene, second)) !== 'stored');
  t.equal(await state(scene, first), 'sending');
  scene.flow();
  await scene.until(() => scene.store.totals().get('dashcam')?.entries === 1);
  const [, overLte] = days(scene);
  t.ok(overLte! <= 4 * MIB, 'the budget is not passed');
  scene.link(WIFI);
  await scene.until(() => left(scene));
});

t.test(
  'a policy that forbids what is under way interrupts it; what an operator wants now goes on',
  async (t) => {
    const scene = await slowScene(t, to('dashcam', {}));
    scene.answer = async (asked, request, response) => {
      await scene.takes(asked, request);
      response.end();
    };
    scene.link(LTE);
    const wanted = await put(scene.store, Buffer.alloc(4 * MIB), {
      ...{ orderKey: '', url: 'http://dashcam.example/wanted' },
    });
    const other = await put(scene.store, Buffer.alloc(4 * MIB), {
      ...{ orderKey: '', url: 'http://dashcam.example/other' },
    });
    await scene.replay.hurry(wanted);
    await scene.until(() => scene.asked.length === 2);
    for (const rules of [
      { budget: { lte: { monthly: 3 * MIB } } },
      { links: ['wifi'] as 'wifi'[] },
      { metered: 'deny' as const },
    ]) {
      await scene.read(1 * MIB);
      scene.policy(to('dashcam', rules));
      while ((await state(scene, other)) !== 'stored');
      t.equal(await state(scene, wanted), 'sending', JSON.stringify(rules));
      const { length } = scene.asked;
      scene.policy(to('dashcam', {}));
      await scene.until(() => scene.asked.length > length);
    }
    scene.flow();
    await scene.until(() => left(scene));
    t.equal(scene.asked.filter(({ path }) => path === '/wanted').length, 1);
  },
);

t.test('an upload whose body has left waits for its answer over whatever link there is', async (t) => {
  const scene = await slowScene(t, to('dashcam', { links: ['wifi'] }));
  const answer = Promise.withResolvers<void>();
  scene.answer = async (asked, request, response) => {
    await read(asked, request);
    scene.passed();
    await answer.promise;
    response.end();
  };
  scene.link(WIFI);
  await put(scene.store, Buffer.alloc(1000), { orderKey: '', url: 'http://dashcam.example/clip' });
  await scene.until(() => scene.asked[0]?.bytes === 1000);
  scene.link(LTE);
  answer.resolve();
  await scene.until(() => left(scene));
  t.equal(scene.asked.length, 1);
});

t.test('a body that grows is interrupted like an entry, and its budget counts it once', async (t) => {
  const budget = { wifi: { daily: 6 * MIB } };
  const scene = await slowScene(t, to('dashcam', { links: ['wifi'], budget }));
  scene.answer = async (asked, request, response) => {
    await scene.takes(asked, request);
    response.end();
  };
  scene.flow();
  scene.link(WIFI);
  let bytes = 2 * MIB;
  let grown = Promise.withResolvers<void>();
  const body: Body = {
    get bytes() {
      return bytes;
    },
    ...{ length: undefined, whole: false, trailers: [], md5: undefined, begun: () => {} },
    reaches: async (wanted, signal) => {
      while (bytes < wanted) {
        await Promise.race([
          grown.promise,
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        ]);
      }
    },
    async *read({ start = 0, end = bytes } = {}) {
      for (let at = start; at < end; at += 64 * 1024) yield Buffer.alloc(Math.min(64 * 1024, end - at));
    },
  };
  const grow = (to: number): void => {
    bytes = to;
    grown.resolve();
    grown = Promise.withResolvers();
  };
  const head = newHead({ url: 'http://dashcam.example/live', orderKey: '' });
  const follower = scene.replay.follow({ head, body, isItsTurn: async () => true })!;
  await scene.until(() => scene.asked[0]?.bytes === 2 * MIB);
  grow(5 * MIB);
  await scene.until(() => scene.asked[0]?.bytes === 5 * MIB);
  t.same(days(scene), [5 * MIB, 0], 'it had room: 5 of 6 MiB');
  const asked = scene.asked.length;
  grow(8 * MIB);
  await scene.until(() => scene.budget.used('wifi').day === 6 * MIB);
  scene.replay.look();
  t.equal(scene.asked.length, asked, 'nothing is begun again');
  scene.policy(to('dashcam', { links: ['wifi'] }));
  await scene.until(() => scene.asked.length > asked);
  await scene.until(() => scene.asked.at(-1)!.bytes === 8 * MIB);
  const before = days(scene);
  scene.link(LTE);
  grow(9 * MIB);
  t.same(days(scene), before);
  t.notOk(scene.outcomes.some(({ reached }) => !reached));
  await follower.abort();
});

t.test(
  'an upload that goes on behind its app is bound by the rules of links from its receipt on',
  async (t) => {
    const scene = await slowScene(t, to('dashcam', { links: ['wifi'] }));
    scene.answer = async (asked, request, response) => {
      await read(asked, request);
      response.end();
    };
    scene.link(WIFI);
    const ending = Promise.withResolvers<Result>();
    let sent = 1000;
    const head = newHead({ url: 'http://dashcam.example/clip', orderKey: '' });
    const writer = await scene.store.begin(head, 5000);
    await writer.write(Buffer.alloc(5000));
    // Before it can be seen, as the queue does it: replay would send it as well.
    const lease = scene.ledgers.of('dashcam').claim(head.id, performance.now());
    const entry = await writer.commit();
    const upload = {
      result: ending.promise,
      abort: () => ending.resolve({ kind: 'no-link', words: 'aborted', moved: sent }),
      sent: () => sent,
    };
    const adopted = scene.replay.adopt(entry, upload, lease);
    t.same(days(scene), [4000, 0], 'what left before the receipt was the own affair of its app');
    sent = 3000;
    scene.link(LTE);
    await adopted;
    t.same(days(scene), [2000, 0]);
    t.equal(await state(scene, entry), 'stored');
    scene.link(WIFI);
    await scene.until(() => left(scene));
    t.same(days(scene), [7000, 0]);
  },
);
