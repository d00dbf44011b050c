// The parts of the simulation together: the real intake, order, backlog and replay of a queue, on the simulated disk and network. While the
// link comes and goes, the disk fails and clients hang up, what has a receipt is delivered.

import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import type { Destination, Policy } from '../../src/policy/policy.ts';
import { Backlog } from '../../src/queue/backlog.ts';
import { Intake } from '../../src/queue/intake.ts';
import { OneByOne } from '../../src/queue/one-by-one.ts';
import { Room } from '../../src/queue/room.ts';
import { Turns } from '../../src/queue/turns.ts';
import type { Budget } from '../../src/replay/budget.ts';
import type { Hurried } from '../../src/replay/hurried.ts';
import { Replay } from '../../src/replay/replay.ts';
import type { Store } from '../../src/store/store.ts';
import { logger } from '../../src/telemetry/log.ts';
import { HOST_HEADER, REQUEST_HEADER } from '../../src/wire/names.ts';
import { destinationOf } from '../queue/scene.ts';
import { MemorySpools } from './memory-spools.ts';
import { MemoryStore, randomFaults } from './memory-store.ts';
import { type Behaviour, DOWN, SimulatedNetwork, UP } from './network.ts';
import { request, type SimulatedCall } from './requests.ts';
import { Simulation } from './scheduler.ts';

const log = logger('queue');
log.level = 'silent';

const budget = {
  used: () => ({ day: 0, month: 0 }),
  begin: () => ({ moved: () => {}, end: () => {} }),
} as unknown as Budget;
const hurried = { has: () => false, delete: () => {}, prune: async () => {} } as unknown as Hurried;

const destinations: Destination[] = [
  destinationOf('cam', { order: 'key' }),
  destinationOf('log', { mode: 'failover', order: 'key' }),
];
const policy: Policy = { version: '1', destinations };

/** What one process is made of. */
const startQueue = (store: Store, network: SimulatedNetwork, disk: (label: string) => Promise<void>) => {
  const { egress } = network;
  const backlog = new Backlog(store);
  const turns = new Turns();
  const replay = new Replay({
    ...{ store, egress, log, budget, hurried, count: () => {} },
    onOutcome: (destination, reached) => backlog.outcome(destination, reached),
    onLeft: (destination) => backlog.left(destination),
    maySend: ({ destination, orderKey }) => turns.maySend(destination, orderKey),
    nature: () => ({ kind: undefined, interface: '', metered: false, roaming: false }),
  });
  turns.onFree = (destination) => replay.wake(destination);
  const intake = new Intake({
    ...{ store, backlog, turns, egress, log, replay, count: () => {} },
    room: new Room(store),
    spools: new MemorySpools({ disk }),
    commits: new OneByOne(),
    policy: () => policy,
    linkUp: () => true,
  });
  replay.policy(policy);
  for (const { name } of destinations) replay.link(name, { up: true, by: 'test', since: 0 });
  replay.start();
  return { replay, intake };
};

interface Sent {
  id: string;
  url: string;
  sha256: string;
  call: SimulatedCall;
}

const hasReceipt = ({ call }: Sent): boolean => call.answer?.status === 307;

/** Three apps send; in the end everything with a receipt has been delivered, byte for byte. */
const drive = async (
  simulation: Simulation,
  check: (name: string, holds: boolean) => void,
): Promise<void> => {
  const network = new SimulatedNetwork(simulation);
  const disk = (label: string) => simulation.delay(label, 0.05, 8);
  const faults = randomFaults(simulation.fork('faults'), { writeFails: 0.01 });
  const store = new MemoryStore({ disk, faults });
  const { intake, replay } = startQueue(store, network, disk);
  const sent: Sent[] = [];
  let apps = 3;
  const app = async (name: string): Promise<void> => {
    for (let i = 0; i < 12; i++) {
      await simulation.delay(`pause of ${name}`, 0, 400);
      const { name: to } = simulation.oneOf(destinations);
      const id = `00000000-0000-4000-8000-${name}${String(i).padStart(11, '0')}`;
      const path = `/${simulation.between(1, 5)}`;
      const body = randomBytes(simulation.between(0, 200_000));
      const failedOver = simulation.fault(0.2) ? [HOST_HEADER, `${to}.example`] : [];
      const headers = ['Host', `${to}.example`, REQUEST_HEADER, id, ...failedOver];
      const hangUpAfter = simulation.fault(0.1) ? { hangUpAfter: body.length >> 1 } : {};
      const serve = intake.serve.bind(intake);
      const call = request(simulation, serve, { method: 'PUT', path, headers, body, ...hangUpAfter });
      const sha256 = createHash('sha256').update(body).digest('hex');
      sent.push({ id, url: `http://${to}.example${path}`, sha256, call });
    }
    apps--;
  };
  for (const name of ['a', 'b', 'c']) void app(name);
  const weather = setInterval(() => {
    const broken: Behaviour = { kind: 'break', afterBytes: simulation.between(0, 100_000) };
    const behaviour = simulation.oneOf([UP, UP, DOWN, broken, { ...UP, lost: 'reset' } as Behaviour]);
    network.behaves(simulation.oneOf(destinations).name, behaviour);
    if (simulation.fault(0.2)) network.cut();
  }, 700);
  await simulation.run(() => apps === 0 && sent.every(({ call }) => call.ended), { within: 3_600_000 });
  clearInterval(weather);
  for (const { name } of destinations) network.behaves(name, UP);
  const waiting = () => [...store.totals().values()].reduce((sum, { entries }) => sum + entries, 0);
  await simulation.run(() => waiting() === 0, { within: 3_600_000 });
  for (const one of sent.filter(hasReceipt)) {
    const copies = network.deliveries.filter(({ id }) => id === one.id);
    const whole = copies.length > 0 && copies.every(({ sha256 }) => sha256 === one.sha256);
    check(`${one.url} ${one.id} was delivered whole`, whole);
  }
  const stopped = replay.stop();
  let over = false;
  void stopped.then(() => {
    over = true;
  });
  await simulation.run(() => over);
};

const run = async (seed: number, check: (name: string, holds: boolean) => void): Promise<Simulation> => {
  const simulation = new Simulation({ seed, trace: 60 });
  simulation.install();
  try {
    await drive(simulation, check);
  } finally {
    simulation.uninstall();
  }
  return simulation;
};

t.test('what has a receipt is delivered whole, whatever the link and the disk do', async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    let receipts = 0;
    const first = await run(seed, (name, holds) => {
      receipts++;
      if (!holds) t.fail(`seed ${seed}: ${name}`);
    });
    t.ok(receipts > 5, `seed ${seed}: ${receipts} receipts, ${first.events} events`);
    const again = await run(seed, () => {});
    t.equal(again.trace.digest, first.trace.digest, 'and the seed repeats it');
  }
});
