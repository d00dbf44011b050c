// What waits, for each destination, as the control plane must know it: so that no direct call overtakes a stored one (law 3).
//
// A lane is pending from before the first commit until its last entry has left. Becoming pending starts a new generation, marks the
// lane in the durable file (before its first commit), and tells the control plane. A receipt goes out when the control plane has said
// that the hold of this generation is in force on every sidecar. Generations count within this process, and what is in force
// counts within one attachment.

import { timerMs } from '../platform/timer.ts';
import type { Store } from '../store/store.ts';
import type { Lane } from '../wire/edge-service.ts';
import type { PendingLanes } from '../wire/pending-lanes.ts';

/** A control plane that is attached and does not answer a report in this time hangs; ms. */
const ANSWER_MS = 2_000;
/** One that has answered waits for sidecars, and confirms the hold within this time; ms. */
const CONFIRM_MS = 5_000;
/** One that is away is started again within this time, or does not come back soon; ms. */
const AWAY_MS = 10_000;
/** Between two reports that something gets through, ms. */
const REACHED_EVERY_MS = 1_000;

/** A request on its way into the store. */
export interface Storing {
  /** Resolves when a crash can no longer hide that the lane has entries: to be awaited before the commit. Rejects with
   *  LAYBY_STORE_FAILED. */
  marked(): Promise<void>;
  /** Resolves when no direct call can overtake it any more: to be awaited before the receipt. Rejects as `marked`. */
  held(): Promise<void>;
  /** It is stored, or will not be. */
  done(): void;
}

/** A stream to the control plane. After `detach`, or after another one was attached, both do nothing. */
export interface Attachment {
  /** The control plane says which generation of a lane is held on every sidecar; an older one: it has heard of the newest, and waits. */
  inForce(destination: string, generation: number): void;
  detach(): void;
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
  /** Of the attachment that there is. */
  inForce: number;
  /** The attachment that has answered, and not confirmed yet. */
  answered: Attachment | undefined;
  /** The attachment that did not confirm the generation in time: no further receipt waits for it. */
  silent: Attachment | undefined;
  /** Settles when the generation is marked. */
  marked: Promise<void>;
  waiters: Set<() => void>;
}

/** Where lanes are marked. */
export type Marks = Pick<PendingLanes, 'mark' | 'unmark'>;

export class Backlog {
  #store: Store;
  #marks: Marks;
  #lanes = new Map<string, LaneState>();
  #report: (lanes: Lane[]) => void = () => {};
  #attachment: Attachment | undefined;
  /** There is no control plane, and has been none for AWAY_MS: nobody to wait for. */
  #alone = false;
  #aloneTimer: NodeJS.Timeout | undefined;
  #awayMs: number;
  /** Lanes whose entries go before those of a destination: see former-lanes.ts. */
  former: (destination: string) => readonly string[] = () => [];
  /** The destinations whose former lane this is: their calls must not overtake what is stored in it. */
  successors: (lane: string) => readonly string[] = () => [];

  /** `awayMs`: how long receipts wait for a control plane that is away. */
  constructor(store: Store, marks: Marks, awayMs = AWAY_MS) {
    this.#store = store;
    this.#marks = marks;
    this.#awayMs = awayMs;
    for (const [destination, { entries }] of store.totals()) {
      if (entries > 0) this.#pending(destination);
    }
    this.#away();
  }

