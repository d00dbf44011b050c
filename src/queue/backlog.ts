// What waits, for each destination, as the control plane must know it: so that no direct call overtakes a stored one (law 3).
//
// A lane is pending from before the first commit until its last entry has left. Becoming pending starts a new generation;
// a receipt goes out when the control plane has said that the hold of this generation is in force on every sidecar.

import type { Store } from '../store/store.ts';
import type { Lane } from '../wire/edge-service.ts';

/** With no control plane there is nobody to hold; ms. */
const HOLD_PATIENCE_MS = 800;
/** Between two reports that something gets through, ms. */
const REACHED_EVERY_MS = 1_000;

/** A request on its way into the store. */
export interface Storing {
  /** Resolves when no direct call can overtake it any more. */
  held(): Promise<void>;
  /** It is stored, or will not be. */
  done(): void;
}

interface LaneState {
  /** Requests on their way into the store. */
  storing: number;
  pending: boolean;
  failing: boolean;
  /** How often it was told that something got through, and when last, ms. */
  reached: number;
  reachedAt: number;
  generation: number;
  inForce: number;
  waiters: Set<() => void>;
}

export class Backlog {
  #store: Store;
  #lanes = new Map<string, LaneState>();
  #report: (lanes: Lane[]) => void = () => {};
  #attached = false;
  /** Lanes whose entries go before those of a destination: see former-lanes.ts. */
  former: (destination: string) => readonly string[] = () => [];
  /** The destinations whose former lane this is: their calls must not overtake what is stored in it. */
  successors: (lane: string) => readonly string[] = () => [];

  constructor(store: Store) {
    this.#store = store;
    for (const [destination, { entries }] of store.totals()) {
      if (entries > 0) this.#pending(this.#lane(destination));
    }
  }

  /** Where reports go from now on; all lanes at once, and then what changes. */
  attach(report: (lanes: Lane[]) => void): void {
    this.#report = report;
    this.#attached = true;
    for (const lane of this.#lanes.values()) lane.inForce = 0;
    report(this.lanes());
  }

  detach(): void {
    this.#attached = false;
    this.#report = () => {};
    for (const lane of this.#lanes.values()) {
      for (const wake of lane.waiters) wake();
    }
  }

  #lane(destination: string): LaneState {
    let lane = this.#lanes.get(destination);
    if (!lane) {
      lane = {
        storing: 0,
        pending: false,
        failing: false,
        reached: 0,
        reachedAt: Number.NEGATIVE_INFINITY,
        generation: 0,
        inForce: 0,
        waiters: new Set(),
      };
      this.#lanes.set(destination, lane);
    }
    return lane;
  }

  #pending(lane: LaneState): boolean {
    if (lane.pending) return false;
    lane.pending = true;
    lane.generation += 1;
    return true;
  }

  isPending(destination: string): boolean {
    return this.#lane(destination).pending;
  }

  isFailing(destination: string): boolean {
    return this.#lane(destination).failing;
  }

  /** A request is about to be stored. */
  storing(destination: string, failedOver: boolean): Storing {
    const lane = this.#lane(destination);
    lane.storing += 1;
    const changed = this.#pending(lane);
    if ((failedOver && !lane.failing) || changed) {
      if (failedOver) lane.failing = true;
      this.#tell(destination);
    }
    return {
      held: async () => {
        await this.#held(lane);
        for (const name of this.successors(destination)) await this.#held(this.#lane(name));
      },
      done: () => {
        lane.storing -= 1;
        this.left(destination);
      },
    };
  }

  async #held(lane: LaneState): Promise<void> {
    if (!this.#attached || lane.inForce >= lane.generation) return;
    await new Promise<void>((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        lane.waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, HOLD_PATIENCE_MS);
      lane.waiters.add(wake);
    });
  }

  /** The control plane says which generation is in force. */
  inForce(destination: string, generation: number): void {
    const lane = this.#lane(destination);
    lane.inForce = generation;
    if (generation < lane.generation) return;
    for (const wake of lane.waiters) wake();
  }

  /** An entry has left, or a request was not stored after all: perhaps nothing waits any more. */
  left(destination: string): void {
    const lane = this.#lane(destination);
    if (!lane.pending || lane.storing > 0 || this.former(destination).length > 0) return;
    if ((this.#store.totals().get(destination)?.entries ?? 0) === 0) {
      lane.pending = false;
      this.#tell(destination);
    }
  }

  /** A dead letter waits again: what is newer must not overtake it any more. */
  cameBack(destination: string): void {
    if (this.#pending(this.#lane(destination))) this.#tell(destination);
  }

  /** Entries of other lanes go first, or do not any more. */
  behind(destination: string, some: boolean): void {
    const pending = this.isPending(destination);
    if (some) this.cameBack(destination);
    else this.left(destination);
    if (pending === this.isPending(destination)) this.#tell(destination);
  }

  /** An entry has another destination: what is newer must not overtake it there. */
  moved(from: string, to: string): void {
    if ((this.#store.totals().get(to)?.entries ?? 0) > 0) this.cameBack(to);
    this.left(from);
  }

  /** What the last try said of the link. */
  outcome(destination: string, reached: boolean): void {
    const lane = this.#lane(destination);
    const news = lane.failing === reached;
    const now = performance.now();
    if (!news && !(reached && now - lane.reachedAt >= REACHED_EVERY_MS)) return;
    lane.failing = !reached;
    if (reached) {
      lane.reached += 1;
      lane.reachedAt = now;
    }
    this.#tell(destination);
  }

  #tell(destination: string): void {
    this.#report([this.#view(destination)]);
  }

  #view(destination: string): Lane {
    const { pending, failing, generation, reached } = this.#lane(destination);
    const totals = this.#store.totals().get(destination);
    return {
      destination,
      entries: totals?.entries ?? 0,
      bytes: totals?.bytes ?? 0,
      dead: totals?.dead ?? 0,
      staged: totals?.staged ?? 0,
      quarantined: totals?.quarantined ?? 0,
      oldest: totals?.oldest?.receivedAt ?? 0,
      pending,
      failing,
      generation,
      reached,
      former: [...this.former(destination)],
    };
  }

  lanes(): Lane[] {
    const names = new Set([...this.#lanes.keys(), ...this.#store.totals().keys()]);
    return [...names].sort().map((destination) => this.#view(destination));
  }
}
