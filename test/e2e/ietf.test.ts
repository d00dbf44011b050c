// A plain request of an app becomes a resumable upload of the IETF's draft where the policy asks for it and the server speaks it: it
// goes on where it was after a cut and a kill -9, through a real Envoy, which passes the 104 on.

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { appendLimit, integerOf } from '../../src/replay/deliver/ietf.ts';
import { curl } from '../rig/app.ts';
import { type IetfServerOptions, startIetfServer } from '../rig/ietf-server.ts';
import { startIntercept } from '../rig/intercept.ts';
import { startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, randomFile, sha256, untilDrained } from './scene.ts';

t.setTimeout(200_000);

const MIB = 1024 * 1024;

const scene = async (t: Test, options: IetfServerOptions = {}) => {
  const dir = testdir(t);
  const server = await startIetfServer(options);
  t.teardown(() => server.close());
  const way = await startIntercept(server.url);
  t.teardown(() => way.close());
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: policyOf({
      ...{ name: 'files', url: way.url, store: { mode: 'always' } },
      replay: { resume: 'ietf', rate: '64Mbit/s', retry: { max: '1s' } },
    }),
  });
  t.teardown(() => {
    if (!t.passing()) t.comment(layby.lines.slice(-20).join('\n'));
    return layby.kill9('all');
  });
  const put = (body: { file: string }) =>
    curl('http://files.example/clips/1.mp4', {
      ...{ method: 'PUT', via: layby.outbound, body, maxTime: 20, headers: ['content-type: video/mp4'] },
    });
  const sent = () => way.exchanges.reduce((sum, { bytes }) => sum + bytes, 0);
  return { dir, server, way, layby, put, sent };
};

t.test('a large PUT goes on where it was', async (t) => {
  const { dir, server, way, layby, put, sent } = await scene(t);
  const file = await randomFile(dir, 'clip', 24 * MIB);
  t.equal((await put({ file: file.path })).status, 307);
  await way.until(() => sent() > 8 * MIB);
  await layby.kill9('queue');
  await way.until(() => sent() > 16 * MIB);
  way.cut();
  setTimeout(() => way.restore(), 300);
  await untilDrained(layby);
  const [got, ...more] = server.received;
  t.same(more, [], 'once');
  t.match(got, { method: 'PUT', path: '/clips/1.mp4', headers: { 'content-type': 'video/mp4' } });
  t.equal(sha256(got!.body), file.sha256);
  t.equal(server.uploads.size, 1, 'one upload');
  t.ok(sent() < 25.5 * MIB, `${sent() / MIB} MiB were sent for 24`);
  t.match(
    way.exchanges.map(({ method }) => method),
    ['PUT', 'HEAD', 'PATCH', 'HEAD', 'PATCH'],
  );
});

t.test('an answer that was lost is settled by HEAD', async (t) => {
  const { dir, server, way, layby, put, sent } = await scene(t);
  way.meddle = ({ method }) => (method === 'PUT' ? 'lose-answer' : 'pass');
  const file = await randomFile(dir, 'clip', 2 * MIB);
  t.equal((await put({ file: file.path })).status, 307);
  await untilDrained(layby);
  t.equal(server.received.length, 1);
  t.equal(sent(), 2 * MIB);
});

t.test(
  'a server that says no 104 is asked by OPTIONS, and the second try goes on where it was',
  async (t) => {
    const { dir, server, way, layby, put, sent } = await scene(t, { interim: false, maxAppend: 5 * MIB });
    const file = await randomFile(dir, 'clip', 12 * MIB);
    t.equal((await put({ file: file.path })).status, 307);
    await untilDrained(layby);
    const methods = way.exchanges.map(({ method, bytes, status }) => `${method} ${bytes / MIB} ${status}`);
    t.same(
      methods,
      ['PUT 12 413', 'OPTIONS 0 204', 'PUT 0 201', 'PATCH 5 204', 'PATCH 5 204', 'PATCH 2 200'],
      'and none is longer than the server takes',
    );
    t.equal(sha256(server.received[0]!.body), file.sha256);
    t.equal(sent(), 24 * MIB);
  },
);

t.test('a server that does not speak it gets what the app sent, also at the second try', async (t) => {
  let tries = 0;
  const status = () => (++tries === 1 ? 503 : 200);
  const { dir, server, way, layby, put } = await scene(t, { speaks: false, status });
  const file = await randomFile(dir, 'clip', 2 * MIB);
  t.equal((await put({ file: file.path })).status, 307);
  await untilDrained(layby);
  t.same(
    way.exchanges.map(({ method, bytes }) => `${method} ${bytes / MIB}`),
    ['PUT 2', 'OPTIONS 0', 'PUT 2'],
  );
  t.equal(sha256(server.received[0]!.body), file.sha256);
});

t.test('what is given up is taken back', async (t) => {
  const { dir, server, way, layby, put } = await scene(t);
  way.meddle = ({ method }) => (method === 'PATCH' ? { status: 422 } : 'pass');
  const file = await randomFile(dir, 'clip', 8 * MIB);
  t.equal((await put({ file: file.path })).status, 307);
  await way.until((all) => all.some(({ bytes }) => bytes > 2 * MIB));
  way.cut();
  setTimeout(() => way.restore(), 300);
  await layby.untilQueue(([line]) => line?.state === 'dead');
  await way.until((all) => all.some(({ method, status }) => method === 'DELETE' && status === 204));
  t.equal(server.uploads.size, 0);
});

t.test('a representation that is refused when it is whole begins anew, or is a dead letter', async (t) => {
  let tries = 0;
  const { dir, server, way, layby, put } = await scene(t, { status: () => (++tries === 1 ? 500 : 409) });
  const file = await randomFile(dir, 'clip', 2 * MIB);
  t.equal((await put({ file: file.path })).status, 307);
  await layby.untilQueue(([line]) => line?.state === 'dead');
  t.equal(server.received.length, 0);
  t.same(
    way.exchanges
      .filter(({ method }) => method !== 'DELETE')
      .map(({ method, bytes }) => [method, bytes / MIB]),
    [
      ['PUT', 2],
      ['OPTIONS', 0],
      ['PUT', 0],
      ['PATCH', 2],
    ],
  );
});

t.test('structured headers are read as the draft says', async (t) => {
  t.equal(integerOf('17'), 17);
  t.equal(integerOf(' 17 ;x=1'), 17);
  for (const bad of [undefined, '', '-1', '1.5', '"17"', '17 18']) t.equal(integerOf(bad), undefined);
  t.equal(appendLimit('max-size=9, max-append-size=100'), 100);
  t.equal(appendLimit('max-append-size=100;x=y, max-age=3'), 100);
  for (const none of [undefined, 'max-size=9', 'max-append-size=?1', 'max-append-size=0'])
    t.equal(appendLimit(none), Number.POSITIVE_INFINITY);
});