  /** The lanes that have entries. */
  get pending(): string[] {
    return [...this.#lanes].flatMap(([destination, { pending }]) => (pending ? [destination] : []));
  }

  /** Where reports go from now on; all lanes at once, and then what changes. It takes the place of the attachment before. */
  attach(report: (lanes: Lane[]) => void): Attachment {
    const attachment: Attachment = {
      inForce: (destination, generation) => {
        if (this.#attachment === attachment) this.#inForce(destination, generation);
      },
      detach: () => {
        if (this.#attachment !== attachment) return;
        this.#attachment = undefined;
        this.#report = () => {};
        this.#away();
        this.#wakeAll();
      },
    };
    clearTimeout(this.#aloneTimer);
    this.#alone = false;
    this.#attachment = attachment;
    this.#report = report;
    for (const lane of this.#lanes.values()) {
      lane.inForce = 0;
      lane.answered = undefined;
      lane.silent = undefined;
    }
    report(this.lanes());
    this.#wakeAll();
    return attachment;
  }

  #away(): void {
    clearTimeout(this.#aloneTimer);
    this.#aloneTimer = setTimeout(() => {
      this.#alone = true;
      this.#wakeAll();
    }, timerMs(this.#awayMs)).unref();
  }

  #wakeAll(): void {
    for (const lane of this.#lanes.values()) for (const wake of lane.waiters) wake();
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
        answered: undefined,
        silent: undefined,
        marked: Promise.resolve(),
        waiters: new Set(),
      };
      this.#lanes.set(destination, lane);
    }
    return lane;
  }

  #pending(destination: string): boolean {
    const lane = this.#lane(destination);
    if (lane.pending) return false;
    lane.pending = true;
    lane.generation += 1;
    lane.answered = undefined;
    lane.silent = undefined;
    this.#mark(lane, destination);
    return true;
  }

  #mark(lane: LaneState, destination: string): void {
    lane.marked = this.#marks.mark(destination);
    // Whoever waits for it hears of it.
    lane.marked.catch(() => {});
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
    const changed = this.#pending(destination);
    // One that failed before is tried again by whoever comes next.
    const { marked } = lane;
    if ((failedOver && !lane.failing) || changed) {
      if (failedOver) lane.failing = true;
      this.#tell(destination);
    }
    let over = false;
    return {
      marked: () => marked.catch(() => this.#markAgain(lane, destination)),
      held: async () => {
        await marked.catch(() => this.#markAgain(lane, destination));
        await this.#held(lane);
        for (const name of this.successors(destination)) await this.#held(this.#lane(name));
      },
      done: () => {
        if (over) return;
        over = true;
        lane.storing -= 1;
        this.left(destination);
      },
    };
  }

  /** The disk may take it by now. */
  #markAgain(lane: LaneState, destination: string): Promise<void> {
    this.#mark(lane, destination);
    return lane.marked;
  }

  async #held(lane: LaneState): Promise<void> {
    while (!this.#alone && lane.inForce < lane.generation) {
      const attachment = this.#attachment;
      if (attachment && lane.silent === attachment) return;
      const patience = lane.answered === attachment ? CONFIRM_MS : ANSWER_MS;
      const woken = await this.#woken(lane, attachment && patience);
      if (!woken && attachment === this.#attachment) lane.silent = attachment;
    }
  }

  /** Resolves to true when something changed for the lane, to false after `ms`. */
  #woken(lane: LaneState, ms: number | undefined): Promise<boolean> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const end = (woken: boolean) => {
        clearTimeout(timer);
        lane.waiters.delete(wake);
        resolve(woken);
      };
      const wake = () => end(true);
      if (ms !== undefined) timer = setTimeout(() => end(false), timerMs(ms));
      lane.waiters.add(wake);
    });
  }

  #inForce(destination: string, generation: number): void {
    const lane = this.#lane(destination);
    lane.inForce = generation;
    // Once for each generation: what is repeated gives no more time.
    if (generation < lane.generation && lane.answered === this.#attachment) return;
    lane.answered = this.#attachment;
    for (const wake of lane.waiters) wake();
  }

  /** An entry has left, or a request was not stored after all: perhaps nothing waits any more. */
  left(destination: string): void {
    const lane = this.#lane(destination);
    if (!lane.pending || lane.storing > 0 || this.former(destination).length > 0) return;
    if ((this.#store.totals().get(destination)?.entries ?? 0) === 0) {
      lane.pending = false;
      this.#marks.unmark(destination);
      this.#tell(destination);
    }
  }

  /** Does what makes entries of the lane wait again (a dead letter, edited or retried), when no direct call can overtake them any more.
   *  Rejects with LAYBY_STORE_FAILED and as `act` does. */
  async holding<T>(destination: string, act: () => Promise<T>): Promise<T> {
    const storing = this.storing(destination, false);
    try {
      await storing.held();
      return await act();
    } finally {
      storing.done();
    }
  }

  /** A dead letter waits again: what is newer must not overtake it any more. */
  cameBack(destination: string): void {
    if (this.#pending(destination)) this.#tell(destination);
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

  close(): void {
    clearTimeout(this.#aloneTimer);
  }
}
