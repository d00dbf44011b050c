// A plain POST of an app becomes a tus upload where the policy asks for it, against the protocol's own server: it goes on where it was
// after a cut and a kill -9, and what is given up is taken back.

import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { FileStore } from '@tus/file-store';
import { Server } from '@tus/server';
import t, { type Test } from 'tap';
import { uploadPath } from '../../src/replay/deliver/upload-place.ts';
import { destination } from '../policy/destination.ts';
import { curl } from '../rig/app.ts';
import { startIntercept } from '../rig/intercept.ts';
import { startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, randomFile, sha256, untilDrained } from './scene.ts';

t.setTimeout(200_000);

const MIB = 1024 * 1024;

const scene = async (t: Test) => {
  const dir = testdir(t, { files: {} });
  const files = join(dir, 'files');
  const tus = new Server({
    path: '/files',
    datastore: new FileStore({ directory: files }),
    relativeLocation: true,
  });
  const server = createServer(tus.handle.bind(tus)).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const way = await startIntercept(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.teardown(() => way.close());
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf({
      ...{ name: 'files', url: way.url, store: { mode: 'always' } },
      replay: { resume: 'tus', rate: '64Mbit/s', retry: { max: '1s' } },
    }),
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-20).join('\n'));
    return layby.kill9('all');
  });
  const post = (body: { file: string } | string) =>
    curl('http://files.example/files', {
      ...{ method: 'POST', via: layby.outbound, body, maxTime: 20, headers: ['content-type: video/mp4'] },
    });
  const sent = () => way.exchanges.reduce((sum, { bytes }) => sum + bytes, 0);
  const kept = async () => (await readdir(files)).filter((name) => !name.endsWith('.json'));
  return { dir, files, way, layby, post, sent, kept };
};

t.test('a large POST goes on where it was', async (t) => {
  const { dir, files, way, layby, post, sent, kept } = await scene(t);
  const file = await randomFile(dir, 'clip', 24 * MIB);
  t.equal((await post({ file: file.path })).status, 307);
  await way.until(() => sent() > 8 * MIB);
  await layby.kill9('queue');
  await way.until(() => sent() > 16 * MIB);
  way.cut();
  setTimeout(() => way.restore(), 300);
  await untilDrained(layby);
  const [name, ...more] = await kept();
  t.same(more, [], 'one upload');
  t.equal(sha256(await readFile(join(files, name!))), file.sha256);
  t.match(await readFile(join(files, `${name}.json`), 'utf8'), /video\/mp4/);
  t.ok(sent() < 25.5 * MIB, `${sent() / MIB} MiB were sent for 24`);
});

t.test('an upload whose entry is dropped by a refusal is taken back', async (t) => {
  const { dir, way, layby, post, kept } = await scene(t);
  way.meddle = ({ method }) => (method === 'PATCH' ? { status: 413 } : 'pass');
  const file = await randomFile(dir, 'clip', 2 * MIB);
  t.equal((await post({ file: file.path })).status, 307);
  await layby.untilQueue(([line]) => line?.state === 'dead');
  await way.until((all) => all.some(({ method, status }) => method === 'DELETE' && status === 204));
  t.same(await kept(), []);
});

t.test('an upload is only where the policy lets bytes go', async (t) => {
  const to = destination({ upstream: { url: 'https://up.example/api' } });
  const called = 'http://files.example/files?x';
  t.equal(uploadPath(to, called, 'https://up.example/api/files/17?k=1'), '/files/17?k=1');
  t.equal(
    uploadPath(to, called, 'http://up.example/api/files/17'),
    '/files/17',
    'TLS ends before the server',
  );
  t.equal(uploadPath(to, called, '/api/files/17'), '/files/17');
  t.equal(uploadPath(to, called, 'files/17'), '/files/17');
  t.equal(uploadPath(to, called, 'https://evil.example/api/files/17'), undefined);
  t.equal(uploadPath(to, called, '/elsewhere'), undefined);
  t.equal(uploadPath(to, called, undefined), undefined);
});
