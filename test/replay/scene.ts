// Replay on a real store, in this process, and a server where Envoy would be: what is tested is when replay sends what, and what it
// makes of the answers.

import { EventEmitter } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { Egress } from '../../src/egress/egress.ts';
import type { Destination } from '../../src/policy/policy.ts';
import type { LinkNature } from '../../src/replay/allowed.ts';
import { Budget } from '../../src/replay/budget.ts';
import { DeliveryLedgers } from '../../src/replay/delivery-ledgers.ts';
import { Hurried } from '../../src/replay/hurried.ts';
import { Replay } from '../../src/replay/replay.ts';
import { openStore } from '../../src/store/leveldb/open.ts';
import type { Store } from '../../src/store/store.ts';
import { logger } from '../../src/telemetry/log.ts';
import { listen } from '../../src/wire/http.ts';
import { DESTINATION_HEADER } from '../../src/wire/names.ts';
import { testdir } from '../rig/testdir.ts';
import { untilEvent } from '../rig/until-event.ts';

const log = logger('queue');
log.level = 'silent';

/** Of the store, bytes. Small, so that its generations are small as well, an eighth of it. */
export const QUOTA = 256 * 1024 * 1024;

/** Nobody knows the kind of the link. */
export const NOBODY: LinkNature = { kind: undefined, interface: '', metered: false, roaming: false };

export interface Asked {
  destination: string;
  method: string;
  /** Path and query. */
  path: string;
  headers: IncomingMessage['headers'];
  /** Of its body, as they came. */
  bytes: number;
}

export interface ReplayScene {
  store: Store;
  ledgers: DeliveryLedgers;
  replay: Replay;
  /** Everything that came to the egress listener, in the order of their beginnings. */
  asked: Asked[];
  nature: LinkNature;
  budget: Budget;
  /** Whether the destination was reached, as often as that was reported. */
  outcomes: { destination: string; reached: boolean }[];
  /** Answers one request; the body is read, or not, by it. Default: reads it and says 200. */
  answer: (asked: Asked, request: IncomingMessage, response: ServerResponse) => Promise<void> | void;
  /** Whether a request that asks by Expect hears 100; default: yes. */
  wants: (asked: Asked) => boolean;
  /** Resolves when it is true; asked at each request, each piece and each answer, and each event of the store. */
  until(enough: () => boolean | undefined, timeout?: number): Promise<void>;
  /** Something else happened that `until` may wait for. */
  passed(): void;
  policy(...destinations: Destination[]): void;
  /** Ends it and begins again on what is on the disk. */
  again(): Promise<void>;
}

export const read = async (asked: Asked, request: IncomingMessage, passed = () => {}): Promise<void> => {
  for await (const piece of request as AsyncIterable<Buffer>) {
    asked.bytes += piece.length;
    passed();
  }
};

/** Lets `performance.now` run ahead by so many ms more with each call; timers do not. */
export const clock = (t: Test): ((ms: number) => void) => {
  const { now } = performance;
  let ahead = 0;
  performance.now = () => now.call(performance) + ahead;
  t.teardown(() => {
    performance.now = now;
  });
  return (ms) => {
    ahead += ms;
  };
};

export const startReplay = async (t: Test, ...destinations: Destination[]): Promise<ReplayScene> => {
  const dir = testdir(t);
  // A socket's path has 107 bytes at most.
  const sockets = await mkdtemp(join(tmpdir(), 'layby-replay-'));
  const at = { unix: join(sockets, 'egress') };
  const events = new EventEmitter().setMaxListeners(0);
  const passed = (): boolean => events.emit('passed');
  const server = createServer((request, response) => void serve(request, response));
  server.on('checkContinue', (request, response) => void serve(request, response));
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const asked: Asked = {
      ...{
        destination: String(request.headers[DESTINATION_HEADER]),
        method: request.method!,
        path: request.url!,
      },
      ...{ headers: request.headers, bytes: 0 },
    };
    scene.asked.push(asked);
    passed();
    response.on('close', passed);
    request.on('error', () => {});
    try {
      if (request.headers.expect !== undefined && scene.wants(asked)) response.writeContinue();
      await scene.answer(asked, request, response);
    } catch {
      response.destroy();
    }
  };
  await listen(server, at);
  const egress = new Egress(at);
  const budget = new Budget(join(dir, 'usage.json'), log);
  let hurried: Hurried;
  const begin = async (): Promise<void> => {
    hurried = new Hurried(join(dir, 'send-now'), log);
    const ledgers = new DeliveryLedgers((destination) => scene.replay?.wake(destination));
    scene.ledgers = ledgers;
    scene.store = await openStore(join(dir, 'store'), {
      quota: QUOTA,
      isInFlight: (id) => ledgers.isInFlight(id),
    });
    ledgers.follow(scene.store);
    scene.store.on('event', passed);
    scene.replay = new Replay({
      ...{ store: scene.store, egress, log, budget, hurried, ledgers },
      nature: () => scene.nature,
      maySend: () => true,
      onOutcome: (destination, reached) => void scene.outcomes.push({ destination, reached }),
      onLeft: () => {},
      count: () => {},
    });
    scene.policy(...destinations);
    scene.replay.start();
  };
  const end = async (): Promise<void> => {
    await scene.replay.stop();
    await hurried.close();
    await scene.store.close();
  };
  const scene = {
    asked: [],
    nature: NOBODY,
    wants: () => true,
    budget,
    outcomes: [],
    passed: () => void passed(),
    answer: async (asked, request, response) => {
      await read(asked, request, passed);
      response.end();
    },
    until: (enough, timeout = 20_000) =>
      enough()
        ? Promise.resolve()
        : untilEvent(
            events,
            'passed',
            () => enough() === true,
            timeout,
            () => JSON.stringify(scene.asked.slice(-10)),
          ),
    policy: (...all) => {
      destinations = all;
      scene.replay.policy({ version: '1', destinations: all });
    },
    again: async () => {
      await end();
      await begin();
    },
  } as Partial<ReplayScene> as ReplayScene;
  t.teardown(async () => {
    await end();
    await egress.close();
    await budget.close();
    server.closeAllConnections();
    server.close();
    await rm(sockets, { recursive: true });
  });
  await begin();
  return scene;
};
