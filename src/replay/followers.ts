// The bodies of one destination that are sent as they grow: which may begin now, and what the lane sees of their tries.

import type { Result } from './deliver/deliver.ts';
import type { DeliveryLedger, Lease } from './delivery-ledger.ts';
import { Follower, type Growing } from './follow.ts';
import type { Sender } from './sender.ts';

/** What the lane of the destination gives. */
export interface LaneWay {
  sender: Sender;
  /** There is a link, and no pause. */
  isOpen(): boolean;
  lost(id: string, result: Result & { kind: 'no-link' }): void;
  reached(): void;
  /** ms */
  pauseMax(): number;
  ended(id: string): void;
  ledger: DeliveryLedger;
  /** Those in flight. */
  leases: Set<Lease>;
  running: Set<Promise<void>>;
}

export class Followers {
  readonly #way: LaneWay;
  readonly #all = new Set<Follower>();

  constructor(way: LaneWay) {
    this.#way = way;
  }

  get empty(): boolean {
    return this.#all.size === 0;
  }

  /** When the next one after `now` may be tried, ms of performance.now(). */
  dueAt(now: number): number {
    let first = Number.POSITIVE_INFINITY;
    for (const { dueAt } of this.#all) if (dueAt > now) first = Math.min(first, dueAt);
    return first;
  }

  add(growing: Growing): Follower {
    const way = this.#way;
    const { head, body } = growing;
    const allowed = () => way.sender.forbidden(body.bytes) === undefined;
    const follower: Follower = new Follower(growing, {
      mayGo: () => way.isOpen() && allowed(),
      claim: () => {
        const lease = way.ledger.claim(head.id, performance.now());
        way.leases.add(lease);
        return lease;
      },
      send: (lease) => way.sender.send(head, body, lease),
      lost: (result) => way.lost(head.id, result),
      reached: () => way.reached(),
      pauseMax: () => way.pauseMax(),
      release: (lease) => {
        way.leases.delete(lease);
        way.ledger.release(lease, 'left');
      },
      ended: () => way.ended(head.id),
      over: () => this.#all.delete(follower),
    });
    this.#all.add(follower);
    return follower;
  }

  /** Every pause is over. */
  wake(): void {
    for (const follower of this.#all) follower.hurry();
  }

  /** Tries those that may go at `now`. `crowded`: while nothing gets through, or little, what is under way is enough. */
  look(now: number, crowded: boolean): void {
    for (const follower of this.#all) {
      if (crowded) return;
      if (follower.dueAt > now) continue;
      const running = follower.try().finally(() => this.#way.running.delete(running));
      this.#way.running.add(running);
    }
  }
}
