// Which large bodies leave only after `100 Continue` (RFC 9110 section 10.1.1): those that would probably be sent to be refused. So nothing of
// 48 MiB is sent to learn that a credential is still wrong. The question costs a round trip, so it is asked after a refusal only. Pure.

import type { Result } from './deliver/deliver.ts';

/** Entries that are remembered; the one that was refused the longest ago is forgotten first. */
const MOST = 4096;

export class AskFirst {
  /** The last answer that said something of the destination was no success. */
  #refusing = false;
  /** Ids of the entries whose last answer was a refusal. */
  readonly #refused = new Set<string>();

  isNeeded(id: string): boolean {
    return this.#refusing || this.#refused.has(id);
  }

  /** A try of this entry has ended so. */
  ended(id: string, result: Result): void {
    if (result.kind === 'no-link' && !result.suspicious) return;
    const outcome = result.kind === 'answered' ? result.outcome : 'suspicious';
    this.#refused.delete(id);
    // A dead letter says something of its entry alone.
    if (outcome === 'dead') return;
    this.#refusing = outcome !== 'delivered';
    if (!this.#refusing) return;
    this.#refused.add(id);
    if (this.#refused.size > MOST) this.#refused.delete(this.#refused.values().next().value!);
  }
}
