// One vehicle in a simulation: its queue, its control plane and its sidecar, each a process that can be stopped or killed alone, on one
// simulated disk and one simulated network. Queue (queue-core.ts) and control plane (edge.ts, hold.ts) are the real ones; a model are the
// sidecar, which does what the routes make Envoy do, and the transports between them.

import { Edge } from '../../src/control-plane/edge.ts';
import type { Egress as EgressType } from '../../src/egress/egress.ts';
import { Egress } from '../../src/egress/egress.ts';
import type { LinkState } from '../../src/link/state.ts';
import { destinationFor } from '../../src/policy/match.ts';
import type { Destination, Policy } from '../../src/policy/policy.ts';
import type { EdgeCall } from '../../src/queue/control.ts';
import { Orphans } from '../../src/queue/orphans.ts';
import { QueueCore } from '../../src/queue/queue-core.ts';
import type { Budget } from '../../src/replay/budget.ts';
import { DeliveryLedgers } from '../../src/replay/delivery-ledgers.ts';
import type { Hurried } from '../../src/replay/hurried.ts';
import type { EntryHead } from '../../src/store/store.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import type { DurableFile } from '../../src/wire/durable-file.ts';
import type { EdgeState, QueueReport } from '../../src/wire/edge-service.ts';
import { NO_OVERRIDES } from '../../src/wire/link-memory.ts';
import { HOST_HEADER, REQUEST_HEADER } from '../../src/wire/names.ts';
import { PendingLanes, readPendingLanes } from '../../src/wire/pending-lanes.ts';
import { MemorySpools } from './memory-spools.ts';
import { MemoryStore, type StoreFaults } from './memory-store.ts';
import type { SimulatedNetwork } from './network.ts';
import { request, type SimulatedCall } from './requests.ts';
import type { Simulation } from './scheduler.ts';

/** Of one way between two processes of the machine, ms. */
const LOCAL = [0.05, 3] as const;
/** Of the disk, ms: most are quick. */
const DISK = { usual: [0.05, 4], slow: [5, 300], slowIn: 0.03 } as const;
/** The sidecar waits for a queue that is away, and asks again so often, ms. */
const QUEUE_AWAY = { within: 20_000, every: 100 };

export interface Outcome {
  /** undefined: the client has no answer. */
  status?: number;
  headers: readonly string[];
  /** The destination itself answered, or the queue. */
  by: 'destination' | 'queue' | 'nobody';
  endedAt: number;
}

export interface Call {
  method: string;
  path: string;
  host: string;
  body: Buffer;
  /** Without a length: it passes the queue also while online. */
  chunked?: boolean;
  hangUpAfter?: number;
  /** Called with what can be hung up. */
  onCall?: (hangUp: () => void) => void;
}

/** A file on the simulated disk. */
class SimulatedFile implements DurableFile {
  readonly path: string;
  text: string | undefined;
  readonly #disk: () => Promise<void>;
  /** Lives only as long as its process. */
  constructor(path: string, disk: () => Promise<void>) {
    this.path = path;
    this.#disk = disk;
  }

  read(): string | undefined {
    return this.text;
  }

  async replace(text: string): Promise<void> {
    await this.#disk();
    this.text = text;
  }

  async remove(): Promise<void> {
    await this.#disk();
    this.text = undefined;
  }
}

/** What a dead process awaits never comes. */
const never = (): Promise<never> => new Promise(() => {});

class ProcessEgress extends Egress {
  readonly #egress: EgressType;
  readonly #isAlive: () => boolean;

  readonly #hasSidecar: () => boolean;

  constructor(network: SimulatedNetwork, isAlive: () => boolean, hasSidecar: () => boolean) {
    super({ unix: '/nowhere' });
    this.#hasSidecar = hasSidecar;
    this.#egress = network.egress;
    this.#isAlive = isAlive;
  }

  override linkBack(destination: string): void {
    this.#egress.linkBack(destination);
  }

