// A captive portal in the place of the destination: nothing that is stored is lost to it, nothing becomes a dead letter, and with the
// portal gone everything is delivered.

import { createHash } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { type Asked, type ReplayScene, read, startReplay } from './scene.ts';

t.setTimeout(60_000);

const KIB = 1024;
const MIB = 1024 * KIB;
const PAGE = '<!DOCTYPE html><html><body>Please log in</body></html>';

const plain = destinationOf('api', { methods: ['PUT', 'POST', 'DELETE'] });
const api: Destination = { ...plain, upstream: { url: 'http://api.example' } };
const s3: Destination = {
  ...api,
  upstream: { url: 'http://s3.example', sign: { aws: { service: 's3', region: 'r' } } },
};

type Portal = (response: ServerResponse, asked: Asked) => void;

const PORTALS: Record<string, Portal> = {
  'a page': (response) => void response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE),
  'a page with an ETag': (response) =>
    void response.writeHead(200, { 'content-type': 'text/html', etag: '"64b7e2a1-1f4"' }).end(PAGE),
  'a redirect': (response) => void response.writeHead(302, { location: 'http://login.example/' }).end(),
  '511': (response) => void response.writeHead(511, { 'content-type': 'text/html' }).end(PAGE),
};

/** Resolves when no try of these is under way, and each was tried so often. */
const rest = async ({ store }: ReplayScene, ids: readonly string[], tries: number): Promise<void> => {
  for (;;) {
    const all = await Promise.all(ids.map((id) => store.get(id)));
    if (all.every((one) => one?.state === 'stored' && one.attempts >= tries)) return;
    if (all.some((one) => one === undefined || one.state === 'dead')) throw new Error('it has left');
    await new Promise(setImmediate);
  }
};

/** Says how an entry has left the lane, once it has. */
const ends = ({ store }: ReplayScene): ((id: string) => Promise<string>) => {
  const left = new Map<string, PromiseWithResolvers<string>>();
  const of = (id: string): PromiseWithResolvers<string> => {
    if (!left.has(id)) left.set(id, Promise.withResolvers());
    return left.get(id)!;
  };
  store.on('event', ({ id, kind }) => {
    if (kind === 'delivered' || kind === 'dead') of(id).resolve(kind);
  });
  return (id) => of(id).promise;
};

const linkBack = ({ replay }: ReplayScene): void => {
  for (const up of [false, true]) replay.link('api', { up, by: 'kernel', since: 0 });
};

/** Stores the entries, lets the portal answer them until `tries`, and then the destination. */
const through = async (
  t: Test,
  scene: ReplayScene,
  portal: Portal,
  entries: { method: string; path: string; bytes: number }[],
  answer: ReplayScene['answer'],
): Promise<void> => {
  scene.answer = async (asked, request, response) => {
    await read(asked, request);
    portal(response, asked);
  };
  const ids: string[] = [];
  const left = ends(scene);
  for (const { method, path, bytes } of entries) {
    const url = `http://api.example${path}`;
    ids.push(
      (
        await put(scene.store, Buffer.alloc(bytes), {
          ...{ destination: 'api', method, url },
          orderKey: path,
        })
      ).id,
    );
  }
  await scene.until(() => scene.asked.length >= 3);
  // While the destination pauses, one try at a time is all there is.
  scene.replay.link('api', { up: false, by: 'override', since: 0 });
  await rest(scene, ids, 0);
  const view = scene.replay.view((await scene.store.get(ids[0]!))!);
  t.match(view?.pause.after, /portal|login/, 'the destination pauses, and says why');
  scene.answer = answer;
  linkBack(scene);
  for (const id of ids) t.equal(await left(id), 'delivered');
};

const asS3: ReplayScene['answer'] = async (asked, request, response) => {
  const hash = createHash('md5');
  for await (const piece of request as AsyncIterable<Buffer>) hash.update(piece);
  response.writeHead(asked.method === 'DELETE' ? 204 : 200, { etag: `"${hash.digest('hex')}"` }).end();
};

for (const [what, portal] of Object.entries(PORTALS)) {
  t.test(`${what} in the place of S3 is no delivery and no refusal`, async (t) => {
    const scene = await startReplay(t, s3);
    await through(
      t,
      scene,
      portal,
      [
        { method: 'PUT', path: '/b/1', bytes: KIB },
        { method: 'DELETE', path: '/b/2', bytes: 0 },
        { method: 'PUT', path: '/b/3', bytes: 2 * MIB },
      ],
      asS3,
    );
  });
  t.test(`${what} in the place of a destination over http is no delivery and no refusal`, async (t) => {
    const scene = await startReplay(t, api);
    const entries = Array.from({ length: 20 }, (_, n) => ({ method: 'POST', path: `/${n}`, bytes: KIB }));
    await through(t, scene, portal, entries, async (asked, request, response) => {
      await read(asked, request);
      response.writeHead(201).end();
    });
  });
}

