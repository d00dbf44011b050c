// What happens to a vehicle in one seed: apps that call, faults, restarts, an operator; and at the end a quiet time, in which everything
// must be delivered. The laws are checked on what the apps were told and what the destinations had.

import type { Destination, Policy } from '../../src/policy/policy.ts';
import { policyVersion } from '../../src/policy/version.ts';
import type { Entry } from '../../src/store/store.ts';
import { messageOf } from '../../src/telemetry/error.ts';
import { destinationOf } from '../queue/scene.ts';
import { checkLaws, type Told } from './laws.ts';
import { randomFaults } from './memory-store.ts';
import { answers, type Behaviour, DOWN, SimulatedNetwork, UP } from './network.ts';
import { Simulation } from './scheduler.ts';
import { type Outcome, Vehicle } from './vehicle.ts';

/** Of a busy time, ms of virtual time. */
const BUSY_MS = 12_000;
/** Everything that waits is delivered within so long, once nothing fails any more, ms: pauses are 30 s at most. */
const QUIET_MS = 600_000;
/** The policies' replay.retry.giveUpAfter, ms. */
const GIVE_UP_MS = 60_000;
/** Each entry that alone is refused is a dead letter within so long once its turn has come, ms: the bound counts ten seconds between two
 *  tries, and pauses are 30 s at most. */
const GIVEN_UP_WITHIN_MS = 600_000;
/** A destination that refuses everything does so for many times the bound, ms. */
const OUTAGE_MS = 2 * 3_600_000;
/** Others call while refused entries wait, every so often, ms. */
const OTHERS_EVERY_MS = 8_000;
/** Answers that never change. */
const NEVER_TAKEN = [500, 500, 501, 403] as const;
/** With a header of credentials the mesh authorizes: a 403 may be mended. */
const AUTHORIZED = {
  request: { set: [['x-api-key', 'k']] as [string, string][], remove: [] },
  response: { set: [], remove: [] },
};

export interface SeedOptions {
  /** Requests of apps. */
  calls?: number;
  /** Lines of the trace that a failure prints. */
  trace?: number;
}

/** What is sent while a refused entry is waited for is delivered within, ms. */
const OTHERS_PASS_MS = 30_000;
/** A slow server; ms. */
const SLOWEST_ANSWER_MS = 200_000;

export interface SeedResult {
  events: number;
  told: number;
  receipts: number;
  deliveries: number;
  restarts: number;
}

const destinations = (simulation: Simulation): Destination[] => {
  const retry = { max: 30_000, giveUpAfter: GIVE_UP_MS };
  const base = { mode: 'failover', methods: ['PUT', 'POST', 'DELETE'] } as const;
  const concurrency = simulation.oneOf([undefined, 1, 4]);
  const replay = {
    resume: 'none',
    retry,
    ...(concurrency !== undefined && { concurrency }),
  } as Destination['replay'];
  return [
    {
      ...destinationOf('key', { ...base, methods: [...base.methods], order: 'key' }),
      ...{ replay, headers: AUTHORIZED },
    },
    { ...destinationOf('strict', { ...base, methods: [...base.methods], order: 'strict' }), replay },
    {
      ...destinationOf('patient', {
        ...base,
        methods: [...base.methods],
        order: 'key',
        patience: simulation.between(0, 400),
      }),
      replay,
    },
  ];
};

const policyOf = (all: Destination[]): Policy => ({
  version: policyVersion({ destinations: all }),
  destinations: all,
});

export async function runSeed(
  seed: number,
  { calls = 24, trace = 200 }: SeedOptions = {},
): Promise<SeedResult> {
  const simulation = new Simulation({ seed, trace, endless: { events: 60_000, withinMs: 1_000 } });
  simulation.install();
  try {
    return await new Workload(simulation, calls).run();
  } finally {
    simulation.uninstall();
  }
}

class Workload {
  readonly #simulation: Simulation;
  readonly #calls: number;
  readonly #network: SimulatedNetwork;
  readonly #vehicle: Vehicle;
  readonly #all: Destination[];
  readonly #told: Told[] = [];
  /** Ids of entries that the operator may have dropped. */
  readonly #dropped = new Set<string>();
  /** When he was told that a dead letter waits again, by id; Infinity: he has not been told. */
  readonly #retried = new Map<string, number>();
  #quiet = false;
  #restarts = 0;
  #version = 0;