  override async send(...of: Parameters<Egress['send']>): ReturnType<Egress['send']> {
    if (!this.#isAlive()) return never();
    try {
      if (!this.#hasSidecar()) throw new Error('connect ECONNREFUSED');
      const answer = await this.#egress.send(...of);
      return this.#isAlive() ? answer : await never();
    } catch (error) {
      if (this.#isAlive()) throw error;
      return never();
    }
  }
}

interface QueueProcess {
  core: QueueCore;
  ledgers: DeliveryLedgers;
  alive: boolean;
  /** Requests come in. */
  serving: boolean;
  calls: Set<SimulatedCall>;
  stream: (() => void) | undefined;
}

interface ControlProcess {
  edge: Edge;
  alive: boolean;
  held: ReadonlySet<string>;
  /** Grows with each change of holds. */
  version: number;
  changed: Set<() => void>;
}

interface SidecarProcess {
  alive: boolean;
  /** It has had its configuration, and takes requests. */
  serving: boolean;
  held: ReadonlySet<string>;
  /** Of the control plane that it has a stream to. */
  control: ControlProcess | undefined;
  acknowledged: number;
}

export interface VehicleOptions {
  simulation: Simulation;
  network: SimulatedNetwork;
  policy: Policy;
  faults?: StoreFaults;
}

export const noLog = (simulation: Simulation, isAlive: () => boolean): Logger => {
  const note =
    (level: string) =>
    (fields: unknown, message?: string): void => {
      if (isAlive())
        simulation.note(
          `${level} ${message ?? ''} ${typeof fields === 'string' ? fields : JSON.stringify(fields)}`,
        );
    };
  return {
    info: note('info'),
    warn: note('warn'),
    error: note('error'),
    debug: () => {},
  } as unknown as Logger;
};

export class Vehicle {
  readonly simulation: Simulation;
  readonly network: SimulatedNetwork;
  policy: Policy;
  /** The link as the sources see it, by destination; missing: up. */
  readonly links = new Map<string, LinkState>();
  queue: QueueProcess | undefined;
  control: ControlProcess | undefined;
  sidecar: SidecarProcess | undefined;
  readonly #faults: StoreFaults | undefined;
  #store: MemoryStore | undefined;
  #disk: MemoryStore['disk'] | undefined;
  readonly #lanesText: { text: string | undefined } = { text: undefined };
  #lastGood: Policy | undefined;
  #laneNames: readonly string[] = [];
  #ids = 0;
  /** A lane is read. */
  onListing: () => void = () => {};

  constructor({ simulation, network, policy, faults }: VehicleOptions) {
    this.simulation = simulation;
    this.network = network;
    this.policy = policy;
    this.#faults = faults;
  }

  /** The store of the queue that runs, or of the last one. */
  get store(): MemoryStore {
    return this.#store!;
  }

  #diskTime = (label: string): Promise<void> =>
    this.simulation.fault(DISK.slowIn)
      ? this.simulation.delay(`disk ${label}, slow`, ...DISK.slow)
      : this.simulation.delay(`disk ${label}`, ...DISK.usual);

  #local(what: string): Promise<void> {
    return this.simulation.delay(what, ...LOCAL);
  }

  // The queue.

  async startQueue(): Promise<void> {
    if (this.queue) return;
    const isAlive = (): boolean => queue.alive;
    const ledgers = new DeliveryLedgers((destination) => queue.core.replay.wake(destination));
    const options = {
      disk: this.#diskTime,
      isInFlight: (id: string) => ledgers.isInFlight(id),
      ...(this.#faults && { faults: this.#faults }),
    };
    const store = new MemoryStore(options, this.#disk);
    this.#store = store;
    const list = store.list.bind(store);
    store.list = (of) => {
      if (of?.destination !== undefined) this.onListing();
      return list(of);
    };
    ledgers.follow(store);
    const log = noLog(this.simulation, isAlive);
    const queue: QueueProcess = {
      ledgers,
      alive: true,
      serving: false,
      calls: new Set(),
      stream: undefined,
      core: undefined as unknown as QueueCore,
    };
    this.queue = queue;
    const file = this.#lanesFile(isAlive);
    queue.core = new QueueCore({
      ...{ store, ledgers, log },
      egress: new ProcessEgress(this.network, isAlive, () => this.sidecar?.serving === true),
      spools: new MemorySpools({ disk: this.#diskTime }),
      pendingLanes: new PendingLanes(file),
      laneNames: {
        load: () => [...this.#laneNames],
        save: (names) => {
          this.#laneNames = names;
        },
      },
      orphans: new Orphans(store, log),
      budget: NO_BUDGET,
      hurried: forcedEntries(),
      transport: {
        attach: () => this.#stream(queue),
        close: () => {},
      },
      lastGood: {
        load: () => this.#lastGood,
        save: async (policy) => {
          await this.#diskTime('policy');
          if (queue.alive) this.#lastGood = policy;
        },
      },
      // Overrides are not part of this simulation.
      remembered: () => ({
        ...NO_OVERRIDES,
        network: { kind: '', interface: '', metered: false, roaming: false },
      }),
      counters: { request: () => {}, replayed: () => {} },
    });
    await queue.core.start();
    if (queue.alive) queue.serving = true;
  }

  #lanesFile(isAlive: () => boolean): DurableFile {
    const kept = this.#lanesText;
    const file = new SimulatedFile('pending-lanes', async () => {
      await this.#diskTime('lanes');
      if (!isAlive()) await never();
    });
    Object.defineProperty(file, 'text', {
      get: () => kept.text,
      set: (text: string | undefined) => {
        kept.text = text;
      },
    });
    return file;
  }

  /** SIGTERM. */
  async stopQueue(): Promise<void> {
    const { queue } = this;
    if (!queue?.serving) return;
    queue.serving = false;
    queue.core.detach();
    for (const call of queue.calls) call.kill();
    try {
      await queue.core.stop();
    } catch {
      // The disk did not take the last of it: what is not durable is gone.
      return this.killQueue();
    }
    if (!queue.alive) return;
    this.#endQueue(queue);
    // Its sockets close with it.
    this.network.cut(undefined, 'the queue ended');
    this.#disk = this.store.disk;
  }

  /** SIGKILL, or a power cut of the machine: what was not synced may be gone. */
  killQueue(): void {
    const { queue } = this;
    if (!queue) return;
    this.#endQueue(queue);
    for (const call of queue.calls) call.kill();
    this.network.cut(undefined, 'the queue died');
    this.#disk = this.store.crash().disk;
  }

  #endQueue(queue: QueueProcess): void {
    queue.alive = false;
    queue.serving = false;
    queue.stream?.();
    if (this.queue === queue) this.queue = undefined;
  }

  // The stream between queue and control plane.

  #stream(queue: QueueProcess): EdgeCall {
    const listeners: { data?: (state: EdgeState) => void; status?: () => void } = {};
    let open = true;
    let attached: { report: (report: QueueReport) => void; detach: () => void } | undefined;
    const reports: QueueReport[] = [];
    const end = (): void => {
      if (!open) return;
      open = false;
      attached?.detach();
      if (queue.alive) this.simulation.schedule('stream ends', LOCAL[1], () => listeners.status?.());
    };
    /** In order: what was sent first arrives first. */
    const ordered = () => {
      let last = Promise.resolve();
      return (what: string, run: () => void): void => {
        last = last
          .then(() => this.#local(what))
          .then(() => {
            if (open && queue.alive) run();
          });
      };
    };
    const up = ordered();
    const down = ordered();
    queue.stream = end;
    up('queue attaches', () => {
      const { control } = this;
      if (!control?.alive) return end();
      this.#ends.set(control, [...(this.#ends.get(control) ?? []), end]);
      attached = control.edge.attach((state) =>
        down('edge state', () => control.alive && listeners.data?.(state)),
      );
      for (const report of reports.splice(0)) attached.report(report);
    });
    return {
      write: (report: QueueReport) => {
        const copy = structuredClone(report);
        up('queue report', () => (attached ? attached.report(copy) : reports.push(copy)));
      },
      on: (event: string, listener: (...of: never[]) => void) => {
        (listeners as Record<string, unknown>)[event] = listener;
      },
      cancel: end,
    } as EdgeCall;
  }

  readonly #ends = new Map<ControlProcess, (() => void)[]>();

  // The control plane.

  startControl(): void {
    if (this.control) return;
    const control: ControlProcess = {
      edge: undefined as unknown as Edge,
      alive: true,
      held: new Set(),
      version: 0,
      changed: new Set(),
    };
    this.control = control;
    const snapshots = {
      setPolicy: () => {},
      setHolds: (held: Iterable<string>): boolean => {
        const next = new Set(held);
        const same = next.size === control.held.size && [...next].every((name) => control.held.has(name));
        if (same) return false;
        control.held = next;
        control.version += 1;
        return true;
      },
    };
    const sidecars = {
      push: () => {
        for (const changed of [...control.changed]) changed();
      },
      settled: (_: string, ms: number) => this.#settled(control, ms),
    };
    control.edge = new Edge(
      snapshots,
      sidecars as never,
      noLog(this.simulation, () => control.alive),
    );
    const served = performance.now();
    control.edge.sidecarsBack = async () => {
      const left = served + 2_000 - performance.now();
      if (left > 0 && this.sidecar?.control !== control)
        await this.#until(() => this.sidecar?.control === control, left);
    };
    control.edge.linksOf = () => this.links;
    control.edge.setNetwork(undefined);
    control.edge.setRemembered(readPendingLanes(this.#lanesFile(() => true)));
    control.edge.setPolicy(this.policy);
    control.edge.setLinks(this.links);
  }

  async #until(met: () => boolean, ms: number, every = 5): Promise<boolean> {
    const end = performance.now() + ms;
    while (!met()) {
      if (performance.now() >= end) return false;
      await this.simulation.delay('poll', 1, every);
    }
    return true;
  }

  /** Resolves when the sidecar that has a stream has acknowledged the newest holds. */
  #settled(control: ControlProcess, ms: number): Promise<boolean> {
    const { version } = control;
    return this.#until(() => {
      const { sidecar } = this;
      return !sidecar?.alive || sidecar.control !== control || sidecar.acknowledged >= version;
    }, ms);
  }

  killControl(): void {
    const { control } = this;
    if (!control) return;
    control.alive = false;
    this.control = undefined;
    if (this.sidecar?.control === control) this.sidecar.control = undefined;
    for (const end of this.#ends.get(control) ?? []) end();
    this.#ends.delete(control);
    this.simulation.schedule('sidecar notices', this.simulation.between(1, 100), () =>
      this.#wakeSubscriptions(),
    );
  }

  setPolicy(policy: Policy): void {
    this.policy = policy;
    this.control?.edge.setPolicy(policy);
  }

  setLink(destination: string, state: LinkState['state']): void {
    this.links.set(destination, { state, by: 'kernel', since: Date.now() });
    this.control?.edge.setLinks(this.links);
  }

  // The sidecar.

  startSidecar(): void {
    if (this.sidecar) return;
    const sidecar: SidecarProcess = {
      ...{ alive: true, serving: false, held: new Set<string>(), control: undefined, acknowledged: -1 },
    };
    this.sidecar = sidecar;
    void this.#subscribe(sidecar);
  }

  async #subscribe(sidecar: SidecarProcess): Promise<void> {
    while (sidecar.alive) {
      await this.#local('sidecar connects');
      const { control } = this;
      if (!control?.alive || !control.edge.policy) {
        await this.simulation.delay('sidecar tries again', 50, 500);
        continue;
      }
      if (!sidecar.alive) return;
      sidecar.control = control;
      sidecar.acknowledged = -1;
      while (sidecar.alive && control.alive && sidecar.control === control) {
        const { version, held } = control;
        if (sidecar.acknowledged < version) {
          await this.#local('holds to sidecar');
          if (!sidecar.alive || sidecar.control !== control) break;
          sidecar.held = held;
          sidecar.serving = true;
          await this.#local('sidecar acknowledges');
          if (sidecar.control === control) sidecar.acknowledged = version;
          continue;
        }
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            control.changed.delete(wake);
            resolve();
          };
          control.changed.add(wake);
          this.#onLost.add(wake);
        });
      }
    }
  }

