// Clients that send 8 MiB to where it is refused at once: by the queue, since the store has no room, and by the destination. Each of them sees the
// refusal, and none a connection that was reset; with a real Envoy in between, and without. One variant of each client with a length and one
// without.

import { once } from 'node:events';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { saveLastGood } from '../../src/policy/last-good.ts';
import { parsePolicy } from '../../src/policy/parse.ts';
import { startQueue } from '../../src/queue/queue.ts';
import { logger } from '../../src/telemetry/log.ts';
import { bodyFile } from '../rig/clients/body-file.ts';
import { upload } from '../rig/clients/uploads/uploader.ts';
import { UPLOADERS } from '../rig/clients/uploads/uploaders.ts';
import { startLayby } from '../rig/layby.ts';
import { freePort } from '../rig/ports.ts';
import { testdir } from '../rig/testdir.ts';
import { policyOf, untilSidecar } from './scene.ts';

t.setTimeout(600_000);

const MIB = 1024 * 1024;
const CLIENTS = [
  ...['curl -T FILE', 'curl -T -', 'wget --method=PUT --body-file=FILE'],
  ...['http.client: bytes', 'http.client: generator', 'requests: bytes', 'requests: generator'],
  ...['urllib3: bytes', 'urllib3: generator', 'httpx: bytes', 'httpx: generator'],
  ...['aiohttp: bytes', 'aiohttp: async generator', 'Node fetch: Buffer', 'Node fetch: stream'],
  ...['undici: Buffer', 'undici: stream', 'axios: Buffer', 'axios: stream', 'got: Buffer', 'got: stream'],
  ...['node:http: stream', 'Go net/http: bytes', 'Java HttpClient: file'],
];
const here = { inVehicle: (argv: readonly string[]) => [...argv] };

const full = (url: string) => ({
  name: 'full',
  hosts: ['127.0.0.1'],
  url,
  store: { mode: 'always', quota: '1MiB' },
});

t.test(
  'a client that is refused at once sees why, whether it reads meanwhile or when it has written all',
  async (t) => {
    const dir = testdir(t);
    const file = await bodyFile(join(dir, 'body'), 8 * MIB);
    const destination = createServer((_, response) => response.writeHead(413).end('too large')).listen(0);
    await once(destination, 'listening');
    t.teardown(() => {
      destination.closeAllConnections();
      destination.close();
    });
    const url = `http://127.0.0.1:${(destination.address() as AddressInfo).port}`;
    const policy = policyOf(full(url), { name: 'refusing', hosts: ['localhost'], url });

    const layby = await startLayby({ data: join(dir, 'data'), policy });
    t.teardown(() => layby.kill9('all'));
    await untilSidecar(layby);
    const outbound = layby.outbound.split(':')[1];

    const ports = await Promise.all(Array.from({ length: 4 }, freePort));
    const [port = 0] = ports;
    const at = () => ({ host: '127.0.0.1', port: ports.pop()! });
    const alone = join(dir, 'queue');
    await saveLastGood(alone, parsePolicy([{ path: 'policy.yaml', text: policyOf(full(url)) }]));
    const log = logger('queue');
    log.level = process.env.LAYBY_LOG ?? 'silent';
    const queue = await startQueue({
      ...{ dir: alone, log, listen: { host: '127.0.0.1', port }, admin: at() },
      ...{ egress: at(), control: at(), controlPatience: 0 },
    });
    t.teardown(() => queue.close());

    await t.test('an app that takes its time has the refusal long before the end of its body', async (t) => {
      for (const [host, status] of [
        ['127.0.0.1', 507],
        ['localhost', 413],
      ] as const) {
        const client = request({
          ...{ host: '127.0.0.1', port: outbound, method: 'PUT', path: '/slow', agent: false },
          headers: { host, 'content-length': 40 * MIB },
        });
        client.write(Buffer.alloc(2 * MIB));
        const [answer] = (await once(client, 'response')) as [IncomingMessage];
        t.equal(answer.statusCode, status);
        const [text] = (await once(answer, 'data')) as [Buffer];
        t.match(String(text), status === 413 ? /^too large$/ : /store-full/);
        const ended = once(answer, 'end');
        client.end(Buffer.alloc(38 * MIB));
        await ended;
      }
    });

    for (const client of UPLOADERS.filter(({ name }) => CLIENTS.includes(name)))
      await t.test(client.name, { skip: client.skip }, async (t) => {
        for (const [what, to, status] of [
          ['by the queue', `http://127.0.0.1:${outbound}/a`, 507],
          ['by the queue, without Envoy', `http://127.0.0.1:${port}/a`, 507],
          ['by the destination', `http://localhost:${outbound}/a`, 413],
        ] as const) {
          const { ms, ...seen } = await upload(client, { url: to, file: file.path, road: here });
          // Some make an error of each status that is no success.
          t.match(`${seen.status ?? seen.words}`, `${status}`, `${what}: ${JSON.stringify(seen)}`);
          t.ok(ms < 20_000, `${what}: after ${Math.round(ms)} ms`);
        }
      });
  },
);
