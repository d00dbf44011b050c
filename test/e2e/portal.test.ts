// A captive portal in front of a real S3 server, and a server that refuses credentials, both behind a real Envoy.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { noGo } from '../rig/go.ts';
import { type Layby, startLayby } from '../rig/layby.ts';
import { testdir } from '../rig/testdir.ts';
import { untilEvent } from '../rig/until-event.ts';
import { BUCKET, MIB, makeS3Scene } from './s3-scene.ts';
import { randomFile, untilDrained } from './scene.ts';

t.setTimeout(200_000);

const PAGE = '<!DOCTYPE html><html><body>Please log in</body></html>';

/** Pauses of the destinations end. */
const bounce = async (layby: Layby): Promise<void> => {
  await layby.link('down');
  await layby.link('auto');
};

for (const server of ['versitygw', 'rclone'] as const)
  t.test(
    `a portal in front of ${server} gets nothing delivered`,
    { skip: server === 'versitygw' && noGo },
    async (t) => {
      const scene = await makeS3Scene(t, { server });
      const { way, layby, s3, dir } = scene;
      const portals = [
        { status: 200, headers: { 'content-type': 'text/html' }, body: PAGE },
        { status: 302, headers: { location: 'http://login.example/' } },
        { status: 511, headers: { 'content-type': 'text/html' }, body: PAGE },
      ];
      let open = false;
      way.meddle = () => (open ? 'pass' : portals[way.exchanges.length % portals.length]!);
      const large = await randomFile(dir, 'large', 6 * MIB);
      const put = await scene.store('small', 'hello');
      await scene.store('large', { file: large.path });
      await scene.store('gone', 'x');
      const removed = await curl(`http://cam.example/${BUCKET}/gone`, {
        method: 'DELETE',
        via: layby.outbound,
      });
      t.equal(removed.status, 307);
      await way.until((all) => all.filter(({ told }) => told).length >= 3);
      const states = (await layby.queue()).map(({ state }) => state);
      t.equal(states.length, 4, 'nothing was delivered');
      t.notOk(states.includes('dead'), 'nothing was refused');
      t.match(await layby.cli('why', put), /portal|login/);
      open = true;
      await bounce(layby);
      await untilDrained(layby, 60_000);
      const objects = await s3.objects();
      t.same(
        objects.map(({ key }) => key),
        ['large', 'small'],
      );
      t.equal(objects[0]!.sha256, large.sha256);
    },
  );

t.test('of a large body that is refused nothing leaves the vehicle a second time', async (t) => {
  const heard: { expect: string | undefined; bytes: number; status: number }[] = [];
  let open = false;
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const one = { expect: request.headers.expect, bytes: 0, status: open ? 200 : 401 };
    heard.push(one);
    request.on('error', () => {});
    if (one.expect !== undefined && open) response.writeContinue();
    if (one.expect === undefined || open)
      for await (const piece of request as AsyncIterable<Buffer>) one.bytes += piece.length;
    response.on('finish', () => server.emit('answered'));
    response.writeHead(one.status).end();
  };
  const server = createServer((request, response) => void serve(request, response));
  server.on('checkContinue', (request, response) => void serve(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const dir = testdir(t);
  const layby = await startLayby({
    data: join(dir, 'data'),
    policy: JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Destination',
      metadata: { name: 'api' },
      spec: {
        hosts: ['api.example'],
        upstream: { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
        headers: { request: { set: ['Authorization: Bearer old'] } },
        store: { mode: 'always' },
      },
    }),
  });
  t.teardown(() => layby.kill9('all'));
  const file = await randomFile(dir, 'body', 8 * MIB);
  const call = await curl('http://api.example/a', {
    method: 'PUT',
    body: { file: file.path },
    via: layby.outbound,
  });
  t.equal(call.status, 307);
  const answers = (count: number) =>
    untilEvent(
      server,
      'answered',
      () => heard.length >= count,
      30_000,
      () => JSON.stringify(heard),
    );
  if (heard.length < 1) await answers(1);
  for (let tries = 2; tries <= 3; tries++) {
    await layby.untilQueue(([line]) => line?.state === 'stored' && line.attempts === tries - 1);
    const answered = answers(tries);
    await bounce(layby);
    await answered;
  }
  t.same(heard, [
    { expect: undefined, bytes: 8 * MIB, status: 401 },
    { expect: '100-continue', bytes: 0, status: 401 },
    { expect: '100-continue', bytes: 0, status: 401 },
  ]);
  await layby.untilQueue(([line]) => line?.state === 'stored' && line.attempts === 3);
  open = true;
  await bounce(layby);
  await untilDrained(layby, 60_000);
  t.same(heard.at(-1), { expect: '100-continue', bytes: 8 * MIB, status: 200 });
});