  readonly #onLost = new Set<() => void>();

  killSidecar(): void {
    const { sidecar } = this;
    if (!sidecar) return;
    sidecar.alive = false;
    sidecar.serving = false;
    this.sidecar = undefined;
    // All that goes out goes through it.
    this.network.cut(undefined, 'the sidecar died');
    this.#wakeSubscriptions();
  }

  #wakeSubscriptions(): void {
    for (const wake of [...this.#onLost]) wake();
    this.#onLost.clear();
  }

  /** A UUID. */
  newId(): string {
    this.#ids += 1;
    return `00000000-0000-4000-8000-${this.#ids.toString(16).padStart(12, '0')}`;
  }

  /** A request of an app, through the sidecar. */
  async call(call: Call): Promise<Outcome> {
    const nobody = (): Outcome => ({ headers: [], by: 'nobody', endedAt: performance.now() });
    await this.#local('app calls');
    const { sidecar } = this;
    if (!sidecar?.serving) return nobody();
    const destination = destinationFor(this.policy, call.host);
    if (!destination) return nobody();
    if (sidecar.held.has(destination.name) || call.chunked)
      return this.#toQueue(sidecar, call, [REQUEST_HEADER, this.newId()]);
    const direct = await this.#direct(sidecar, destination, call);
    if (direct || !sidecar.alive) return direct ?? nobody();
    return this.#toQueue(sidecar, call, [HOST_HEADER, call.host]);
  }

  /** undefined: it was not reached. */
  async #direct(
    sidecar: SidecarProcess,
    destination: Destination,
    { method, path, host, body, onCall }: Call,
  ): Promise<Outcome | undefined> {
    const end = new AbortController();
    let gone = false;
    onCall?.(() => {
      gone = true;
      end.abort(new Error('the client hung up'));
    });
    const head = {
      ...{ id: this.newId(), destination: destination.name, method, url: `http://${host}${path}` },
      ...{ headers: [], orderKey: '', class: 1, receivedAt: 0 },
    } satisfies EntryHead;
    const pieces = async function* (): AsyncGenerator<Buffer> {
      yield body;
    };
    try {
      const outgoing = { pieces: pieces(), bytes: body.length };
      const answer = await this.network.send(destination, head, outgoing, { signal: end.signal });
      answer.body.on('error', () => {}).resume();
      if (answer.noLink !== undefined) return undefined;
      if (gone || !sidecar.alive) return { headers: [], by: 'nobody', endedAt: performance.now() };
      return {
        status: answer.status,
        headers: answer.headers,
        by: 'destination',
        endedAt: performance.now(),
      };
    } catch {
      return gone ? { headers: [], by: 'nobody', endedAt: performance.now() } : undefined;
    }
  }

