// The queue's intake with everything around it that is real (HTTP server, store, room, spools, replay, egress over a socket), and a
// client that hangs up at a chosen moment. What the request holds is counted, so that a test can ask what is left of it.

import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request,
  type ServerResponse,
} from 'node:http';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { Test } from 'tap';
import { type Answer, Egress } from '../../src/egress/egress.ts';
import type { Destination } from '../../src/policy/policy.ts';
import { policyVersion } from '../../src/policy/version.ts';
import { Backlog, type Storing } from '../../src/queue/backlog.ts';
import { DiskSpools } from '../../src/queue/disk-spool.ts';
import { Intake } from '../../src/queue/intake.ts';
import { OneByOne } from '../../src/queue/one-by-one.ts';
import { Room } from '../../src/queue/room.ts';
import { queueServer } from '../../src/queue/server.ts';
import type { Spool } from '../../src/queue/spool.ts';
import { Budget } from '../../src/replay/budget.ts';
import type { DeliveryLedger } from '../../src/replay/delivery-ledger.ts';
import { DeliveryLedgers } from '../../src/replay/delivery-ledgers.ts';
import { Hurried } from '../../src/replay/hurried.ts';
import { Replay } from '../../src/replay/replay.ts';
import { newHead } from '../../src/store/conformance.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { EntryWriter } from '../../src/store/store.ts';
import { logger } from '../../src/telemetry/log.ts';
import { listen } from '../../src/wire/http.ts';
import { testdir } from '../rig/testdir.ts';
import { type AwaitPoint, AwaitPoints } from './await-points.ts';

export interface Sending {
  method: string;
  path: string;
  headers?: Record<string, string>;
  /** Sent one after the other. */
  chunks?: Buffer[];
  /** The length of the body is said. */
  sized?: boolean;
}

export interface Path {
  name: string;
  destination: Destination;
  /** The link, as the intake knows it. */
  up?: boolean;
  /** What stands in the place of the destination. Default: reads, and answers 200. */
  answer?: (incoming: IncomingMessage, response: ServerResponse, scene: Scene) => Promise<void>;
  /** Holds are never in force. */
  unheld?: boolean;
  /** The moments that it is about; default: all. */
  at?: RegExp;
  /** What the queue has before the request comes. */
  before?: (scene: Scene) => Promise<Partial<Sending>>;
  request: Sending;
}

/** Longer than any of these requests takes on a busy machine, ms. */
const LIMIT_MS = 8_000;

export type Scene = Awaited<ReturnType<typeof hangUpScene>>;

