// Requests that still leave the machine: as the kernel's table of connections says it, and over a real connection that nobody reads.

import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { Departures } from '../../src/egress/departures.ts';
import { movingPorts, readMovingPorts } from '../../src/egress/tcp-progress.ts';

const TABLE = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:3A99 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:9C40 0200000A:01BB 01 00003A98:00000000 01:00000014 00000000     0        0 2 2 0 20 4 30 10 -1
   2: 0100007F:9C41 0200000A:01BC 01 00003A98:00000000 01:00000014 00000002     0        0 3 2 0 20 4 30 10 -1
   3: 0100007F:9C42 0200000A:01BD 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 30 10 -1
   4: 0100007F:9C43 0200000A:01BE 08 00000001:00000000 01:00000014 00000000     0        0 5 2 0 20 4 30 10 -1
   5: 0100007F:9C44 0200000A:01BF 02 00000001:00000000 01:00000014 00000000     0        0 6 2 0 20 4 30 10 -1
`;

t.test(
  'bytes move where some are not acknowledged, and no retransmission is without an answer',
  async (t) => {
    t.same([...movingPorts(TABLE)], [443, 446]);
    t.same([...movingPorts('')], []);
    t.same([...movingPorts('odd\n1: 2 3\n')], []);
  },
);

t.test('the kernel says it of a real connection', { skip: process.platform !== 'linux' }, async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const client = connect(port, '127.0.0.1');
  const [[taken]] = await Promise.all([
    once(server, 'connection') as Promise<[Socket]>,
    once(client, 'connect'),
  ]);
  t.teardown(() => {
    client.destroy();
    taken.destroy();
    server.close();
  });
  t.notOk((await readMovingPorts()).has(port));
  // More than both kernels' buffers take: nobody reads it.
  taken.pause();
  client.write(Buffer.alloc(32 * 1024 * 1024));
  while (!(await readMovingPorts()).has(port));
  taken.resume();
  await once(client, 'drain');
  while ((await readMovingPorts()).has(port));
});

async function* pieces(...all: Buffer[]): AsyncGenerator<Buffer> {
  yield* all;
}

const sent = async (body: AsyncIterable<Buffer>): Promise<void> => {
  for await (const _ of body);
};

/** Resolves when the kernel was asked so often. */
const looks = (
  t: Test,
  departures: (read: () => Promise<ReadonlySet<number>>) => Departures,
  ports: number[],
) => {
  let asked = 0;
  let bell = (): void => {};
  const made = departures(async () => {
    asked += 1;
    setImmediate(() => bell());
    return new Set(ports);
  });
  const until = async (times: number): Promise<void> => {
    while (asked < times)
      await new Promise<void>((resolve) => {
        bell = resolve;
      });
  };
  // The timers of the program keep no process alive.
  const alive = setInterval(() => {}, 1_000);
  t.teardown(() => {
    clearInterval(alive);
    made.close();
  });
  return { made, until, asked: () => asked };
};

t.test('a request makes progress while bytes to its port move', async (t) => {
  const { made, until } = looks(t, (read) => new Departures(read, 1), [443]);
  const progress = { same: 0, other: 0, any: 0, ended: 0 };
  const tracked = (port: number | undefined, name: keyof typeof progress) =>
    made.track(port, () => {
      progress[name] += 1;
    });
  const body = () => pieces(Buffer.alloc(64 * 1024));
  for (const [port, name] of [
    [443, 'same'],
    [80, 'other'],
    [undefined, 'any'],
  ] as const)
    await sent(tracked(port, name).through(body()));
  const ended = tracked(443, 'ended');
  await sent(ended.through(body()));
  ended.end();
  await until(3);
  t.ok(progress.same >= 2);
  t.ok(progress.any >= 2, 'pods behind a Service have ports of their own');
  t.equal(progress.other, 0);
  t.equal(progress.ended, 0);
});

t.test('a short request is not on its way for longer than its bytes can take', async (t) => {
  const { made, until, asked } = looks(t, (read) => new Departures(read, 1), [443]);
  let short = 0;
  await sent(
    made
      .track(443, () => {
        short += 1;
      })
      .through(pieces(Buffer.alloc(1))),
  );
  // One byte: 4 ms. A large one keeps the kernel being asked.
  await sent(made.track(443, () => {}).through(pieces(Buffer.alloc(1024 * 1024))));
  await until(20);
  t.ok(short < 20 && asked() >= 20, `${short} of ${asked()}`);
});
