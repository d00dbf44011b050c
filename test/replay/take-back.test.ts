// An upload that was begun is taken back at the destination when its entry leaves otherwise than delivered.

import t, { type Test } from 'tap';
import { put } from '../../src/store/conformance.ts';
import { destinationOf } from '../queue/scene.ts';
import { type ReplayScene, read, startReplay } from './scene.ts';

t.setTimeout(60_000);

const MIB = 1024 * 1024;

/** An upload is begun, and its first PATCH torn; then the destination is out of reach. */
const begunScene = async (t: Test): Promise<ReplayScene & { id: string; link: (up: boolean) => void }> => {
  const files = destinationOf('files');
  const scene = await startReplay(t, { ...files, replay: { ...files.replay, resume: 'tus' } });
  const { promise: cut, resolve: wasCut } = Promise.withResolvers<void>();
  scene.answer = async (asked, request, response) => {
    if (asked.method === 'PATCH') {
      request.once('data', () => {
        response.destroy();
        wasCut();
      });
      return;
    }
    await read(asked, request);
    response
      .writeHead(asked.method === 'POST' ? 201 : 204, { location: '/uploads/1', 'upload-offset': '0' })
      .end();
  };
  const { id } = await put(scene.store, Buffer.alloc(2 * MIB), {
    ...{ method: 'POST', url: 'http://files.example/uploads', destination: 'files', orderKey: '' },
  });
  const link = (up: boolean) => scene.replay.link('files', { up, by: 'override', since: 0 });
  await cut;
  link(false);
  await scene.until(() => true);
  while ((await scene.store.get(id))?.state !== 'stored') await new Promise(setImmediate);
  return Object.assign(scene, { id, link });
};

const taken = ({ asked }: ReplayScene) =>
  asked.filter(({ method }) => method === 'DELETE').map(({ path }) => path);

for (const [kind, rule] of [
  ['dropped', 'by an operator'],
  ['expired', 'ttl 7d'],
  ['evicted', 'no room'],
] as const)
  t.test(`an entry that is ${kind} leaves no upload behind`, async (t) => {
    const scene = await begunScene(t);
    t.equal(await scene.store.drop(scene.id, kind, rule), true);
    await scene.until(() => taken(scene).length === 1);
    t.same(taken(scene), ['/uploads/1']);
    while ((await scene.store.progress(scene.id)) !== undefined) await new Promise(setImmediate);
  });

t.test('an entry that is edited starts again, and the upload that it had begun is taken back', async (t) => {
  const scene = await begunScene(t);
  const edit = { url: 'http://files.example/elsewhere', restart: true };
  t.equal(await scene.store.edit(scene.id, edit, 'by an operator'), true);
  await scene.until(() => taken(scene).length === 1);
  t.same(taken(scene), ['/uploads/1']);
  scene.link(true);
  await scene.until(() => scene.asked.some(({ path, method }) => path === '/elsewhere' && method === 'POST'));
});

t.test(
  'an entry that is moved is begun anew at its new destination, and taken back at the old one',
  async (t) => {
    const scene = await begunScene(t);
    const to = { from: 'files', destination: 'others', orderKey: '' };
    t.equal(await scene.store.move(scene.id, to, 'by an operator'), true);
    await scene.until(() => taken(scene).length === 1);
    t.same(
      scene.asked.filter(({ method }) => method === 'DELETE').map(({ destination }) => destination),
      ['files'],
    );
    t.equal(await scene.store.progress(scene.id), undefined);
  },
);

t.test('nor one that left while the destination was out of reach, after a restart', async (t) => {
  const scene = await begunScene(t);
  const { answer } = scene;
  scene.answer = (_, request, response) => void request.resume().on('end', () => response.destroy());
  await scene.store.drop(scene.id, 'dropped', 'by an operator');
  await scene.until(() => taken(scene).length === 1);
  scene.answer = answer;
  await scene.again();
  await scene.until(() => taken(scene).length === 2);
  while ((await scene.store.progress(scene.id)) !== undefined) await new Promise(setImmediate);
  const before = scene.asked.length;
  await scene.again();
  scene.replay.link('files', { up: false, by: 'kernel', since: 0 });
  scene.replay.link('files', { up: true, by: 'kernel', since: 0 });
  await put(scene.store, 'x', { url: 'http://files.example/after', destination: 'files', orderKey: '' });
  await scene.until(() => scene.asked.length > before);
  t.match(scene.asked.slice(before), [{ path: '/after' }], 'once is enough');
});

t.test('one that is delivered leaves nothing to take back', async (t) => {
  const scene = await begunScene(t);
  scene.answer = async (asked, request, response) => {
    await read(asked, request);
    const offset = asked.method === 'HEAD' ? 0 : 2 * MIB;
    response.writeHead(204, { 'upload-offset': String(offset) }).end();
  };
  scene.link(true);
  await scene.until(() => (scene.store.totals().get('files')?.entries ?? 0) === 0);
  await scene.again();
  await put(scene.store, 'x', { url: 'http://files.example/after', destination: 'files', orderKey: '' });
  await scene.until(() => scene.asked.at(-1)?.path === '/after');
  t.same(taken(scene), []);
});

t.test('a page of a portal takes nothing back', async (t) => {
  const scene = await begunScene(t);
  const { answer } = scene;
  scene.answer = async (asked, request, response) => {
    await read(asked, request);
    response.writeHead(200, { 'content-type': 'text/html' }).end('<!DOCTYPE html><html></html>');
  };
  await scene.store.drop(scene.id, 'dropped', 'by an operator');
  await scene.until(() => taken(scene).length === 1);
  scene.answer = answer;
  // The link is back, so what is left behind is looked at again.
  while (taken(scene).length === 1) {
    scene.link(false);
    scene.link(true);
    await new Promise(setImmediate);
  }
  t.same(taken(scene), ['/uploads/1', '/uploads/1']);
  while ((await scene.store.progress(scene.id)) !== undefined) await new Promise(setImmediate);
});