export const hangUpScene = async (t: Test, paths: Path[]) => {
  let path = paths[0]!;
  const dir = testdir(t);
  const points = new AwaitPoints();
  const log = logger('queue');
  log.level = process.env.LAYBY_LOG ?? 'silent';
  const destinations = [...new Map(paths.map(({ destination }) => [destination.name, destination])).values()];
  const policy = { version: policyVersion({ destinations }), destinations };
  /** What is held now, by what it is. */
  const held = new Map<string, number>();
  const hold = (what: string): (() => void) => {
    held.set(what, (held.get(what) ?? 0) + 1);
    let over = false;
    return () => {
      if (!over) held.set(what, held.get(what)! - 1);
      over = true;
    };
  };

  const store = await openStore(join(dir, 'store'));
  let lackingOf = 0;
  const watched = points.instrument('store', store, {
    ...{ get: 'promise', compose: 'promise', drop: 'promise', makeRoom: 'promise' },
    ...{
      read: 'items',
      list: 'items',
      waitingFor: 'items',
      staged: 'items',
      audit: 'items',
      evictable: 'items',
    },
    // As if it always had to look at the disk.
    occupied: 'promise',
    begin: (writer: EntryWriter) => {
      const over = hold('open store writer');
      const settled = (end: Promise<unknown>) => end.finally(over);
      const ending = made(writer, { commit: settled, abort: settled });
      return points.instrument('writer', ending, { write: 'promise', commit: 'promise', read: 'items' });
    },
  });
  const around = new Proxy(watched, {
    get: (_, property) => {
      if (property === 'lacking')
        return (bytes: number) => {
          lackingOf = bytes;
          return store.lacking(bytes);
        };
      return Reflect.get(watched, property, watched);
    },
  });
  const backlog = new Backlog(store, { mark: async () => {}, unmark: () => {} });
  const attachment = backlog.attach((lanes) => {
    for (const { destination, generation } of lanes)
      if (!path.unheld) queueMicrotask(() => attachment.inForce(destination, generation));
  });
  const ledgers = new DeliveryLedgers((destination) => replay.wake(destination));
  ledgers.follow(store);
  const sockets = join(dir, 's');
  const egressAt = { unix: `${sockets}e` };
  const queueAt = { unix: `${sockets}q` };
  const egress = new Egress(egressAt);
  const answered = (answer: Answer): Answer => {
    const over = hold('open answer');
    answer.body.once('close', over);
    return answer;
  };
  const sending = points.instrument('egress', egress, { send: answered });
  const budget = new Budget(join(dir, 'usage.json'), log);
  const hurried = new Hurried(join(dir, 'now'), log);
  const replay = new Replay({
    ...{ egress: sending, log, budget, hurried, ledgers, count: () => {} },
    // Nothing is sent by a lane: what is stored stays, until the test takes it out.
    store: made(store, { list: async function* () {} }),
    onOutcome: (destination, reached) => backlog.outcome(destination, reached),
    onLeft: (destination) => backlog.left(destination),
    maySend: () => true,
    nature: () => ({ kind: undefined, interface: '', metered: false, roaming: false }),
  });
  store.on('event', ({ destination }) => backlog.left(destination));
  replay.policy(policy);
  replay.start();
  const room = new Room(around);
  const intake = new Intake({
    former: {
      of: () => [],
      occupied: (...of) => around.occupied(...of),
      async *waitingFor(...of) {
        yield* around.waitingFor(...of);
      },
      async *entriesOf(destination) {
        yield* around.list({ destination });
      },
    },
    ...{ store: around, room, log, egress: sending, commits: new OneByOne(), count: () => {} },
    backlog: made(backlog, {
      storing: (storing: Storing) => {
        const over = hold('pending lane');
        const done = (): void => {
          over();
          storing.done();
        };
        const waits = { held: () => storing.held(), marked: () => storing.marked(), done };
        return points.instrument('storing', waits, { held: 'promise', marked: 'promise' });
      },
    }),
    ledgers: made(ledgers, {
      of: (ledger: DeliveryLedger) =>
        new Proxy(ledger, {
          get: (_, property) => {
            if (property !== 'gate') {
              const value = Reflect.get(ledger, property, ledger);
              return typeof value === 'function' ? value.bind(ledger) : value;
            }
            return made(ledger.gate, {
              enter: (end: () => void) => both(hold('order gate, of a request in flight'), end),
              commit: (end: () => void) => both(hold('order gate, of a request that is stored'), end),
            });
          },
        }),
    }),
    spools: made(new DiskSpools({ dir: join(dir, 'spool'), encrypted: false }), {
      begin: (spool: Spool) => {
        const over = hold('open spool');
        const closing = made(spool, { close: (closed: Promise<void>) => closed.finally(over) });
        return points.instrument('spool', closing, { write: 'promise', read: 'items' });
      },
    }),
    replay: made(replay, { grows: (end: () => void) => both(hold('growing body'), end) }),
    policy: () => policy,
    linkUp: () => path.up ?? false,
  });

  /** Of the request that is watched. */
  let served = Promise.withResolvers<{ request: IncomingMessage; response: ServerResponse }>();
  let ended = Promise.withResolvers<void>();
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    served.resolve({ request, response });
    const mine = ended;
    void intake.serve(request, response).then(() => mine.resolve());
  };
  const server = queueServer(serve);
  await listen(server, queueAt);
  const destination = createServer(async (incoming, response) => {
    const over = hold('open upstream request');
    response.once('close', over);
    incoming.on('error', () => {});
    try {
      if (incoming.method === 'DELETE' && !path.answer) return void response.writeHead(204).end();
      await (path.answer ?? readAndAnswer)(incoming, response, scene);
    } catch {
      response.destroy();
    }
  });
  await listen(destination, egressAt);

  /** Ends when the client has all of its answer, or has hung up. */
  const send = async (sending: Sending, onMade: (client: ClientRequest) => void = () => {}) => {
    const { method, path: at, headers = {}, chunks = [], sized = true } = sending;
    const length = Buffer.concat(chunks).length;
    const client = request({
      ...{ socketPath: queueAt.unix, method, path: at, agent: false },
      headers: {
        ...{ host: path.destination.hosts[0]!, ...headers },
        ...(sized ? method !== 'GET' && { 'content-length': length } : { 'transfer-encoding': 'chunked' }),
      },
    });
    const gone = new Promise<undefined>((resolve) => client.once('close', () => resolve(undefined)));
    client.on('error', () => {});
    const answer = new Promise<{ status: number; text: string } | undefined>((resolve) => {
      client.once('response', async (response) => {
        const text: Buffer[] = [];
        try {
          for await (const chunk of response as AsyncIterable<Buffer>) {
            await points.at('a chunk of the answer');
            text.push(chunk);
          }
          resolve({ status: response.statusCode!, text: Buffer.concat(text).toString() });
        } catch {
          resolve(undefined);
        }
      });
      void gone.then(() => turn()).then(() => resolve(undefined));
    });
    onMade(client);
    client.flushHeaders();
    const { promise: reached } = served;
    await Promise.race([reached, gone]);
    if (headers.expect) await Promise.race([once(client, 'continue').catch(() => {}), answer, gone]);
    for (const chunk of chunks) {
      await points.at('a chunk of the body');
      if (client.destroyed) break;
      await Promise.race([new Promise((resolve) => client.write(chunk, resolve)), gone]);
    }
    await points.at('the end of the body');
    if (!client.destroyed) client.end();
    return answer;
  };

  const within = async (done: () => boolean): Promise<boolean> => {
    const late = performance.now() + LIMIT_MS;
    while (!done() && performance.now() < late) await turn();
    return done();
  };

  /** Takes out of the store whatever is there of the destination. */
  const empty = async (): Promise<boolean> => {
    const { name } = path.destination;
    const late = performance.now() + LIMIT_MS;
    while ((store.totals().get(name)?.held ?? 0) > 0 && performance.now() < late) {
      for await (const { id } of store.evictable(Number.POSITIVE_INFINITY, name))
        await store.drop(id, 'dropped', 'the test is over');
      await turn();
    }
    return (store.totals().get(name)?.held ?? 0) === 0;
  };

  /** Of paths before, where one failed. */
  let filesBefore = 0;
  const openFiles = (): number => {
    const below = join(dir, 'spool');
    return readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(below);
      } catch {
        return false;
      }
    }).length;
  };

  /** What is left of a request that is over, in words. */
  const leftovers = async (): Promise<string[]> => {
    const { name, store: rules } = path.destination;
    if (!(await empty())) return ['an entry that is being sent'];
    await within(() => openFiles() === filesBefore && [...held.values()].every((count) => count === 0));
    const left = [...held].filter(([, count]) => count > 0).map(([what]) => what);
    if (openFiles() > filesBefore) left.push('file of a spool');
    if (backlog.isPending(name)) left.push('lane is pending, without an entry');
    // A reservation is a part of the quota that nobody else gets.
    const whole = rules.quota ?? 1024;
    try {
      const head = newHead({ destination: name });
      const probe = await room.begin({ ...path.destination, store: { ...rules, quota: whole } }, head, whole);
      if (lackingOf !== whole) left.push(`${lackingOf - whole} bytes are admitted`);
      await probe.abort();
    } catch {
      left.push('reservation of room');
    }
    return left;
  };

  const put = async (head: Parameters<typeof newHead>[0], body: Buffer) => {
    const writer = await store.begin(newHead({ destination: path.destination.name, ...head }), body.length);
    await writer.write(Buffer.from(body));
    return writer.commit();
  };

  const scene = {
    points,
    store,
    put,
    /** An entry waits, and its lane with it. */
    drains: async (head: Parameters<typeof newHead>[0]) => {
      const storing = backlog.storing(path.destination.name, false);
      await put(head, Buffer.from('1'));
      storing.done();
    },
    /** Resolves when the queue is through with the request that is watched. */
    ended: () => ended.promise,
    /** A request that is not watched. */
    ask: async (sending: Sending) => (await send(sending))!,
    use: (next: Path) => {
      path = next;
      held.clear();
      filesBefore = openFiles();
    },
    /** One request, whose client hangs up at the point `target`, or takes its answer. Resolves with what is left of it then. */
    run: async (target: AwaitPoint | undefined): Promise<string[]> => {
      const more = await path.before?.(scene);
      served = Promise.withResolvers();
      ended = Promise.withResolvers();
      let client: ClientRequest | undefined;
      const { promise: hungUp, resolve: onHungUp } = Promise.withResolvers<void>();
      points.arm(target, async () => {
        onHungUp();
        const seen = await served.promise;
        client!.destroy();
        // The queue knows it when this resolves; or as soon as it reads on, where it holds the body back.
        while (!seen.response.destroyed && !seen.request.socket.isPaused()) await turn();
      });
      const answer = send({ ...path.request, ...more }, (made) => {
        client = made;
      });
      await Promise.race([answer, hungUp]);
      const { promise: over } = ended;
      let isOver = false;
      void over.then(() => {
        isOver = true;
      });
      await within(() => isOver);
      points.disarm();
      await answer;
      return isOver ? leftovers() : ['serve() has not ended', ...(await leftovers())];
    },
    stop: async () => {
      server.close();
      server.closeAllConnections();
      await replay.stop();
      await budget.close();
      await hurried.close();
      await egress.close();
      destination.closeAllConnections();
      destination.close();
      await store.close();
    },
  };
  return scene;
};

const both = (one: () => void, other: () => void) => (): void => {
  one();
  other();
};

/** The same object, with something made of what these of its methods give. */
const made = <T extends object>(
  target: T,
  methods: Partial<Record<keyof T, (result: never) => unknown>>,
): T =>
  new Proxy(target, {
    get: (_, property) => {
      const value = Reflect.get(target, property, target) as unknown;
      if (typeof value !== 'function') return value;
      const result = methods[property as keyof T] as ((result: unknown) => unknown) | undefined;
      return (...args: unknown[]) => {
        const given = Reflect.apply(value, target, args) as unknown;
        return result ? result(given) : given;
      };
    },
  });

export const readAndAnswer = async (
  incoming: IncomingMessage,
  response: ServerResponse,
  { points }: Scene,
  chunks = 3,
  status = 200,
): Promise<void> => {
  await points.at('the destination reads');
  for await (const _ of incoming);
  await points.at('the destination answers');
  response.writeHead(status);
  for (let sent = 0; sent < chunks && !response.destroyed; sent += 1) {
    await points.at('the destination sends a chunk');
    // Whether it is taken is the reader's affair; a destination that is not read has it in memory.
    response.write(Buffer.alloc(64 * 1024));
  }
  response.end();
};
