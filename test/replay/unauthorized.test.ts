// Refused credentials: no large body is sent again to learn that they are still wrong, the pause grows, and it ends when they are right.

import t from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { type Asked, clock, type ReplayScene, read, startReplay } from './scene.ts';

t.setTimeout(60_000);

const MIB = 1024 * 1024;
const plain = destinationOf('api');
const signed: Destination = {
  ...plain,
  upstream: { url: 'http://api.example', sign: { aws: { service: 'vpc-lattice-svcs', region: 'r' } } },
};

const store = async (scene: ReplayScene, path: string, bytes: number): Promise<string> =>
  (
    await put(scene.store, Buffer.alloc(bytes), {
      ...{ destination: 'api', url: `http://api.example${path}`, orderKey: path },
    })
  ).id;

/** Resolves when it waits, after so many tries. */
const waits = async (scene: ReplayScene, id: string, tries: number): Promise<number> => {
  for (;;) {
    const entry = await scene.store.get(id);
    if (entry?.state === 'stored' && entry.attempts >= tries) {
      const pause = scene.replay.view(entry)?.place?.pauseMs ?? 0;
      if (pause > 0) return pause;
    }
    await new Promise(setImmediate);
  }
};

const linkBack = ({ replay }: ReplayScene): void => {
  for (const up of [false, true]) replay.link('api', { up, by: 'kernel', since: 0 });
};

const refuse =
  (status: number): ReplayScene['answer'] =>
  async (asked, request, response) => {
    if (asked.headers.expect === undefined) await read(asked, request);
    response.writeHead(status).end();
  };

for (const status of [401, 403])
  t.test(`after ${status} a large body waits for 100 Continue, and the pause grows`, async (t) => {
    const scene = await startReplay(t, signed);
    scene.answer = refuse(status);
    scene.wants = () => false;
    const id = await store(scene, '/a', 4 * MIB);
    const pauses = [await waits(scene, id, 1)];
    for (let tries = 2; tries <= 5; tries++) {
      linkBack(scene);
      pauses.push(await waits(scene, id, tries));
    }
    t.same(
      scene.asked.map(({ bytes }) => bytes),
      [4 * MIB, 0, 0, 0, 0],
      'the body was sent once',
    );
    for (const [n, pause] of pauses.entries()) {
      const nominal = 30_000 * 2 ** n;
      t.ok(pause > nominal * 0.75 && pause <= nominal * 1.2, `pause ${n + 1}: ${pause} ms`);
    }
    scene.wants = () => true;
    scene.answer = async (asked, request, response) => {
      await read(asked, request);
      response.end();
    };
    linkBack(scene);
    await scene.until(() => scene.asked.at(-1)?.bytes === 4 * MIB);
    while (await scene.store.get(id)) await new Promise(setImmediate);
  });

t.test('once another entry is delivered, those that were refused go at once', async (t) => {
  const scene = await startReplay(t, signed);
  scene.answer = refuse(403);
  const ids = [await store(scene, '/a', 1000), await store(scene, '/b', 1000)];
  for (const id of ids) await waits(scene, id, 1);
  scene.answer = (_, request, response) => void request.resume().on('end', () => response.end());
  const began = performance.now();
  const last = await store(scene, '/c', 1000);
  for (const id of [...ids, last]) while (await scene.store.get(id)) await new Promise(setImmediate);
  t.equal(scene.asked.length, 5);
  t.ok(performance.now() - began < 20_000, 'without waiting for the end of their pause');
});

t.test('a policy with other credentials is tried at once', async (t) => {
  const scene = await startReplay(t, signed);
  scene.answer = refuse(401);
  const id = await store(scene, '/a', 1000);
  await waits(scene, id, 1);
  scene.answer = (_: Asked, request, response) => void request.resume().on('end', () => response.end());
  const began = performance.now();
  scene.policy({
    ...signed,
    headers: { request: { set: [['x-key', '2']], remove: [] }, response: { set: [], remove: [] } },
  });
  while (await scene.store.get(id)) await new Promise(setImmediate);
  t.equal(scene.asked.length, 2);
  t.ok(performance.now() - began < 20_000);
});

t.test(
  'where the app has signed, a refused request is a dead letter with the remedy after a few tries',
  async (t) => {
    const later = clock(t);
    const { sign: _, ...upstream } = signed.upstream;
    const scene = await startReplay(t, { ...signed, upstream });
    scene.answer = (_, request, response) =>
      void request
        .resume()
        .on('end', () =>
          response
            .writeHead(403)
            .end('<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>'),
        );
    const id = await store(scene, '/b/k?X-Amz-Signature=0&X-Amz-Expires=60', 1000);
    for (let tries = 1; tries <= 3; tries++) {
      await waits(scene, id, tries);
      later(60_000);
      linkBack(scene);
    }
    for (;;) {
      const entry = await scene.store.get(id);
      if (entry?.state === 'dead') {
        t.match(
          entry.reason,
          /^403: refused 4 times, .*layby queue edit.*layby queue retry.*Request has expired/,
        );
        t.match(entry.answer, { status: 403 });
        break;
      }
      await new Promise(setImmediate);
    }
    t.equal(scene.asked.length, 4);
  },
);

t.test('a redirect to another host is a dead letter once others are delivered beside it', async (t) => {
  const later = clock(t);
  const scene = await startReplay(t, plain);
  scene.answer = (asked, request, response) =>
    void request.resume().on('end', () => {
      if (asked.path === '/moved') response.writeHead(302, { location: 'http://other.example/' });
      response.end();
    });
  const id = await store(scene, '/moved', 1000);
  for (let tries = 1; tries <= 3; tries++) {
    if (tries < 3) await waits(scene, id, tries);
    const other = await store(scene, `/${tries}`, 1000);
    while (await scene.store.get(other)) await new Promise(setImmediate);
    later(60_000);
    linkBack(scene);
  }
  for (;;) {
    const entry = await scene.store.get(id);
    if (entry?.state === 'dead') {
      t.match(
        entry.reason,
        /^302: 302 to another host, http:\/\/other\.example\/.* while other requests were delivered/,
      );
      break;
    }
    await new Promise(setImmediate);
  }
  t.equal(scene.asked.filter(({ path }) => path === '/moved').length, 3);
  t.notOk(
    scene.asked.some(({ headers }) => /other/.test(headers.host ?? '')),
    'never followed',
  );
});