  constructor(simulation: Simulation, calls: number) {
    this.#simulation = simulation;
    this.#calls = calls;
    this.#network = new SimulatedNetwork(simulation, { keepBodies: true });
    this.#all = destinations(simulation);
    const random = simulation.fork('disk');
    const faults = randomFaults(() => (this.#quiet ? 1 : random()), {
      ...{ writeFails: 0.01, full: 0.005, recordDamaged: 0.003, bodyDamaged: 0.003, keeps: 0.5 },
    });
    this.#vehicle = new Vehicle({
      ...{ simulation, network: this.#network, policy: policyOf(this.#all) },
      faults,
    });
    let listings = 0;
    this.#vehicle.onListing = () => {
      listings += 1;
      // Law 8: what is done is bounded by what happens.
      const happened = this.#told.length + this.#network.attempts.length + this.#restarts;
      if (listings <= LISTINGS.least + LISTINGS.times * happened) return;
      const error = new Error(`law 8: lanes were read ${listings} times, while ${happened} things happened`);
      simulation.fail(error);
      throw error; // or it would go on in this event for ever
    };
    for (const { name, store } of this.#all) {
      this.#moods.set(name, simulation.oneOf(MOODS));
      this.#network.behaves(name, ({ url }) => this.#behaviour(name, pathOf({ url })));
      // With strict order nothing passes an entry that is refused, so nobody can tell that from an outage.
      if (store.order === 'key' && simulation.fault(0.12))
        this.#neverTaken.set(`/${name}-0`, simulation.oneOf(NEVER_TAKEN));
    }
  }

  /** Of each destination: what it does now. */
  readonly #moods = new Map<string, (typeof MOODS)[number]>();

  /** Paths of which the destination takes no request, and what it answers. */
  readonly #neverTaken = new Map<string, number>();
  #outage = false;

  #behaviour(name: string, path: string): Behaviour {
    const mood = this.#quiet ? 'well' : (this.#moods.get(name) ?? 'well');
    if (this.#outage) return answers(500);
    const never = this.#neverTaken.get(path);
    if (never !== undefined && mood !== 'down') return answers(never);
    const { oneOf, fault, between } = bound(this.#simulation);
    if (mood === 'down') return fault(0.1) ? { kind: 'silent' } : DOWN;
    if (mood === 'refuses') return answers(oneOf([503, 503, 429, 500]));
    if (mood === 'well') return UP;
    return oneOf<() => Behaviour>([
      () => UP,
      () => answers(oneOf([200, 503, 404])),
      () => ({ kind: 'break', afterBytes: between(0, 600) }),
      () => ({
        kind: 'answer',
        reply: { status: 200, body: 'x'.repeat(between(0, 500)) },
        bodyBreaks: fault(0.3),
      }),
      () => ({ kind: 'answer', reply: { status: 200 }, lost: oneOf(['reset', 'flag'] as const) }),
      () => ({ kind: 'answer', reply: { status: 200 }, after: between(0, SLOWEST_ANSWER_MS) }),
    ])();
  }

  async run(): Promise<SeedResult> {
    const vehicle = this.#vehicle;
    const simulation = this.#simulation;
    let done = false;
    let failure: unknown;
    const all = async (): Promise<void> => {
      vehicle.startControl();
      await vehicle.startQueue();
      vehicle.startSidecar();
      await Promise.all([this.#apps(), this.#trouble()]);
      if (simulation.fault(0.04)) await this.#refuseEverything();
      await this.#quietTime();
    };
    all()
      .catch((error) => {
        failure = error;
      })
      .finally(() => {
        done = true;
      });
    await simulation.run(() => done, { within: 20 * 3_600_000 });
    if (failure) {
      simulation.fail(failure);
      await simulation.run(() => true);
    }
    return {
      events: simulation.events,
      told: this.#told.length,
      receipts: this.#told.filter(({ id }) => id !== undefined).length,
      deliveries: this.#network.deliveries.length,
      restarts: this.#restarts,
    };
  }

  // Apps: a few resources of each destination, each with one app that calls again when it has an answer, or gives up.

  async #apps(): Promise<void> {
    const left = { calls: this.#calls };
    const resources = this.#all.flatMap(({ name, hosts }) =>
      Array.from({ length: 3 }, (_, n) => ({ name, host: hosts[0]!, path: `/${name}-${n}` })),
    );
    await Promise.all(resources.map((resource) => this.#app(resource, left)));
  }

  async #app(resource: { name: string; host: string; path: string }, left: { calls: number }): Promise<void> {
    const simulation = this.#simulation;
    while (left.calls > 0) {
      left.calls -= 1;
      await simulation.delay('app thinks', 1, simulation.oneOf([20, 500, 5_000]));
      if (simulation.fault(0.06)) await this.#burst(resource);
      else await this.#call(resource);
    }
  }

  /** Many at once: a lane of some length. */
  async #burst(resource: { name: string; host: string; path: string }): Promise<void> {
    const calls = Array.from({ length: this.#simulation.between(5, 30) }, async (_, n) => {
      await this.#simulation.delay('burst', 0, 200);
      await this.#call({ ...resource, path: n % 3 === 0 ? resource.path : `${resource.path}-${n}` });
    });
    await Promise.all(calls);
  }

  async #call({ name, host, path }: { name: string; host: string; path: string }): Promise<void> {
    const simulation = this.#simulation;
    this.#version += 1;
    const version = this.#version;
    const size = simulation.oneOf([20, 20, 200, 2_000]);
    const body = Buffer.from(`${version} `.padEnd(size, '.'));
    const told: Told = {
      version,
      destination: name,
      path,
      body,
      began: performance.now(),
      outcome: undefined,
    };
    this.#told.push(told);
    const chunked = simulation.fault(0.4);
    let hangUp = (): void => {};
    if (simulation.fault(0.15))
      simulation.schedule('app hangs up', simulation.between(1, 300), () => hangUp());
    const outcome: Outcome = await this.#vehicle.call({
      ...{ method: 'PUT', host, path: `${path}?${version}`, body },
      ...(chunked && { chunked }),
      onCall: (end) => {
        hangUp = end;
      },
    });
    told.outcome = outcome;
    told.id = receiptOf(outcome);
  }

  // Faults, restarts and the operator.

  async #trouble(): Promise<void> {
    const simulation = this.#simulation;
    const end = performance.now() + BUSY_MS;
    while (performance.now() < end) {
      await simulation.delay('trouble', 1, simulation.oneOf([50, 1_000, 3_000]));
      const act = simulation.oneOf(TROUBLES);
      simulation.note(`== ${act}`);
      await this.#act(act);
    }
  }

  async #act(act: (typeof TROUBLES)[number]): Promise<void> {
    const simulation = this.#simulation;
    const vehicle = this.#vehicle;
    const { name } = simulation.oneOf(this.#all);
    switch (act) {
      case 'mood':
        this.#moods.set(name, simulation.oneOf(MOODS));
        return;
      case 'link': {
        const down = simulation.fault(0.5);
        this.#moods.set(name, down ? 'down' : 'well');
        if (down) this.#network.cut(name);
        simulation.schedule('link is noticed', simulation.between(0, 3_000), () => {
          if (!this.#quiet) vehicle.setLink(name, down ? 'down' : simulation.oneOf(['up', 'slow'] as const));
        });
        return;
      }
      case 'restart':
        return this.#restart();
      case 'policy': {
        const without = this.#all.filter((one) => one.name !== name);
        const again = this.#all;
        if (vehicle.policy.destinations.length === again.length) vehicle.setPolicy(policyOf(without));
        await simulation.delay('policy without it', 0, simulation.oneOf([5, 2_000]));
        vehicle.setPolicy(policyOf(again));
        return;
      }
      case 'operator':
        return this.#operator();
    }
  }

  /** Of each combination of parts, by signal or by force. */
  async #restart(): Promise<void> {
    const simulation = this.#simulation;
    const vehicle = this.#vehicle;
    const parts = simulation
      .shuffled(['queue', 'control', 'sidecar'] as const)
      .slice(0, simulation.between(1, 3));
    this.#restarts += 1;
    simulation.note(`restart of ${parts}`);
    for (const part of parts) {
      if (part === 'queue') {
        if (simulation.fault(0.5)) await vehicle.stopQueue();
        vehicle.killQueue();
      } else if (part === 'control') vehicle.killControl();
      else vehicle.killSidecar();
    }
    for (const part of simulation.shuffled(parts)) {
      await simulation.delay(`start of ${part}`, 0, simulation.oneOf([20, 500, 3_000]));
      if (part === 'queue') await vehicle.startQueue();
      else if (part === 'control') vehicle.startControl();
      else vehicle.startSidecar();
    }
  }

  async #operator(): Promise<void> {
    const simulation = this.#simulation;
    const { queue, store } = this.#vehicle;
    if (!queue?.serving) return;
    const entries: Entry[] = [];
    try {
      for await (const entry of store.list()) entries.push(entry);
    } catch (error) {
      simulation.note(`the operator sees no list: ${messageOf(error)}`);
    }
    const entry = entries[simulation.between(0, Math.max(0, entries.length - 1))];
    if (!entry) return;
    const what = simulation.oneOf(['retry', 'retry all', 'retry all', 'send', 'drop'] as const);
    if (what === 'drop' && simulation.fault(0.7)) return;
    const many = what === 'retry all' ? entries.filter(({ state }) => state === 'dead') : [entry];
    const acts = many.map((one) => this.#hand(queue, store, one, what === 'retry all' ? 'retry' : what));
    await Promise.race([Promise.all(acts), simulation.delay('the operator gives up', 5_000, 5_000)]);
  }

  async #hand(
    queue: NonNullable<Vehicle['queue']>,
    store: Vehicle['store'],
    entry: Entry,
    what: 'retry' | 'send' | 'drop',
  ): Promise<void> {
    const simulation = this.#simulation;
    const { id } = entry;
    const act = async (): Promise<void> => {
      if (what === 'retry' && entry.state === 'dead') {
        // Until he is told nobody knows when it happens.
        this.#retried.set(id, Number.POSITIVE_INFINITY);
        const retried = await queue.core.backlog.holding(entry.destination, () => store.retry(id, 'by hand'));
        if (retried) this.#retried.set(id, performance.now());
      } else if (what === 'send' && entry.state === 'stored') await queue.core.replay.hurry(entry);
      else if (what === 'drop') {
        // Also of one whose receipt is still on its way.
        this.#dropped.add(id);
        await store.drop(id, 'dropped', 'by hand');
      }
    };
    await act().catch((error) => simulation.note(`the operator is told: ${messageOf(error)}`));
  }

  /** Of each destination, for hours: nothing becomes a dead letter of that. */
  async #refuseEverything(): Promise<void> {
    const simulation = this.#simulation;
    const vehicle = this.#vehicle;
    simulation.note('== outage');
    this.#outage = true;
    for (const { name } of this.#all) vehicle.setLink(name, 'up');
    vehicle.setPolicy(policyOf(this.#all));
    await simulation.delay('outage', OUTAGE_MS, OUTAGE_MS);
    this.#outage = false;
  }

  // The end.

  async #quietTime(): Promise<void> {
    const simulation = this.#simulation;
    const vehicle = this.#vehicle;
    simulation.note('== quiet');
    this.#quiet = true;
    for (const { name } of this.#all) vehicle.setLink(name, 'up');
    vehicle.startControl();
    await vehicle.startQueue();
    vehicle.startSidecar();
    vehicle.setPolicy(policyOf(this.#all));
    const end = performance.now() + QUIET_MS;
    const isRefused = ({ path }: { path: string }): boolean => this.#neverTaken.has(path);
    const lastEnd = end + this.#told.filter(isRefused).length * GIVEN_UP_WITHIN_MS;
    let othersAt = 0;
    let othersWait = end;
    while (this.#isBusy() !== undefined) {
      const now = performance.now();
      if (now > end) {
        if (now < lastEnd && (await this.#waitsForNothingElse())) othersWait = now;
        // One of those that are sent meanwhile may just be stored, since patience with it is over.
        else if (lastEnd === end || now >= lastEnd || now - othersWait > OTHERS_PASS_MS)
          throw new Error(`not every stored entry was sent within ${QUIET_MS / 1_000} s: ${this.#isBusy()}`);
      }
      if (now >= othersAt) {
        othersAt = now + OTHERS_EVERY_MS;
        await this.#others();
      }
      await simulation.delay('watch', 100, 1_000);
    }
    const states = new Map<string, string>();
    for await (const entry of vehicle.store.list()) {
      states.set(entry.id, entry.state);
      const isGivenUp =
        entry.state === 'dead' && /while other requests were delivered/.test(entry.reason ?? '');
      if (isGivenUp && !this.#neverTaken.has(pathOf(entry)))
        throw new Error(`law 2: ${entry.url} was given up: ${entry.reason}`);
    }
    for (const one of this.#told) {
      if (one.id === undefined) continue;
      if (this.#dropped.has(one.id)) one.dropped = true;
      const retriedAt = this.#retried.get(one.id);
      if (retriedAt !== undefined) one.retriedAt = retriedAt;
    }
    const problems = checkLaws(this.#told, this.#network.deliveries, states);

    if (problems.length > 0) throw new Error(problems.join('\n'));
  }

  /** Calls of other resources, where an entry waits that is never taken. */
  async #others(): Promise<void> {
    const isWaiting = ({ name }: Destination): boolean =>
      this.#neverTaken.has(`/${name}-0`) && (this.#vehicle.store.totals().get(name)?.entries ?? 0) > 0;
    const calls = this.#all
      .filter(isWaiting)
      .map(({ name, hosts }) => this.#call({ name, host: hosts[0]!, path: `/${name}-other` }));
    await Promise.all(calls);
  }

  /** All that waits is never taken, or is behind such an entry. */
  async #waitsForNothingElse(): Promise<boolean> {
    for await (const entry of this.#vehicle.store.list({ state: 'undelivered' }))
      if (!this.#neverTaken.has(pathOf(entry))) return false;
    return true;
  }

  /** What is not at rest; undefined: all is. */
  #isBusy(): string | undefined {
    const { queue, control, sidecar, store } = this.#vehicle;
    if (!queue?.serving || !control || !sidecar?.serving) return 'parts';
    for (const { name } of this.#all) {
      const waiting = store.totals().get(name)?.entries ?? 0;
      if (waiting > 0) return `${waiting} entries of ${name} wait`;
      const ledger = queue.ledgers.of(name);
      if (ledger.inFlight.entries > 0 || !ledger.gate.isEmpty) return `something of ${name} is in flight`;
      if (queue.core.backlog.isPending(name)) return `${name} is pending`;
    }
    if (sidecar.held.size > 0) return `calls are held: ${[...sidecar.held]}`;
    if (this.#network.open.length > 0) return `open requests: ${JSON.stringify(this.#network.open[0])}`;
    return undefined;
  }
}

const MOODS = ['well', 'down', 'down', 'refuses', 'unsteady', 'unsteady'] as const;
/** How often lanes may be read. */
const LISTINGS = { least: 200, times: 8 };
const TROUBLES = ['mood', 'mood', 'link', 'link', 'restart', 'policy', 'operator', 'operator'] as const;

const pathOf = ({ url }: Pick<Entry, 'url'>): string => new URL(url).pathname;

const bound = (simulation: Simulation) => ({
  oneOf: <T>(list: readonly T[]) => simulation.oneOf(list),
  fault: (probability: number) => simulation.fault(probability),
  between: (low: number, high: number) => simulation.between(low, high),
});

/** The entry that a receipt is for. */
function receiptOf({ status, headers, by }: Outcome): string | undefined {
  if (by !== 'queue' || status === undefined) return undefined;
  const at = headers.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'layby-entry');
  return at < 0 ? undefined : headers[at + 1];
}
