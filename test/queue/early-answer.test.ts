// A destination that answers before it has the body: a refusal reaches the app at once, whatever way the request takes, and what is left of the
// body is neither sent nor kept.

import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import t, { type Test } from 'tap';
import type { Destination } from '../../src/policy/policy.ts';
import { testdir } from '../rig/testdir.ts';
import { bucketOf } from './s3/bucket.ts';
import { destinationOf, scene } from './scene.ts';

t.setTimeout(120_000);

const MIB = 1024 * 1024;

/** What this process keeps on the disk of bodies that are cut through. */
const spools = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return /\/spool\/[^/]+ \(deleted\)$/.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch {
      return false;
    }
  }).length;

interface Way {
  name: string;
  destination: Destination;
  method?: string;
  path?: string;
  sized?: boolean;
  /** Refusals that reach the app. */
  statuses?: number[];
}

const api = (store: Partial<Destination['store']> = {}): Destination =>
  destinationOf('api', { mode: 'failover', order: 'key', ...store });

const WAYS: Way[] = [
  { name: 'cut through', destination: api() },
  { name: 'cut through, of unknown length', destination: api(), sized: false },
  { name: 'cut through with patience', destination: api({ patience: 60_000 }) },
  {
    ...{ name: 'a stream to S3', destination: bucketOf({ mode: 'failover' }), path: '/b/k', sized: false },
    // A redirect of S3's is for Layby, and what S3 takes later is stored: the app could not bring its body again.
    statuses: [401, 413],
  },
  { name: 'an object of S3', destination: bucketOf({ mode: 'failover' }), path: '/b/k' },
  { name: 'never stored', destination: api({ mode: 'never' }) },
  { name: 'never stored, of unknown length', destination: api({ mode: 'never' }), sized: false },
];

const sceneOf = async (t: Test, { destination, method = 'PUT', path = '/a', sized = true }: Way) => {
  t.teardown(() => at.stop());
  const at = await scene(testdir(t), [destination]);
  at.link.up = true;
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  /** An app that says what comes, and then takes its time. */
  const begin = (bytes: number) => {
    const client = request({
      ...{ socketPath: at.socket, agent, method, path },
      headers: {
        host: destination.hosts[0]!,
        ...(sized ? { 'content-length': bytes } : { 'transfer-encoding': 'chunked' }),
      },
    });
    client.on('error', () => {});
    const answered = once(client, 'response') as Promise<[IncomingMessage]>;
    const send = (size: number) => new Promise((sent) => client.write(Buffer.alloc(size), sent));
    return { client, answered, send };
  };
  return { ...at, agent, begin };
};

for (const way of WAYS)
  for (const status of way.statuses ?? [302, 401, 413, 500])
    t.test(`${way.name}: an early ${status} reaches the app at once`, async (t) => {
      const { link, begin } = await sceneOf(t, way);
      // What a stream to S3 passes on is read whole, and no more than a page of it.
      const text = 'no'.repeat(way.statuses ? 1_000 : 100_000);
      link.serve = async (_, response) => {
        response.writeHead(status, {
          'content-type': 'text/plain',
          location: '/elsewhere',
          'x-theirs': '1',
        });
        // Its end comes later than its head, and must not be cut off.
        response.write(text.slice(0, 1000));
        await new Promise(setImmediate);
        response.end(text.slice(1000));
      };
      const total = 40 * MIB;
      const { client, answered, send } = begin(total);
      let sent = 0;
      for (; sent < 8 * MIB; sent += MIB) await send(MIB);
      const [answer] = await answered;
      t.match(answer, { statusCode: status, headers: { 'x-theirs': '1', location: '/elsewhere' } });
      t.equal(answer.headers['content-length'], undefined, 'its end is held back');
      let got = '';
      for await (const piece of answer.iterator({ destroyOnReturn: false })) {
        got += String(piece);
        if (got.length === text.length) break;
      }
      t.equal(got, text, 'all of it, before the body of the request has ended');
      t.equal(spools(), 0, 'nothing is spooled');
      for (; sent < total; sent += MIB) await send(MIB);
      t.equal(spools(), 0, 'nor what comes afterwards');
      const ended = once(answer.resume(), 'end');
      client.end();
      await ended;
      t.notOk(client.destroyed && client.errored, 'it was read to its end');
    });

t.test('the connection of an early answer is used again', async (t) => {
  const { link, begin, agent } = await sceneOf(t, WAYS[0]!);
  link.serve = (_, response) => response.writeHead(403).end();
  for (let n = 0; n < 3; n += 1) {
    const { client, answered, send } = begin(2 * MIB);
    await send(MIB);
    const [answer] = await answered;
    client.end(Buffer.alloc(MIB));
    await once(answer.resume(), 'end');
    await new Promise(setImmediate);
    t.equal(client.reusedSocket, n > 0);
  }
  t.equal(Object.values(agent.freeSockets).flat().length, 1);
});

t.test('a success waits for the end of the body, which goes on to the destination', async (t) => {
  for (const way of WAYS.filter(({ name }) => !/S3/.test(name)))
    await t.test(way.name, async (t) => {
      const { link, begin } = await sceneOf(t, way);
      const arrived = Promise.withResolvers<number>();
      const begun = Promise.withResolvers<void>();
      link.serve = async (incoming, response) => {
        response.writeHead(200);
        response.write('I have ');
        begun.resolve();
        let bytes = 0;
        for await (const piece of incoming) bytes += (piece as Buffer).length;
        arrived.resolve(bytes);
        response.end(String(bytes));
      };
      const { client, answered, send } = begin(4 * MIB);
      let early = true;
      void answered.then(() => t.notOk(early, 'not before'));
      await send(MIB);
      await begun.promise;
      for (let sent = MIB; sent < 4 * MIB; sent += MIB) await send(MIB);
      early = false;
      client.end();
      t.equal(await arrived.promise, 4 * MIB);
      const [answer] = await answered;
      t.equal(answer.statusCode, 200);
      t.equal(String(Buffer.concat(await answer.toArray())), `I have ${4 * MIB}`);
    });
});

t.test('a request that is never stored hears of a lost link at once', async (t) => {
  for (const way of WAYS.filter(({ name }) => /never/.test(name)))
    await t.test(way.name, async (t) => {
      const { link, begin } = await sceneOf(t, way);
      link.serve = (_, response) => response.writeHead(503, { 'layby-no-link': 'UF' }).end();
      const { client, answered, send } = begin(20 * MIB);
      await send(MIB);
      const [answer] = await answered;
      t.match(answer, { statusCode: 503, headers: { 'retry-after': '2' } });
      for (let sent = MIB; sent < 20 * MIB; sent += MIB) await send(MIB);
      client.end();
      t.match(String(Buffer.concat(await answer.toArray())), /no-link/);
    });
});