t.test('a large object goes in parts, and no answer of a portal ends it', async (t) => {
  const xml = (name: string, content: string): string => `<${name}>${content}</${name}>`;
  const real: ReplayScene['answer'] = async (asked, request, response) => {
    const hash = createHash('md5');
    for await (const piece of request as AsyncIterable<Buffer>) hash.update(piece);
    const etag = `"${hash.digest('hex')}"`;
    if (asked.method === 'PUT') response.writeHead(200, { etag }).end();
    else if (asked.method === 'GET') response.writeHead(403).end('<Error><Code>AccessDenied</Code></Error>');
    else if (asked.path.includes('uploads'))
      response.end(xml('InitiateMultipartUploadResult', xml('UploadId', 'u1')));
    else response.end(xml('CompleteMultipartUploadResult', xml('ETag', '"x-3"')));
  };
  for (const [what, portal] of Object.entries({
    ...PORTALS,
    'an empty 204': ((response) => void response.writeHead(204).end()) as Portal,
    'a 404 with a page': ((response) =>
      void response.writeHead(404, { 'content-type': 'text/html' }).end(PAGE)) as Portal,
    'a 400 with a page': ((response) =>
      void response.writeHead(400, { 'content-type': 'text/html' }).end(PAGE)) as Portal,
  }))
    for (const step of ['POST', 'PUT', 'complete'])
      await t.test(`${what} at ${step}`, async (t) => {
        const scene = await startReplay(t, s3);
        const left = ends(scene);
        let active = true;
        scene.answer = async (asked, request, response) => {
          const isComplete = asked.method === 'POST' && asked.path.includes('uploadId');
          const isIt = step === 'complete' ? isComplete : asked.method === step && !isComplete;
          if (!isIt || !active) return real(asked, request, response);
          await read(asked, request);
          portal(response, asked);
        };
        const { id } = await put(scene.store, Buffer.alloc(12 * MIB), {
          ...{ destination: 'api', method: 'PUT', url: 'http://api.example/b/k', orderKey: 'k' },
        });
        for (let n = 1; n <= 3; n++) {
          await rest(scene, [id], n);
          active = n < 3;
          linkBack(scene);
        }
        t.equal(await left(id), 'delivered');
      });
});

const resumable = {
  tus: { ...api, replay: { ...api.replay, resume: 'tus' } },
  ietf: { ...api, replay: { ...api.replay, resume: 'ietf' } },
} as const;

/** A server of both protocols, whose upload is at /files/1. */
const uploadServer = (portal: (asked: Asked, response: ServerResponse) => boolean): ReplayScene['answer'] => {
  let offset = 0;
  return async (asked, request, response) => {
    await read(asked, request);
    if (portal(asked, response)) return;
    const place = { location: '/files/1', 'tus-resumable': '1.0.0', 'upload-complete': '?0' };
    if (asked.method === 'POST') response.writeHead(201, { ...place, 'upload-offset': '0' }).end();
    else if (asked.method === 'OPTIONS')
      response.writeHead(204, { 'accept-patch': 'application/partial-upload' }).end();
    else if (asked.method === 'HEAD')
      response.writeHead(204, { ...place, 'upload-offset': String(offset) }).end();
    else {
      offset += asked.bytes;
      const done = { 'tus-resumable': '1.0.0', 'upload-complete': '?1', 'upload-offset': String(offset) };
      response.writeHead(204, done).end();
    }
  };
};

for (const [protocol, destination] of Object.entries(resumable))
  t.test(`an upload by ${protocol} is not ended by a portal at any of its steps`, async (t) => {
    for (const [what, portal] of Object.entries(PORTALS))
      for (const step of ['POST', 'PATCH', 'HEAD'])
        await t.test(`${what} at ${step}`, async (t) => {
          const scene = await startReplay(t, destination);
          const left = ends(scene);
          let active = true;
          // By the IETF's draft a first request that was lost makes the next try begin an upload; and an upload goes on after a
          // PATCH that was lost.
          const losses = [...(protocol === 'ietf' ? ['POST'] : []), ...(step === 'HEAD' ? ['PATCH'] : [])];
          const tries = losses.length + 2;
          scene.answer = uploadServer((asked, response) => {
            if (asked.method === losses[0]) {
              losses.shift();
              response.destroy();
              return true;
            }
            if (asked.method !== step || !active) return false;
            portal(response, asked);
            return true;
          });
          const { id } = await put(scene.store, Buffer.alloc(2 * MIB), {
            ...{ destination: 'api', method: 'POST', url: 'http://api.example/files', orderKey: 'k' },
          });
          for (let n = 1; n <= tries; n++) {
            await rest(scene, [id], n);
            active = n < tries;
            linkBack(scene);
          }
          t.equal(await left(id), 'delivered');
          t.ok(scene.asked.some(({ method }) => method === step));
        });
  });