  /** Also again where the queue dies before it answers, as a sidecar does with what it could buffer. */
  async #toQueue(sidecar: SidecarProcess, call: Call, headers: readonly string[]): Promise<Outcome> {
    const until = performance.now() + QUEUE_AWAY.within;
    let gone = false;
    while (performance.now() < until && sidecar.alive && !gone) {
      const { queue } = this;
      if (!queue?.serving) {
        await this.simulation.delay('queue is away', QUEUE_AWAY.every / 2, QUEUE_AWAY.every);
        continue;
      }
      const served = request(
        this.simulation,
        (incoming, response) => queue.core.intake.serve(incoming, response),
        {
          method: call.method,
          path: call.path,
          headers: ['host', call.host, ...headers],
          body: call.body,
          ...(call.chunked && { chunked: true, pieceBytes: 300 }),
          latency: LOCAL,
          ...(call.hangUpAfter !== undefined && { hangUpAfter: call.hangUpAfter }),
        },
      );
      queue.calls.add(served);
      call.onCall?.(() => {
        gone = true;
        served.hangUp();
      });
      await this.#until(() => served.ended || !sidecar.alive, 3_600_000, 20);
      if (!sidecar.alive) served.hangUp();
      queue.calls.delete(served);
      const { answer } = served;
      if (answer?.whole && sidecar.alive && !gone)
        return { status: answer.status, headers: answer.headers, by: 'queue', endedAt: performance.now() };
      if (queue.alive || call.chunked) break;
    }
    return { headers: [], by: 'nobody', endedAt: performance.now() };
  }
}

export const NO_BUDGET = {
  reserve: () => ({ remaining: 0, switchTo: () => {}, spend: () => undefined, release: () => {} }),
  used: () => ({ day: 0, month: 0 }),
  close: async () => {},
} as unknown as Budget;

export const forcedEntries = (): Hurried => {
  const ids = new Set<string>();
  return {
    has: (id: string) => ids.has(id),
    add: async (id: string) => void ids.add(id),
    delete: (id: string) => ids.delete(id),
    prune: async () => {},
    close: async () => {},
  } as unknown as Hurried;
};
