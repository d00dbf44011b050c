// Conversations with services of the vehicle, through the caller's sidecar and the one beside the service: WebSocket, gRPC and CONNECT,
// for who may call and for nobody else.

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import t from 'tap';
import {
  answerTo,
  echoed,
  grpcApp,
  grpcServer,
  http2App,
  upgrade,
  webSocketServer,
} from '../e2e/streams-scene.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { plane, sidecar } from './sidecar.ts';
import { MODES } from './xds-client.ts';

t.setTimeout(120_000);

const service = (name: string, address: number, app: number, more: object) =>
  JSON.stringify({
    apiVersion: 'layby.dev/v1alpha1',
    kind: 'Service',
    metadata: { name },
    spec: {
      ...{ hosts: [`${name}.vehicle`], node: 'ecu', allow: ['camera'], ...more },
      ...{ address: `127.0.0.1:${address}`, app: `127.0.0.1:${app}` },
    },
  });

const dir = testdir(t);
const chat = await webSocketServer(t);
const rpc = await grpcServer(t);
const file = join(dir, 'policy.yaml');
const services = [
  service('chat', await freePort(), chat.port, { tunnel: 'allow' }),
  service('rpc', await freePort(), rpc.port, { protocol: 'http2', tunnel: 'allow' }),
  service('closed', await freePort(), chat.port, {}),
];
await writeFile(file, services.join('\n---\n'));
const xds = { host: '127.0.0.1', port: await freePort() };
const control = await plane(t, dir, xds, file, 9, {});
const beside = (node: string) => sidecar(t, MODES[0]!, dir, xds, undefined, { node });
const [ecu, camera, stranger] = [await beside('ecu'), await beside('camera'), await beside('stranger')];
await control.until((all) => all.length === 3 && all.every(({ upToDate }) => upToDate));
// A cluster whose secrets have not come yet is warming, and the calls to it are Envoy's own 503.
for (const { call } of [camera, stranger]) while ((await call('chat.vehicle')).status === 503);

const at = ({ outbound }: { outbound: number }) => `127.0.0.1:${outbound}`;

const tunnel = async (
  from: { outbound: number },
  path: string,
): Promise<{ status: number; socket: Socket }> => {
  const asked = request({
    ...{ host: '127.0.0.1', port: from.outbound, method: 'CONNECT', path, agent: false },
  }).end();
  const [answer, socket] = await once(asked, 'connect');
  t.teardown(() => socket.destroy());
  return { status: answer.statusCode, socket };
};

for (const [who, from] of [
  ['from another node', camera],
  ['from its own', ecu],
] as const) {
  t.test(`a WebSocket with a service passes, ${who}`, async (t) => {
    const app = await upgrade(at(from), 'http://chat.vehicle/room?q=1');
    t.equal(app.status, 101);
    t.match(chat.handshakes.at(-1), { url: '/room?q=1', headers: { host: 'chat.vehicle' } });
    t.ok(await echoed(app.socket, Buffer.alloc(300_000, 'x')));
    app.socket.destroy();
  });

  t.test(`gRPC with a service passes, metadata and trailers and all, ${who}`, async (t) => {
    const app = grpcApp(t, at(from), 'rpc.vehicle');
    const { answer, first, trailers } = await app.unary('hello');
    t.equal(answer, 'hello');
    t.same(first.get('x-first'), ['yes']);
    t.same(trailers.get('x-sum'), ['42']);
    t.match((await app.unary('no')).error, { code: status.FAILED_PRECONDITION, details: 'not like this' });
    const call = app.bidi();
    for (const words of ['one', 'two']) {
      call.write(Buffer.from(words));
      t.equal(String((await once(call, 'data'))[0]), words);
    }
    call.end();
    call.resume();
    const [ended] = await once(call, 'status');
    t.equal(ended.code, status.OK);
  });

  t.test(`a tunnel leads to the app, whatever it speaks, ${who}`, async (t) => {
    for (const name of ['chat', 'rpc']) {
      const { port } = name === 'chat' ? chat : rpc;
      const { status, socket } = await tunnel(from, `${name}.vehicle:${port}`);
      t.equal(status, 200, name);
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
      const [said] = await once(socket, 'data');
      // A server of HTTP/1.1 refuses the preface of HTTP/2, and one of HTTP/2 answers with its settings.
      if (name === 'chat') t.match(String(said), /^HTTP\/1\.1 400/);
      else t.equal((said as Buffer)[3], 4);
      socket.destroy();
    }
    t.equal((await tunnel(from, 'chat.vehicle:1')).status, 403, 'another port');
    t.equal((await tunnel(from, `closed.vehicle:${chat.port}`)).status, 403, 'without tunnel: allow');
  });
}

t.test('over HTTP/2 of the app too', async (t) => {
  const stream = http2App(t, at(camera)).request({ ':authority': 'chat.vehicle', ':path': '/two' });
  t.match(await answerTo(stream), { status: 200, text: 'plain' });
});

t.test('who may not call the service may not talk with it in any way', async (t) => {
  const before = [chat.handshakes.length, rpc.calls.length];
  t.equal((await upgrade(at(stranger), 'http://chat.vehicle/')).status, 403);
  const { error } = await grpcApp(t, at(stranger), 'rpc.vehicle').unary('hello');
  t.match(error, { code: status.PERMISSION_DENIED });
  t.equal((await tunnel(stranger, `chat.vehicle:${chat.port}`)).status, 403);
  t.same([chat.handshakes.length, rpc.calls.length], before);
});
