// The queue without its listeners and files: what stores, orders and sends, put together. Disk, network and the stream to the control
// plane come in, so that a test can own them.

import type { Egress } from '../egress/egress.ts';
import { LINK_KINDS, type Policy } from '../policy/policy.ts';
import type { LinkNature } from '../replay/allowed.ts';
import type { Budget } from '../replay/budget.ts';
import { type DeliveryLedgers, TAKEN_OUT } from '../replay/delivery-ledgers.ts';
import type { Hurried } from '../replay/hurried.ts';
import { Replay } from '../replay/replay.ts';
import type { LinkWord } from '../replay/why.ts';
import type { Store } from '../store/store.ts';
import type { Logger } from '../telemetry/log.ts';
import type { LinkMemory } from '../wire/link-memory.ts';
import type { PendingLanes } from '../wire/pending-lanes.ts';
import type { Outcome } from './arrival.ts';
import { Backlog } from './backlog.ts';
import { Control, type EdgeTransport, type LastGoodPolicy } from './control.ts';
import { Expiry } from './expiry.ts';
import { FormerLanes } from './former-lanes.ts';
import { Intake } from './intake.ts';
import type { LaneNames } from './lane-names.ts';
import { OneByOne } from './one-by-one.ts';
import type { Orphans } from './orphans.ts';
import { Room } from './room.ts';
import type { Spools } from './spool.ts';

export interface QueueParts {
  store: Store;
  /** The store asks them what is in flight; they hear from it what becomes of entries. */
  ledgers: DeliveryLedgers;
  egress: Egress;
  spools: Spools;
  pendingLanes: PendingLanes;
  /** Of lanes that lost a host to another destination. */
  laneNames: LaneNames;
  orphans: Orphans;
  /** How long receipts wait for a control plane that is away, ms. */
  controlPatience?: number | undefined;
  budget: Budget;
  hurried: Hurried;
  transport: EdgeTransport;
  lastGood: LastGoodPolicy;
  /** What the control plane left on the disk; undefined: nothing is known. */
  remembered: () => LinkMemory | undefined;
  /** Of replay to all destinations together, bytes per second; default as fast as the way takes it. */
  replayRate?: number | undefined;
  counters: {
    request: (destination: string, outcome: Outcome) => void;
    replayed: (destination: string, outcome: string, bytes: number) => void;
  };
  log: Logger;
}

export class QueueCore {
  readonly store: Store;
  readonly backlog: Backlog;
  readonly replay: Replay;
  readonly intake: Intake;
  readonly expiry: Expiry;
  readonly former: FormerLanes;
  readonly #control: Control;
  readonly #parts: QueueParts;
  #policy: Policy | undefined;
  readonly #links = new Map<string, LinkWord>();
  #nature: LinkNature = { kind: undefined, unknown: true, interface: '', metered: false, roaming: false };

  constructor(parts: QueueParts) {
    const { store, ledgers, egress, spools, pendingLanes, counters, log } = parts;
    this.#parts = parts;
    this.store = store;
    this.former = new FormerLanes({
      ...{ store, log, names: parts.laneNames },
      changed: (destination, some) => this.backlog.behind(destination, some),
      wake: (destination) => this.replay.wake(destination),
    });
    this.backlog = new Backlog(store, pendingLanes, parts.controlPatience);
    this.backlog.former = (destination) => this.former.of(destination);
    this.backlog.successors = (lane) => this.former.successors(lane);
    this.replay = new Replay({
      ...{ store, ledgers, egress, log, budget: parts.budget, hurried: parts.hurried },
      rate: parts.replayRate,
      onOutcome: (destination, reached) => this.backlog.outcome(destination, reached),
      onLeft: (destination) => this.backlog.left(destination),
      count: counters.replayed,
      nature: () => this.#nature,
      maySend: (entry) => this.former.maySend(entry),
    });
    store.on('event', ({ kind, destination, from }) => {
      // Also of a destination that nothing is replayed for now: its hold must end all the same.
      if (TAKEN_OUT.has(kind) || kind === 'delivered' || kind === 'dead') this.backlog.left(destination);
      else if (kind === 'retried') this.backlog.cameBack(destination);
      else if (kind === 'moved') this.backlog.moved(from ?? destination, destination);
    });
    this.expiry = new Expiry(store, log);
    this.intake = new Intake({
      ...{ store, ledgers, egress, spools, log },
      ...{
        backlog: this.backlog,
        replay: this.replay,
        former: this.former,
        room: new Room(store),
        commits: new OneByOne(),
      },
      policy: () => this.#policy,
      // Before anything is known an operator may have said no: what comes is stored.
      linkUp: (destination) => this.#links.get(destination)?.up ?? false,
      count: counters.request,
    });
    this.#control = new Control({
      ...{ transport: parts.transport, lastGood: parts.lastGood, remembered: parts.remembered, log },
      backlog: this.backlog,
      onPolicy: (policy) => {
        this.#policy = policy;
        this.former.policy(policy);
        parts.orphans.policy(policy);
        this.replay.policy(policy);
        log.info({ version: policy.version }, 'policy in force');
      },
      onLink: (destination, link) => {
        this.#links.set(destination, link);
        this.replay.link(destination, link);
      },
      onNetwork: ({ kind, interface: name, metered, roaming }) => {
        this.#nature = {
          kind: LINK_KINDS.find((known) => known === kind),
          ...{ interface: name, metered, roaming },
        };
        this.replay.look();
      },
      onKnown: () => this.replay.start(),
    });
  }

  get policy(): Policy | undefined {
    return this.#policy;
  }

  /** Resolves when requests may come. */
  async start(): Promise<void> {
    const { pendingLanes } = this.#parts;
    // Before it takes the first request, and before the control plane hears of it.
    await pendingLanes.open(this.backlog.pending);
    this.#control.start();
    this.expiry.start();
  }

  /** Nothing new is heard from the control plane, and no receipt waits for it any more. */
  detach(): void {
    this.#control.close();
    this.backlog.close();
  }

  /** Ends what is in flight; the store is closed last. */
  async stop(): Promise<void> {
    const { budget, hurried, egress, pendingLanes } = this.#parts;
    this.former.close();
    await this.replay.stop();
    await budget.close();
    await hurried.close();
    await this.expiry.stop();
    await egress.close();
    await pendingLanes.close();
    await this.store.close();
  }
}
