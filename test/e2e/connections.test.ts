// Connections of apps have a bound (envoy/bootstrap.yaml): past it they are closed at once, and neither the apps that are there nor the
// way out of the queue notice.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { curl } from '../rig/app.ts';
import { startLayby } from '../rig/layby.ts';
import { startRecorder } from '../rig/raw-http.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, untilDrained } from './scene.ts';

t.setTimeout(120_000);

const BOUND = 4096;

const opened = async (address: string): Promise<Socket> => {
  const [host, port] = address.split(':') as [string, string];
  const socket = connect(Number(port), host);
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
};

/** Its request is answered; false where it was closed instead. */
const isTaken = async (socket: Socket): Promise<boolean> => {
  if (socket.destroyed) return false;
  socket.write('GET /here HTTP/1.1\r\nHost: api.example\r\n\r\n');
  return Promise.race([
    once(socket, 'data').then(([bytes]) => String(bytes).startsWith('HTTP/1.1 200')),
    once(socket, 'close').then(() => false),
  ]).catch(() => false);
};

t.test(`of more connections ${BOUND} are taken, and what is stored still goes out`, async (t) => {
  const recorder = await startRecorder();
  t.teardown(() => recorder.close());
  const layby = await startLayby({
    data: join(testdir(t), 'd'),
    policy: policyOf({ name: 'api', url: `http://127.0.0.1:${recorder.port}` }),
  });
  t.teardown(() => layby.kill9('all'));
  await layby.link('down');
  const app = await opened(layby.outbound);
  const sockets = [app];
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  const receipt = await curl('http://api.example/stored', {
    ...{ method: 'PUT', via: layby.outbound, body: Buffer.from('1') },
  });
  t.equal(receipt.status, 307);
  for (let n = 0; n <= BOUND; n += 64)
    sockets.push(...(await Promise.all(Array.from({ length: 64 }, () => opened(layby.outbound)))));

  await layby.link('auto');
  await untilDrained(layby);
  const taken = await Promise.all(sockets.map(isTaken));
  t.equal(taken[0], true, 'who was there first is served');
  const count = taken.filter(Boolean).length;
  t.comment(`${count} of ${sockets.length}`);
  t.equal(count, BOUND);

  sockets[0]!.destroy();
  await once(sockets[0]!, 'close');
  const room = async () => isTaken(sockets[sockets.push(await opened(layby.outbound)) - 1]!);
  // Envoy hears of the end when it reads it.
  while (!(await room()));
  t.pass('one that goes makes room for one');
});
