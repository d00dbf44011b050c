// What a real Envoy answers by itself to apps has the words of Layby: problem details, and a type that docs/errors.md knows where the app can do
// something about it.

import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { freePort } from '../rig/ports.ts';
import { exchange, valuesOf } from '../rig/raw-http.ts';
import { testdir } from '../rig/testdir.ts';
import { plane, sidecar } from './sidecar.ts';
import { MODES } from './xds-client.ts';

t.setTimeout(120_000);

const tcpServer = async (t: Test, serve: (socket: Socket) => void): Promise<number> => {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    serve(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
};

t.test('what the sidecar answers by itself are problems in our words', async (t) => {
  const dir = testdir(t);
  const silent = await tcpServer(t, () => {});
  const garbage = await tcpServer(t, (socket) => socket.once('data', () => socket.end('no HTTP\r\n\r\n')));
  const nowhere = await freePort();
  const policy = (name: string, port: number, spec: object = {}) =>
    JSON.stringify({
      apiVersion: 'layby.dev/v1alpha1',
      kind: 'Destination',
      metadata: { name },
      spec: {
        hosts: [`${name}.example`],
        upstream: { url: `http://127.0.0.1:${port}` },
        store: { mode: 'never' },
        ...spec,
      },
    });
  const file = join(dir, 'policy.yaml');
  await writeFile(
    file,
    [
      policy('silent', silent, { answerTimeout: '2s' }),
      policy('garbage', garbage),
      policy('away', nowhere),
      policy('stored', nowhere, { store: { mode: 'always' } }),
    ].join('\n---\n'),
  );
  const xds = { host: '127.0.0.1', port: await freePort() };
  const control = await plane(t, dir, xds, file, nowhere);
  const { call, outbound } = await sidecar(t, MODES[0]!, dir, xds);
  await control.until(([one]) => one?.upToDate === true, 'the sidecar takes it');
  await call('nobody.example'); // it listens

  const get = (name: string, more = '') => `GET / HTTP/1.1\r\nHost: ${name}.example\r\n${more}\r\n`;
  const chunk = `100000\r\n${'x'.repeat(1024 * 1024)}\r\n`;
  const put = 'PUT / HTTP/1.1\r\nHost: stored.example\r\nTransfer-Encoding: chunked\r\n\r\n';
  const length = 'PUT / HTTP/1.1\r\nHost: stored.example\r\nContent-Length: 8000000\r\n\r\n';
  await Promise.all(
    (
      [
        ['no connection', get('away'), 503, 'no-link'],
        ['no answer in time', get('silent'), 504, 'answer-late'],
        // What may be sent again is, by the queue.
        [
          'no HTTP',
          'POST / HTTP/1.1\r\nHost: garbage.example\r\nContent-Length: 0\r\n\r\n',
          502,
          'answer-invalid',
        ],
        ['no queue, and more body than is kept', [put, chunk, chunk, chunk], 503, 'queue-away'],
        ['the same, of known length', [length, chunk.slice(8), chunk.slice(8)], 503, 'queue-away'],
        [
          'no queue',
          `PUT / HTTP/1.1\r\nHost: stored.example\r\nContent-Length: 2\r\n\r\nab`,
          503,
          'queue-away',
        ],
        ['a head that does not end', 'GET / HTTP/1.1\r\nHost: away.example\r\n', 408, undefined],
        ['a head that is too large', get('away', `x: ${'y'.repeat(62 * 1024)}\r\n`), 431, undefined],
        ['another transfer coding', get('away', 'Transfer-Encoding: gzip\r\n'), 501, undefined],
      ] as const
    ).map(async ([what, bytes, status, type]) => {
      const { answers } = await exchange(`127.0.0.1:${outbound}`, [bytes].flat(), {
        answers: 1,
        patience: 30_000,
      });
      const [answer] = answers;
      t.equal(answer?.status, status, what);
      const of = (name: string) => valuesOf(answer?.headers ?? [], name)[0];
      t.equal(of('content-type'), 'application/problem+json', what);
      const problem = JSON.parse(answer?.body ?? '') as object;
      t.match(problem, {
        status,
        title: /\w/,
        type: type === undefined ? 'about:blank' : `https://layby.dev/problems/${type}`,
      });
      t.equal(of('retry-after'), type && '2', what);
    }),
  );
});
